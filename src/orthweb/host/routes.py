"""Routes in the networks of the containers: how the edge answers clients, and who may have the instance's role.

They are set from another container, for a moment in the same network, since the containers themselves have no right to
change them. So they last as long as the container, and need no firewall to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from orthweb.errors import OrthwebError
from orthweb.image.engine import Engine

if TYPE_CHECKING:
    from orthweb.targets.docker.containers import ContainerState

METADATA: Final = "169.254.169.254"
"""Where an instance, and whatever runs on it, gets the credentials of its role."""

_ACKNOWLEDGE: Final = "ip route change $(ip route show default | head -n 1 | sed 's/ quickack 1//') quickack 1"
_CLOSE: Final = f"ip route replace unreachable {METADATA}/32"


class Routes:
    """The routes of one host's containers; nothing depends on them.

    Parameters
    ----------
    report : told what could not be set.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._done: set[str] = set()

    def ensure(self, engine: Engine, image: str, states: Mapping[str, ContainerState], *, credentials: bool) -> None:
        """Set what is missing, once for each time that a container was started.

        Parameters
        ----------
        image : one with ``ip`` in it.
        states : the containers, by service.
        credentials : whether the archive needs those of the instance's role. The edge, which everybody reaches, never
            gets them.
        """
        runs = {f"{state.name} {state.started}": name for name, state in states.items() if name and state.runs}
        for key in sorted(runs.keys() - self._done):
            name = runs[key]
            try:
                if name == "edge" or not credentials:
                    keep_from_role(engine, image, states[name].name)
                if name == "edge":
                    acknowledge_at_once(engine, image, states[name].name)
                self._done.add(key)
            except OrthwebError as error:
                self._report(f"the routes of {name} are not set: {error.message}")
        self._done &= runs.keys()


def acknowledge_at_once(engine: Engine, image: str, container: str) -> None:
    """Let the edge acknowledge what clients send at once (``quickack``): one that Nagles sends twice as fast then.

    Parameters
    ----------
    image : one with ``ip`` in it.
    container : name of the edge's.
    """
    _in_network_of(engine, image, container, _ACKNOWLEDGE)


def keep_from_role(engine: Engine, image: str, container: str) -> None:
    """Let a container get no credentials of the instance's role: its network has no way to the metadata service."""
    _in_network_of(engine, image, container, _CLOSE)


def _in_network_of(engine: Engine, image: str, container: str, script: str) -> None:
    words = ["run", "--rm", "--network", f"container:{container}", "--user", "0:0", "--read-only"]
    words += ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges:true"]
    engine.run(*words, "--entrypoint", "/bin/sh", image, "-c", script)

"""The containers of one site, as the engine has them: looked at, started, stopped, removed.

They are found by their label, not by a file: what was rendered may be gone or of another version by now.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orthweb.errors import OrthwebError, UsageError
from orthweb.image.engine import Engine, EngineError
from orthweb.render.compose import DEFINITION_LABEL, SERVICE_LABEL, SITE_LABEL

FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


@dataclass(frozen=True)
class ContainerState:
    """One container as it is now.

    Parameters
    ----------
    service : index, archive, reader-2, edge.
    image : id of the image that it was made from.
    status : created, running, restarting, exited, dead, ... (the engine's words).
    health : starting, healthy, unhealthy, or empty.
    pid : of its first process on this machine; None unless it runs.
    started : when it did (aware).
    failures : how often the engine has started it again.
    definition : what `orthweb.render.compose` made of it.
    published : (address, port on this machine, port inside) of each published port.
    """

    service: str
    name: str
    image: str
    status: str
    health: str
    pid: int | None
    started: datetime | None
    failures: int
    exit_code: int
    definition: str
    published: tuple[tuple[str, int, int], ...]

    @property
    def runs(self) -> bool:
        """Whether its program runs now."""
        return self.status == "running"


def _state(found: dict[str, Any]) -> ContainerState:
    state, labels = found["State"], found["Config"].get("Labels") or {}
    # What is open now; a container that does not run has nothing.
    ports = found["NetworkSettings"].get("Ports") or {}
    began = str(state.get("StartedAt", ""))
    return ContainerState(
        service=labels.get(SERVICE_LABEL, ""),
        name=found["Name"].lstrip("/"),
        image=found["Image"],
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", ""),
        pid=int(state["Pid"]) or None,
        started=_time(began),
        failures=int(found.get("RestartCount", 0)),
        exit_code=int(state.get("ExitCode", 0)),
        definition=labels.get(DEFINITION_LABEL, ""),
        published=tuple(
            (binding["HostIp"], int(binding["HostPort"]), int(inside.partition("/")[0]))
            for inside, bindings in sorted(ports.items())
            for binding in bindings or ()
        ),
    )


def _time(text: str) -> datetime | None:
    # Nine digits of a second, and year 1 for never.
    try:
        moment = datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        return None
    return moment if moment.year > 1 else None


class Containers:
    """The containers of a site.

    Parameters
    ----------
    site : the site's identity; empty: it has none.
    """

    def __init__(self, engine: Engine, site: str) -> None:
        self.engine = engine
        self.site = site

    def _filter(self) -> str:
        return f"label={SITE_LABEL}={self.site}"

    def states(self) -> dict[str, ContainerState]:
        """Give every container by its service, running or not."""
        if not self.site:
            return {}
        ids = self.engine.run("ps", "--all", "--quiet", "--no-trunc", "--filter", self._filter()).split()
        if not ids:
            return {}
        try:
            found = json.loads(self.engine.run("container", "inspect", *ids))
        except EngineError:  # one went meanwhile
            return self.states()
        return {state.service: state for state in map(_state, found) if state.service}

    def networks(self) -> dict[str, str]:
        """Give the site's networks: name and definition."""
        if not self.site:
            return {}
        form = f'{{{{.Name}}}} {{{{.Label "{DEFINITION_LABEL}"}}}}'
        lines = self.engine.run("network", "ls", "--filter", self._filter(), "--format", form).splitlines()
        return {name: definition for name, _, definition in (line.partition(" ") for line in lines)}

    def stop(self, names: Collection[str]) -> None:
        """Ask containers to end in order and wait until they have; each has its own time for that."""
        if names:
            self.engine.run("stop", *names)

    def start(self, name: str) -> None:
        """Start a container that exists; nothing when it runs."""
        self.engine.run("start", name)

    def signal(self, name: str, signal: str) -> None:
        """Send a signal to a container's first process, which hands it on."""
        self.engine.run("kill", "--signal", signal, name)

    def remove(self, names: Collection[str]) -> None:
        """Remove containers; nothing that a site keeps is in one."""
        if names:
            self.engine.run("rm", "--force", "--volumes", *names)

    def remove_all(self) -> None:
        """Remove every container of the site, those of an interrupted call too."""
        if self.site:
            self.remove(self.engine.run("ps", "--all", "--quiet", "--filter", self._filter()).split())

    def remove_networks(self) -> None:
        """Remove the site's networks."""
        names = self.networks()
        if names:
            self.engine.run("network", "rm", *names)

    def log(self, name: str, lines: int) -> list[str]:
        """Give the last lines that a container wrote, to either output."""
        done = subprocess.run(
            [str(self.engine.program), "logs", "--tail", str(lines), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self.engine.environment(),
            check=False,
        )
        return done.stdout.splitlines()


def compose_command(engine: Engine) -> list[str]:
    """Find Compose: the plugin of the docker command, else docker-compose.

    Raises
    ------
    UsageError : there is none.
    """
    known = subprocess.run(
        [str(engine.program), "compose", "version"], capture_output=True, env=engine.environment(), check=False
    )
    if known.returncode == 0:
        return [str(engine.program), "compose"]
    program = shutil.which("docker-compose", path=FOLDERS)
    if program is None:
        raise UsageError(
            "Docker's Compose is missing", "as root: apt-get install --no-install-recommends docker-compose"
        )
    return [program]


def compose_up(engine: Engine, project: str, file: Path, services: Sequence[str]) -> None:
    """Make and start services of a Compose file that have no container yet, each without waiting for others.

    Raises
    ------
    OrthwebError : the engine refused; its own words.
    """
    # Nothing of the caller's may change what is run: no other file, project or profile, no other Python's packages.
    own = ("COMPOSE_", "PYTHON", "VIRTUAL_ENV")
    environment = {key: value for key, value in engine.environment().items() if not key.startswith(own)}
    environment |= {"COMPOSE_API_VERSION": "auto"}
    command = [*compose_command(engine), "--project-name", project, "--file", str(file), "up", "--detach", "--no-build"]
    command += ["--no-deps", "--no-recreate", *services]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", check=False)
    if done.returncode != 0:
        raise OrthwebError(f"docker compose: {_worst(done.stderr or done.stdout)}", "orthweb logs, then orthweb up")


def _worst(text: str) -> str:
    """Find the line that says what is wrong: what the engine said, not what Compose makes of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for telling in ("ERROR: for ", "Error response", "Cannot ", "ERROR", "rror"):
        found = next((line for line in lines if telling in line), None)
        if found is not None:
            return found.removeprefix("ERROR: ")
    return lines[-1] if lines else "no reason given"

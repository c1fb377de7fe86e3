"""Containers of a running site: one more, one fewer, and a change that each takes up in its turn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from orthweb import secrets
from orthweb.errors import OrthwebError
from orthweb.render.endpoints import ArchiveProcess
from orthweb.targets.base import PlanItem, Report
from orthweb.targets.docker import planning
from orthweb.targets.docker.containers import ContainerState, compose_up
from orthweb.targets.docker.place import Layout, Place
from orthweb.targets.host import changes, leaving, rolling
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.changes import Item
from orthweb.targets.host.deployment import File
from orthweb.targets.host.readiness import process_ready
from orthweb.targets.host.rendering import replicas


def apply(place: Place, layout: Layout, differing: Sequence[Item], users: Accounts, report: Report) -> list[PlanItem]:
    """Put changed files in place and let running containers take them up: a reload where that does, else a restart.

    Orthanc containers are restarted one by one, each when it has nothing to do; where the edge or the index must be
    restarted too, which ends every connection, all are restarted together.
    """
    states = place.states()
    anew = planning.redefined(place, layout, users, states)
    must = planning.restarts(place, layout, users, differing, states)
    done = planning.comings_and_goings(place, states)
    wanted, said = changes.restarts(
        must, differing, states, lambda: bool(rolling.load(place.admin, _dicom_addresses(layout)).associations)
    )
    done += said
    together = bool(wanted.keys() & {"index", "edge"})
    rolled = [] if together else [name for name in wanted if states[name].runs]
    _retire(place, layout, users, states, report)
    if together:
        report(f"restarting {', '.join(wanted)}")
        # Orthanc does not end while an association is open, however long nothing is said: the edge has to end them.
        first = ["edge"] if wanted.keys() - {"index"} else []
        for names in (first, [name for name in wanted if name not in ("edge", "index")], ["index"]):
            place.containers.stop(
                [states[name].name for name in names if name in states and (name in wanted or name == "edge")]
            )
    place.containers.remove([states[name].name for name in anew if name not in rolled])
    for item in differing:
        if item.service not in rolled:
            item.put(users.of(item.service))
    leaving.forget(place)
    if changes.wants(differing, "reload", "index") and "index" not in wanted and "index" in states:
        place.containers.signal(states["index"].name, "HUP")
    for name in place.services:
        start(place, name)
    _roll(place, layout, rolled, anew, differing, users, report)
    return done


def start(place: Place, name: str) -> None:
    """Start a service's container; make it first when there is none."""
    state = place.states().get(name)
    if state is None:
        compose_up(place.engine, place.project, place.compose_file, [name])
    elif not state.runs:
        place.containers.start(state.name)


def _dicom_addresses(layout: Layout) -> set[str]:
    return {address for process in layout.endpoints.archives for address in rolling.addresses(process)}


def _retire(
    place: Place, layout: Layout, users: Accounts, states: Mapping[str, ContainerState], report: Report
) -> None:
    """Let containers that are no longer part of the site finish what they are at, then remove them."""
    gone = [state for name, state in states.items() if name not in place.services]
    if not gone:
        return
    leaving.drain(place, layout.endpoints, place.admin, users, report)
    names = [state.name for state in gone]
    place.containers.stop(names)
    place.containers.remove(names)


class _Judge:
    """Tells what keeps an Orthanc from answering; raises when the engine starts it in vain."""

    def __init__(self, place: Place, processes: Mapping[str, ArchiveProcess], kept: secrets.Secrets) -> None:
        self._place = place
        self._processes = processes
        self._kept = kept

    def __call__(self, name: str) -> str | None:
        place = self._place
        problem = process_ready(self._processes[name], place.site.dicom.aet, self._kept, place.pki)
        if problem is None:
            return None
        state = place.states().get(name)
        if state is None or state.failures >= 3 or state.status in ("exited", "dead"):
            words = place.containers.log(place.container(name), 3)
            said = " | ".join(line.strip() for line in words) or "nothing"
            raise OrthwebError(f"{name} does not start; its log ends with: {said}", f"orthweb logs {name}")
        return problem


def await_all(place: Place) -> None:
    """Wait until every process of the archive answers by itself, and the edge has seen it.

    Raises
    ------
    OrthwebError : one does not.
    """
    archives = place.kept_layout().endpoints.archives
    judge = _Judge(place, {process.name: process for process in archives}, secrets.read(place.state.secrets))
    for process in archives:
        rolling.await_ready(process.name, judge)
    rolling.await_use(place.admin, archives)


def _roll(
    place: Place,
    layout: Layout,
    names: Sequence[str],
    anew: Collection[str],
    items: Sequence[Item],
    users: Accounts,
    report: Report,
) -> None:
    """Restart running containers one by one, each with its changed files; readers first: less depends on them.

    Raises
    ------
    OrthwebError : one does not come back; those after it were not touched.
    """
    if not names:
        return
    endpoints = layout.endpoints
    processes = {process.name: process for process in endpoints.archives}
    judge = _Judge(place, processes, secrets.read(place.state.secrets))

    def tell(draining: Collection[str]) -> None:
        for file in replicas(place.state, endpoints, draining):
            file.put(users.edge)

    def restart(name: str) -> None:
        mine = [item for item in items if isinstance(item, File) and item.service == name]
        before = [(item, item.path.read_bytes()) for item in mine if item.path.exists()]
        container = place.container(name)
        place.containers.stop([container])
        if name in anew:
            place.containers.remove([container])
        for item in mine:
            item.put(users.of(name))
        try:
            start(place, name)
            rolling.await_ready(name, judge)
        except OrthwebError as error:
            if name in anew or not before:
                raise
            report(f"{name} does not come back; giving it its old configuration")
            place.containers.stop([container])
            for item, content in before:
                File(item.path, content, name, item.effect, item.private).put(users.of(name))
            start(place, name)
            rolling.await_ready(name, judge)
            tell(())
            raise OrthwebError(
                f"{error.message}; it runs as before, and the others were not touched", error.hint
            ) from error

    order = sorted(names, key=lambda name: processes[name].writes)
    edge = rolling.Edge(place.admin, endpoints.archives, tell)
    rolling.roll(order, edge, restart, judge, report)

"""Orthanc processes of a running local site: one more, one fewer, and a change that each takes up in its turn."""

from __future__ import annotations

import configparser
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from orthweb import secrets
from orthweb.errors import OrthwebError
from orthweb.render.endpoints import ArchiveProcess
from orthweb.targets.base import Report
from orthweb.targets.host import rolling
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.deployment import Bundle, File
from orthweb.targets.host.leaving import is_archive
from orthweb.targets.host.readiness import process_ready
from orthweb.targets.host.rendering import replicas
from orthweb.targets.local import inspection
from orthweb.targets.local.place import Layout, Place

RETRY_SECONDS = 15.0
"""How long a service may fail to start again and again before it is given up."""

ROLL_SECONDS = 5.0
"""The same while the index and all others run: there is nothing to wait for then."""

_PROGRAM = "program:"


def _sections(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {name: dict(parser[name]) for name in parser.sections()}


def only_replicas(old: str, new: str) -> bool:
    """Tell whether two configurations of the supervisor differ in nothing but Orthanc processes that come or go."""
    before, after = _sections(old), _sections(new)
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return bool(before) and all(
        name.startswith(_PROGRAM)
        and is_archive(name.removeprefix(_PROGRAM))
        and (name not in before or name not in after)
        for name in differing
    )


def leaving(place: Place) -> list[str]:
    """Name the Orthanc processes that run and are no longer part of the site."""
    return [name for name in place.supervisor.services() if is_archive(name) and name not in place.services]


class _Judge:
    """Tells what keeps an Orthanc from answering; raises when the supervisor cannot start it."""

    def __init__(
        self, place: Place, processes: Mapping[str, ArchiveProcess], kept: secrets.Secrets, patience: float
    ) -> None:
        self._place = place
        self._processes = processes
        self._kept = kept
        self._patience = patience
        self._failing: dict[str, float] = {}

    def __call__(self, name: str) -> str | None:
        place = self._place
        problem = process_ready(self._processes[name], place.site.dicom.aet, self._kept, place.pki)
        state = str(place.supervisor.services()[name]["statename"])
        if problem is None or state not in ("BACKOFF", "FATAL"):
            return problem
        since = self._failing.setdefault(name, time.monotonic())
        if state == "FATAL" or time.monotonic() - since > self._patience:
            words = inspection.last_words(place.state.logs / f"{name}.log")
            raise OrthwebError(f"{name} does not start; its log ends with: {words}", f"orthweb logs {name}")
        return problem


def _admin(place: Place) -> Path:
    return place.run / "edge" / "admin.sock"


def roll(
    place: Place, layout: Layout, names: Sequence[str], items: Sequence[File | Bundle], users: Accounts, report: Report
) -> None:
    """Restart running processes one by one, each with its changed files; readers first: less depends on them.

    Raises
    ------
    OrthwebError : one does not come back. It has its old files again, and the others were not touched.
    """
    endpoints = layout.endpoints
    processes = {process.name: process for process in endpoints.archives}
    kept = secrets.read(place.state.secrets)
    ready = _Judge(place, processes, kept, ROLL_SECONDS)

    def tell(draining: Collection[str]) -> None:
        for file in replicas(place.state, endpoints, draining):
            file.put(users.edge)

    def restart(name: str) -> None:
        mine = [item for item in items if isinstance(item, File) and item.service == name]
        before = [(item, item.path.read_bytes()) for item in mine if item.path.exists()]
        place.supervisor.stop(name)
        for item in mine:
            item.put(users.of(name))
        try:
            place.supervisor.start(name)
            rolling.await_ready(name, ready)
        except OrthwebError as error:
            state = went_back(name, before)
            raise OrthwebError(f"{error.message}; {state}, and no other was touched", error.hint) from error

    def went_back(name: str, before: Sequence[tuple[File, bytes]]) -> str:
        """Give a process its old files again; say what came of it."""
        report(f"{name} does not come back; giving it its old configuration")
        place.supervisor.stop(name)
        for item, content in before:
            File(item.path, content, name, item.effect, item.private).put(users.of(name))
        place.supervisor.start(name)
        try:
            rolling.await_ready(name, _Judge(place, processes, kept, ROLL_SECONDS))
        except OrthwebError:
            return "neither does it with its old configuration"
        tell(())
        return "it runs with its old configuration"

    order = sorted(names, key=lambda name: processes[name].writes)
    edge = rolling.Edge(_admin(place), endpoints.archives, tell)
    rolling.roll(order, edge, restart, ready, report)


def await_all(place: Place) -> None:
    """Wait until every Orthanc answers by itself (through the edge one would do), and the edge has seen it.

    Raises
    ------
    OrthwebError : one does not.
    """
    kept = secrets.read(place.state.secrets)
    archives = place.kept_endpoints().archives
    judge = _Judge(place, {process.name: process for process in archives}, kept, RETRY_SECONDS)
    for process in archives:
        rolling.await_ready(process.name, judge)
    rolling.await_use(_admin(place), archives)

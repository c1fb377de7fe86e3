"""Take the archive's processes out of use one by one, so that a change reaches all and the site goes on.

The edge is told of a process what it should do (a file that it watches: `orthweb.render.envoy_replicas`) and asked what
it still does (its administration socket). Nothing here knows how a process is started or where it runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from orthweb.errors import OrthwebError
from orthweb.render import envoy_replicas
from orthweb.render.endpoints import ArchiveProcess
from orthweb.targets.base import Report

PATIENCE = 600.0
"""Seconds that associations and requests have to end. One that is silent ends by itself after 60 (DicomScpTimeout)."""

LULL = 60.0
"""Seconds to wait for a moment without an association, before the only writer refuses new ones."""

READY_SECONDS = 60.0
NOTICED_SECONDS = 10.0
"""How long the edge may take to see a changed file or a process that is back; it takes milliseconds."""

ANSWER_SECONDS = 30.0
"""How long the edge may take to answer: one that is only slow must not be taken for one that carries nothing."""

TOLD_EVERY = 30.0
POLL = 0.05


@dataclass(frozen=True)
class Load:
    """What the edge has open to some processes."""

    associations: int
    requests: int

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.associations or self.requests)

    def __str__(self) -> str:
        """Say it."""
        parts = ((self.associations, "association"), (self.requests, "request"))
        return " and ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts if count)


@dataclass(frozen=True)
class Upstream:
    """One process in one cluster of the edge, as its ``/clusters`` tells it.

    Parameters
    ----------
    status : HEALTHY or DRAINING, as its file says it.
    alive : whether its port takes connections.
    busy : associations or requests that are open.
    """

    cluster: str
    address: str
    status: str
    alive: bool
    busy: int


def upstreams(admin: Path) -> list[Upstream] | None:
    """Ask the edge for the archive's processes; None when it does not answer, and so carries nothing.

    Parameters
    ----------
    admin : Envoy's administration socket.
    """
    transport = httpx.HTTPTransport(uds=str(admin))
    try:
        with httpx.Client(transport=transport, base_url="http://edge", timeout=ANSWER_SECONDS) as client:
            said = client.get("/clusters", params={"format": "json"}).raise_for_status().json()
    except (httpx.HTTPError, OSError, ValueError):
        return None
    return [
        _upstream(cluster["name"], host)
        for cluster in said.get("cluster_statuses", [])
        if cluster["name"] in (envoy_replicas.ARCHIVE, envoy_replicas.READERS, envoy_replicas.DICOM)
        for host in cluster.get("host_statuses", [])
    ]


def _upstream(cluster: str, host: Mapping[str, Any]) -> Upstream:
    where = host["address"]["socket_address"]
    figures = {each["name"]: int(each.get("value", 0)) for each in host.get("stats", [])}
    # A connection to the DICOM port is an association; HTTP connections are kept without a request on them.
    busy = figures.get("cx_active" if cluster == envoy_replicas.DICOM else "rq_active", 0)
    health = host.get("health_status", {})
    return Upstream(
        cluster,
        f"{where['address']}:{where['port_value']}",
        str(health.get("eds_health_status", "UNKNOWN")),
        not health.get("failed_active_health_check", False),
        busy,
    )


def addresses(process: ArchiveProcess) -> set[str]:
    """Give where the edge reaches a process."""
    ports = (process.http, process.dicom)
    return {f"{process.host}:{port}" for port in ports if port is not None}


def load(admin: Path, where: Collection[str]) -> Load:
    """Tell what the edge has open to these addresses; nothing when it does not answer."""
    found = [each for each in upstreams(admin) or () if each.address in where]
    dicom = sum(each.busy for each in found if each.cluster == envoy_replicas.DICOM)
    return Load(dicom, sum(each.busy for each in found) - dicom)


def _drains(upstream: Upstream) -> bool:
    return upstream.status == "DRAINING"


def _noticed(admin: Path, where: Collection[str], done: Callable[[Upstream], bool]) -> None:
    """Wait until the edge has seen what it was told of these addresses."""
    deadline = time.monotonic() + NOTICED_SECONDS
    while (found := upstreams(admin)) is not None and time.monotonic() < deadline:
        if all(done(each) for each in found if each.address in where):
            return
        time.sleep(POLL)


def _idle(admin: Path, where: Collection[str], report: Report, seconds: float, name: str = "") -> bool:
    """Wait until nothing is open to these addresses; tell whether that came about."""
    deadline = time.monotonic() + seconds
    told = float("-inf")
    quiet = 0
    # Twice: what the edge's threads have chosen, they open a moment later.
    while quiet < 2:
        found = load(admin, where)
        now = time.monotonic()
        quiet = 0 if found else quiet + 1
        if found and now > deadline:
            return False
        if found and now - told > TOLD_EVERY:
            report(f"{name + ': ' if name else ''}waiting for {found} to end")
            told = now
        time.sleep(POLL)
    return True


class Edge:
    """The edge as it is told and asked about the archive's processes.

    Parameters
    ----------
    admin : Envoy's administration socket.
    archives : all processes.
    tell : writes the files that say which processes there are; given are the names of those that get nothing new.
    """

    def __init__(
        self, admin: Path, archives: Sequence[ArchiveProcess], tell: Callable[[Collection[str]], None]
    ) -> None:
        self._admin = admin
        self._archives = {process.name: process for process in archives}
        self._tell = tell

    def drain(self, name: str, report: Report, patience: float = PATIENCE) -> None:
        """Give a process nothing new and wait until it has nothing to do, or `patience` seconds are over.

        The only writer is waited for first: while it drains, new associations are refused.
        """
        process = self._archives[name]
        where = addresses(process)
        if process.writes and sum(each.writes for each in self._archives.values()) == 1:
            _idle(self._admin, where, report, min(LULL, patience), name)
        self._tell({name})
        _noticed(self._admin, where, _drains)
        if not _idle(self._admin, where, report, patience, name):
            report(f"{name}: {load(self._admin, where)} did not end within {patience:.0f} s; ending them")

    def use(self, name: str) -> None:
        """Give a process work again, and wait until the edge does so."""
        self._tell(())
        _noticed(self._admin, addresses(self._archives[name]), lambda each: not _drains(each) and each.alive)


def await_use(admin: Path, archives: Sequence[ArchiveProcess]) -> None:
    """Wait until the edge has seen that every process answers: until then it gives a reader's work to the writers."""
    _noticed(admin, {each for process in archives for each in addresses(process)}, lambda each: each.alive)


def roll(
    names: Sequence[str],
    edge: Edge,
    restart: Callable[[str], None],
    ready: Callable[[str], str | None],
    report: Report,
) -> None:
    """Restart processes one by one: drain, restart, wait until it answers, use it again, then the next.

    Parameters
    ----------
    names : of the processes, in their order.
    restart : stops a process and starts it anew.
    ready : tells what keeps a process from answering, None when it does; may raise when it never will.

    Raises
    ------
    OrthwebError : one did not come back. The edge gives it nothing, and those after it were not touched.
    """
    for name in names:
        try:
            edge.drain(name, report)
        except BaseException:
            edge.use(name)
            raise
        report(f"restarting {name}")
        restart(name)
        await_ready(name, ready)
        edge.use(name)


def await_ready(name: str, ready: Callable[[str], str | None], seconds: float = READY_SECONDS) -> None:
    """Wait until a process answers.

    Raises
    ------
    OrthwebError : it did not in time.
    """
    deadline = time.monotonic() + seconds
    while (problem := ready(name)) is not None:
        if time.monotonic() > deadline:
            raise OrthwebError(f"{name}: does not answer: {problem}", f"orthweb logs {name}")
        time.sleep(POLL)


def retired(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Prepare the leave of processes: the edge's present files with them draining, and their addresses.

    Parameters
    ----------
    old, new : the edge's files of processes (name and text) as they are and as they should be.
    """
    wanted = {address for text in new.values() for _, address in _entries(json.loads(text))}
    files: dict[str, str] = {}
    gone: set[str] = set()
    for name, text in old.items():
        value = json.loads(text)
        leaving = [(entry, address) for entry, address in _entries(value) if address not in wanted]
        for entry, address in leaving:
            entry["health_status"] = "DRAINING"
            gone.add(address)
        if leaving:
            files[name] = json.dumps(value, indent=2) + "\n"
    return files, gone


def _entries(value: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Give every process in a file of the edge, with its address."""
    found = []
    for resource in value["resources"]:
        for group in resource["endpoints"]:
            for entry in group["lb_endpoints"]:
                where = entry["endpoint"]["address"]["socket_address"]
                found.append((entry, f"{where['address']}:{where['port_value']}"))
    return found


def await_idle(admin: Path, where: Collection[str], report: Report, patience: float = PATIENCE) -> None:
    """Wait until the edge has nothing open to addresses that it gives nothing new, or `patience` seconds are over."""
    _noticed(admin, where, _drains)
    _idle(admin, where, report, patience)

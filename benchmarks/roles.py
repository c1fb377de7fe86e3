"""One Orthanc for everything, or one that writes beside one that reads: ingest, queries, retrieval, all at once.

Each shape is a site of its own; all take their turns in each measurement. Then the same with PostgreSQL a millisecond
away, as a managed database is.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import ingest, sites
from benchmarks.relay import relay
from benchmarks.report import Figures, Scale, Table, Target, Value, in_turns, median
from benchmarks.retrieve import Reading, Way, fetch
from benchmarks.sites import MEGABYTE, BenchmarkSite

ONE_WAY_SECONDS = 0.0005
ASSOCIATIONS = 4
CLIENTS = 8

SPLIT = "writer (1) + reader (4)"
COMPROMISE = "one process, 4 connections"
SHAPES = {
    "one process, 1 connection": "[archive]\nreaders = 0\n[index]\nconnections = 1\n",
    COMPROMISE: "[archive]\nreaders = 0\n[index]\nconnections = 4\n",
    "one process, 8 connections": "[archive]\nreaders = 0\n[index]\nconnections = 8\n",
    SPLIT: "[archive]\nreaders = 1\n",
}
INGEST, QIDO = "ingest, instances/s", "QIDO-RS/s"
INGEST_LIMIT, QIDO_LIMIT = 1.4, 1.8


def run(scale: Scale) -> Figures:
    """Measure every shape, near and far."""
    tables, targets = [], []
    with ExitStack() as stack:
        # A smoke test needs the two shapes that the targets compare; the others differ in a number.
        shapes = {name: SHAPES[name] for name in (COMPROMISE, SPLIT)} if scale.quick else SHAPES
        made = {name: stack.enter_context(sites.site(text)) for name, text in shapes.items()}
        studies = {name: _fill(site, scale) for name, site in made.items()}
        for place in ("at hand", "a millisecond away"):
            if place != "at hand":
                for site in made.values():
                    stack.enter_context(_far_index(site))
            found = _measure(made, studies, scale, near=place == "at hand")
            rows: list[dict[str, Value]] = [
                {"shape": name, **{what: median(values[name]) for what, values in found.items()}} for name in made
            ]
            tables.append(Table(f"PostgreSQL {place}", rows))
            for what, limit in ((INGEST, INGEST_LIMIT), (QIDO, QIDO_LIMIT)):
                ratio = median(found[what][SPLIT]) / median(found[what][COMPROMISE])
                name = f"{SPLIT} to {COMPROMISE}, {what}, PostgreSQL {place}"
                targets.append(Target(name, limit, ratio, at_least=True))
    notes = [
        "all through the edge; 0.5 MB slices by storescu on 4 associations; curl with 8 connections at once",
        f"a millisecond away: a relay that makes a round trip of {1000 * _round_trip():.2g} ms",
    ]
    return Figures("roles", tables, targets, notes)


def _fill(site: BenchmarkSite, scale: Scale) -> list[str]:
    """Store studies to look for and to retrieve; give their UIDs."""
    for _ in range(scale.size(5, 1)):
        ingest.fill([site.edge], scale.size(40, 4))
    with site.edge.client() as client:
        found = client.get("/dicom-web/studies").raise_for_status().json()
    return [str(each["0020000D"]["Value"][0]) for each in found]


def _measure(
    made: Mapping[str, BenchmarkSite], studies: Mapping[str, list[str]], scale: Scale, *, near: bool
) -> dict[str, dict[str, list[float]]]:
    """Give for each measurement and each shape what every round gave."""

    def each(measure: Callable[[BenchmarkSite, list[str]], float]) -> dict[str, list[float]]:
        def turn(name: str) -> Callable[[], float]:
            return lambda: measure(made[name], studies[name])

        return in_turns(scale.rounds, {name: turn(name) for name in made})

    slices = scale.size(160 if near else 40, 4)
    found = {
        INGEST: each(lambda site, _: _ingest(site, slices)),
        QIDO: each(lambda site, uids: _asked(site, _qido(uids, scale.size(240 if near else 60, 8)))[0]),
        "tools/find/s": each(lambda site, _: _asked(site, _find(scale.size(400 if near else 100, 8)))[0]),
        "WADO-RS MB/s": each(
            lambda site, uids: _asked(site, _wado(uids, scale.size(20 if near else 8, 2)))[1] / MEGABYTE
        ),
    }
    mixed: dict[str, list[tuple[float, float, float]]] = {name: [] for name in made}

    def all_at_once(name: str) -> Callable[[], float]:
        def measure() -> float:
            mixed[name].append(_mixed(made[name], studies[name], slices))
            return 0.0

        return measure

    in_turns(scale.rounds, {name: all_at_once(name) for name in made})
    for number, what in enumerate(("together: ingest/s", "QIDO-RS/s together", "WADO-RS MB/s together")):
        found[what] = {name: [values[number] for values in rounds] for name, rounds in mixed.items()}
    return found


def _ingest(site: BenchmarkSite, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="orthweb-bench-", dir="/var/tmp") as name:
        ingest.make(Path(name), "CT slice", count, ASSOCIATIONS)
        return count / ingest.send(site.edge, Path(name))


def _qido(uids: list[str], count: int) -> Reading:
    paths = ["/dicom-web/studies?limit=20&PatientID=ORTHWEB*"]
    paths += [f"/dicom-web/studies/{uid}/series" for uid in uids]
    return Reading("QIDO-RS", [paths[number % len(paths)] for number in range(count)], parallel=CLIENTS)


def _find(count: int) -> Reading:
    body = '{"Level": "Study", "Query": {"PatientID": "ORTHWEB*"}}'
    return Reading("tools/find", ["/tools/find"] * count, parallel=CLIENTS, body=body)


def _wado(uids: list[str], count: int) -> Reading:
    part = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    paths = [f"/dicom-web/studies/{uids[number % len(uids)]}" for number in range(count)]
    return Reading("WADO-RS", paths, part, parallel=CLIENTS)


def _asked(site: BenchmarkSite, reading: Reading) -> tuple[float, float]:
    """Ask for everything; give answers a second and bytes a second."""
    seconds, size = fetch(Way("edge", site.edge), reading)
    return len(reading.paths) / seconds, size / seconds


def _mixed(site: BenchmarkSite, uids: list[str], slices: int) -> tuple[float, float, float]:
    """Ingest while others query and retrieve; give instances, answers and megabytes a second."""
    ended = threading.Event()
    answers, size = [0], [0]

    def ask() -> None:
        while not ended.is_set():
            reading = _qido(uids, 24)
            fetch(Way("edge", site.edge), reading)
            answers[0] += len(reading.paths)

    def retrieve() -> None:
        while not ended.is_set():
            size[0] += fetch(Way("edge", site.edge), _wado(uids, 2))[1]

    others = [threading.Thread(target=each) for each in (ask, retrieve)]
    begin = time.monotonic()
    for thread in others:
        thread.start()
    try:
        rate = _ingest(site, slices)
    finally:
        ended.set()
        for thread in others:
            thread.join()
    seconds = time.monotonic() - begin
    return rate, answers[0] / seconds, size[0] / seconds / MEGABYTE


@contextmanager
def _far_index(site: BenchmarkSite) -> Iterator[None]:
    """Put a relay between a site's Orthancs and its PostgreSQL, until the site is deleted."""
    place = site.target.place
    port = place.kept_ports().index
    archives = place.kept_endpoints().archives
    with relay("127.0.0.1", port, ONE_WAY_SECONDS) as far:
        for process in archives:
            for path in (process.configuration / "orthanc.json", process.passfile):
                path.write_text(path.read_text().replace(f"localhost:{port}", f"localhost:{far}"))
        names = [process.name for process in archives]
        place.supervisor.stop("edge", *names)
        for name in (*names, "edge"):
            place.supervisor.start(name)
        sites.await_answer(site.edge)
        yield
        place.supervisor.stop("edge", *names)


def _round_trip() -> float:
    """Measure what the relay adds, in seconds, with a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(64):
                    connection.sendall(data)

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            relay("127.0.0.1", server.getsockname()[1], ONE_WAY_SECONDS) as port,
            socket.create_connection(("127.0.0.1", port)) as client,
        ):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            times = []
            for _ in range(200):
                begin = time.monotonic()
                client.sendall(b"x")
                client.recv(64)
                times.append(time.monotonic() - begin)
        thread.join()
    return median(times)

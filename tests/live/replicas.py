"""Sites with several Orthancs: which of them answered, and who is at what."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from live.counting import client, eventually
from live.sites import LiveSite
from orthweb.render.endpoints import ArchiveProcess
from orthweb.targets.host import rolling


def processes(site: LiveSite) -> dict[str, ArchiveProcess]:
    """Give the Orthancs by their names."""
    return {process.name: process for process in site.target.place.kept_endpoints().archives}


def pids(site: LiveSite) -> dict[str, int]:
    """Give the process of each service."""
    return {name: int(info["pid"]) for name, info in site.target.place.supervisor.services().items()}


def load(site: LiveSite, name: str) -> rolling.Load:
    """Tell what the edge has open to one Orthanc."""
    admin = site.target.place.run / "edge" / "admin.sock"
    return rolling.load(admin, rolling.addresses(processes(site)[name]))


class AccessLog:
    """Which process answered, by the edge's access log; lines from before do not count."""

    def __init__(self, site: LiveSite) -> None:
        self._path: Path = site.state / "logs" / "edge-access.log"
        mark = f"/mark-{secrets.token_hex(8)}"
        with client(site.access) as http:
            http.get(mark)
        # The edge holds its log back for up to a second.
        eventually(lambda: mark in self._path.read_text(), 10, "the access log does not go on")
        self._from = self._path.read_text().index("\n", self._path.read_text().index(mark)) + 1
        self._names = {
            address: name for name, process in processes(site).items() for address in rolling.addresses(process)
        }

    def _lines(self, protocol: str) -> list[dict[str, object]]:
        with self._path.open() as stream:
            stream.seek(self._from)
            found = [json.loads(line) for line in stream if line.endswith("\n")]
        return [line for line in found if str(line.get("protocol", "")).startswith(protocol)]

    def http(self, count: int) -> list[str]:
        """Name the processes that answered the first `count` requests, in the order in which they ended."""
        eventually(lambda: len(self._lines("HTTP")) >= count, 10, f"not {count} requests in the access log")
        return [self._names[str(line["archive"])] for line in self._lines("HTTP")[:count]]

    def dicom(self, count: int) -> list[str]:
        """Name the processes that took the first `count` associations, in the order in which they ended."""
        eventually(lambda: len(self._lines("DICOM")) >= count, 10, f"not {count} associations in the access log")
        return [self._names[str(line["archive"])] for line in self._lines("DICOM")[:count]]


class Queries:
    """Questions that are asked all the time, with what came back."""

    def __init__(self, site: LiveSite, paths: Sequence[str]) -> None:
        self.statuses: Counter[str] = Counter()
        self._site = site
        self._paths = paths
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(path,), daemon=True) for path in paths]

    def _ask(self, path: str) -> None:
        with client(self._site.access, timeout=30) as http:
            while not self._ended.is_set():
                try:
                    if path == "/tools/find":
                        answer = http.post(path, json={"Level": "Study", "Query": {"PatientID": "*"}})
                    else:
                        answer = http.get(path)
                    self.statuses[str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    self.statuses[f"{path}: {type(error).__name__}"] += 1
                time.sleep(0.005)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        """Wait for so many more answers."""
        goal = self.statuses.total() + count
        eventually(lambda: self.statuses.total() >= goal, 60, f"no more answers: {self.statuses}")

    def finish(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive(), "a query hangs"


@contextmanager
def queries(site: LiveSite, *paths: str) -> Iterator[Queries]:
    """Ask in the background while the block runs."""
    made = Queries(site, paths or ("/dicom-web/studies", "/tools/find", "/statistics"))
    made.start()
    try:
        yield made
    finally:
        made.finish()

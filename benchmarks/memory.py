"""Memory of each process of a site: idle, under load, and while one very large instance comes in by STOW-RS."""

from __future__ import annotations

import contextlib
import secrets
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks import sites
from benchmarks.ingest import make, send
from benchmarks.report import Figures, Scale, Table, Value
from benchmarks.retrieve import Reading, Way, fetch
from benchmarks.sites import MEGABYTE, BenchmarkSite, Endpoint
from orthweb.dicom.phantom import SLICE_SIZE, PhantomStudy, encode

PERIOD = 0.1
"""Seconds between two looks at the processes."""

ROOM = 5
"""Free memory that the large instance asks for, as a multiple of its size: Orthanc alone takes about three."""

BOUNDARY = "orthweb-benchmark"


def pss(pid: int) -> int:
    """Give the proportional set size of a process in bytes: shared pages count once over all that share them.

    Source: proc(5), ``/proc/PID/smaps_rollup``.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class Watch:
    """Looks at a site's processes; each service counts with all its children.

    Parameters
    ----------
    site : a running site.
    """

    def __init__(self, site: BenchmarkSite) -> None:
        supervisor = site.target.place.supervisor
        pids = {name: int(facts["pid"]) for name, facts in supervisor.services().items()}
        self._services = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._supervisor = supervisor.pid()

    def look(self) -> Counter[str]:
        """Give the memory of each service now, in bytes."""
        found: Counter[str] = Counter()
        for name, process in self._services.items():
            for member in (process, *process.children(recursive=True)):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # PostgreSQL's workers come and go
                    found[name] += pss(member.pid)
        if self._supervisor is not None:
            found["supervisor"] = pss(self._supervisor)
        return found

    @contextmanager
    def peak(self) -> Iterator[Counter[str]]:
        """Give a counter that holds the highest figures when the block has ended."""
        highest = self.look()
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(PERIOD):
                highest.update({name: max(0, now - highest[name]) for name, now in self.look().items()})

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield highest
        finally:
            ended.set()
            thread.join()


def run(scale: Scale) -> Figures:
    """Measure a new site: idle, under load, with one large instance."""
    notes = []
    with sites.site() as site:
        watch = Watch(site)
        time.sleep(scale.size(5, 1))  # what `up` asked for has been freed or has not
        phases = {"idle": watch.look()}
        with watch.peak() as phases["C-STORE and WADO-RS, peak"]:
            _load(site.edge, scale)
        size = scale.size(2000, 40) * MEGABYTE
        rows: list[dict[str, Value]] = []
        if psutil.virtual_memory().available < ROOM * size:
            notes.append(f"STOW-RS of {size / 1e9:g} GB left out: it needs {ROOM * size / 1e9:g} GB of free memory")
        else:
            large = LargeInstance(size)
            with watch.peak() as phases[f"STOW-RS of {size / 1e9:g} GB, peak"]:
                rows.append(_timed("STOW-RS", size, lambda: large.store(site.edge)))
            with watch.peak() as phases[f"reading it, {size / 1e9:g} GB, peak"]:
                rows.append(_timed("/instances/{id}/file", size, lambda: large.read(site.edge)))
    services = list(phases["idle"])
    memory: list[dict[str, Value]] = [
        {"service": name, **{f"{phase}, MB": found[name] / MEGABYTE for phase, found in phases.items()}}
        for name in services
    ]
    total = {f"{phase}, MB": sum(found.values()) / MEGABYTE for phase, found in phases.items()}
    memory.append({"service": "all", **total})
    tables = [Table("proportional set size", memory)]
    if rows:
        tables.append(Table(f"one instance of {size / 1e9:g} GB through the edge", rows))
    return Figures("memory", tables, notes=notes)


def _timed(what: str, size: int, call: Callable[[], None]) -> dict[str, Value]:
    begin = time.monotonic()
    call()
    seconds = time.monotonic() - begin
    return {"what": what, "passed": "yes", "seconds": seconds, "MB/s": size / seconds / MEGABYTE}


def _load(edge: Endpoint, scale: Scale) -> None:
    """Send over four associations, and read what is there over four connections, at the same time."""
    with tempfile.TemporaryDirectory(prefix="orthweb-bench-", dir="/var/tmp") as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        for batch in (first, second):
            make(batch, "CT slice", scale.size(200, 8), 4)
        send(edge, first)
        with edge.client() as client:
            study = client.get("/dicom-web/studies").raise_for_status().json()[0]["0020000D"]["Value"][0]
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        reading = Reading("load", [f"/dicom-web/studies/{study}"] * scale.size(20, 4), accept, parallel=4)
        reader = threading.Thread(target=fetch, args=(Way("edge", edge), reading))
        reader.start()
        try:
            send(edge, second)
        finally:
            reader.join()


class LargeInstance:
    """A multi-frame instance of any size that is never in memory as a whole.

    Parameters
    ----------
    size : bytes of pixel data, less than 4 GiB (PS3.5 7.1.2: a 32-bit length).
    """

    def __init__(self, size: int) -> None:
        self._frames = size // SLICE_SIZE
        image = PhantomStudy(f"benchmark {secrets.token_hex(8)}").multiframe(1, size=SLICE_SIZE)
        self._frame = bytes(image.PixelData)
        image.NumberOfFrames = self._frames
        image.FrameTimeVector = [100] * self._frames
        del image.PixelData  # the last element: what follows below is its header
        self._head = encode(image) + b"\xe0\x7f\x10\x00OW\x00\x00" + struct.pack("<I", self._frames * SLICE_SIZE)
        self._uid = str(image.SOPInstanceUID)

    @property
    def size(self) -> int:
        """Bytes of the DICOM file."""
        return len(self._head) + self._frames * SLICE_SIZE

    def store(self, edge: Endpoint) -> None:
        """Send it by STOW-RS in one request.

        Raises
        ------
        RuntimeError : it was refused.
        """
        before = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        after = f"\r\n--{BOUNDARY}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield before + self._head
            for _ in range(self._frames):
                yield self._frame
            yield after

        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
            "Content-Length": str(len(before) + self.size + len(after)),
            "Accept": "application/dicom+json",
        }
        with edge.client(timeout=600) as client:
            answer = client.post("/dicom-web/studies", content=body(), headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(f"STOW-RS of {self.size} bytes: {answer.status_code} {answer.text[:500]}")

    def read(self, edge: Endpoint) -> None:
        """Read it back.

        Raises
        ------
        RuntimeError : it is not as long as what was sent.
        """
        with edge.client(timeout=600) as client:
            [name] = client.post("/tools/lookup", content=self._uid).raise_for_status().json()
            with client.stream("GET", f"/instances/{name['ID']}/file") as answer:
                received = sum(len(chunk) for chunk in _raw(answer))
        if received != self.size:
            raise RuntimeError(f"{received} of {self.size} bytes came back")


def _raw(answer: httpx.Response) -> Iterator[bytes]:
    return answer.raise_for_status().iter_raw(MEGABYTE)

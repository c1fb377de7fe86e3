"""C-STORE through the edge with TLS against C-STORE to Orthanc itself without: what does security cost?"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import sites
from benchmarks.report import Figures, Scale, Table, Target, Value, in_turns, median, spread
from benchmarks.sites import MEGABYTE, Endpoint
from orthweb.dicom.phantom import PhantomStudy, write

LIMIT = 0.9
ASSOCIATIONS = (1, 4)


def run(scale: Scale) -> Figures:
    """Send the same new instances to both, in turns."""
    rows: list[dict[str, Value]] = []
    targets = []
    with sites.archive_alone() as direct, sites.site() as site:
        endpoints = (direct, site.edge)
        for kind, count in (("CT slice", scale.size(120, 4)), ("multi-frame", scale.size(12, 4))):
            _measure(endpoints, kind, ASSOCIATIONS[-1], ASSOCIATIONS[-1], 1)  # warms both up
            for associations in ASSOCIATIONS:
                found, size = _measure(endpoints, kind, count, associations, scale.rounds)
                rates = {name: count / median(seconds) for name, seconds in found.items()}
                for name, seconds in found.items():
                    rows.append(
                        {
                            "object": f"{kind}, {size / count / MEGABYTE:.2g} MB",
                            "associations": associations,
                            "way": name,
                            "instances/s": rates[name],
                            "MB/s": rates[name] * size / count / MEGABYTE,
                            "seconds": spread(seconds),
                            "to direct": rates[name] / rates["direct"],
                            "fastest to fastest": min(found["direct"]) / min(seconds),
                        }
                    )
                name = f"edge to direct, {kind}, {associations} associations"
                targets.append(Target(name, LIMIT, rates["edge"] / rates["direct"], at_least=True))
    notes = [
        "direct: Orthanc configured as in the site, but DICOM without TLS; edge: TLS, then mutual TLS to Orthanc",
        "sender: dcmtk storescu, one process for each association, TCP_NODELAY=1, on the same cores",
    ]
    return Figures("ingest", [Table("C-STORE", rows)], targets, notes)


def _measure(
    endpoints: Sequence[Endpoint], kind: str, count: int, associations: int, rounds: int
) -> tuple[dict[str, list[float]], int]:
    """Give the seconds of each round and way, and the size of what was sent in bytes."""
    with tempfile.TemporaryDirectory(prefix="orthweb-bench-", dir="/var/tmp") as name:
        batches = [Path(name) / str(number) for number in range(rounds)]
        size = sum(make(batch, kind, count, associations) for batch in batches) // rounds
        waiting = {endpoint.name: iter(batches) for endpoint in endpoints}

        def timer(endpoint: Endpoint) -> Callable[[], float]:
            return lambda: send(endpoint, next(waiting[endpoint.name]))

        found = in_turns(rounds, {endpoint.name: timer(endpoint) for endpoint in endpoints})
    return found, size


def make(batch: Path, kind: str, count: int, associations: int) -> int:
    """Write `count` new instances, dealt to one folder for each association; give their size in bytes."""
    study = PhantomStudy(f"benchmark {secrets.token_hex(8)}")
    size = 0
    for number in range(count):
        image = study.slice(number + 1) if kind == "CT slice" else study.multiframe(number + 1)
        size += write(batch / str(number % associations), image).stat().st_size
    return size


def send(endpoint: Endpoint, batch: Path) -> float:
    """Send every folder of `batch` with a storescu of its own, all at once; give the seconds until the last has ended.

    Raises
    ------
    RuntimeError : not everything was stored: such a figure would be worth nothing.
    """
    folders = sorted(batch.iterdir())
    expected = endpoint.instances() + sum(1 for folder in folders for _ in folder.iterdir())
    words = ["storescu", "-aet", "BENCHMARK", "-aec", endpoint.aet, "-R", "+sd"]
    if endpoint.dicom_tls:
        words += ["+tla", "-rc", "+cf", str(endpoint.ca)]
    words += [endpoint.host, str(endpoint.dicom_port)]
    # A sender that leaves Nagle's algorithm on waits for delayed acknowledgements, and hides all that is measured.
    environment = dict(os.environ, TCP_NODELAY="1")
    begin = time.monotonic()
    senders = [
        subprocess.Popen([*words, str(folder)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for folder in folders
    ]
    said = [sender.communicate()[0] for sender in senders]
    seconds = time.monotonic() - begin
    if any(sender.returncode for sender in senders) or endpoint.instances() != expected:
        raise RuntimeError(f"storescu to {endpoint.name}: {b''.join(said).decode(errors='replace')[-2000:]}")
    return seconds


def fill(endpoints: Sequence[Endpoint], count: int, kind: str = "CT slice") -> None:
    """Store `count` instances of one new study, the same everywhere, for a benchmark that reads."""
    with tempfile.TemporaryDirectory(prefix="orthweb-bench-", dir="/var/tmp") as name:
        make(Path(name), kind, count, min(count, 4))
        for endpoint in endpoints:
            send(endpoint, Path(name))

"""A site with its images in a bucket against the same site with its images in a folder: ingest and retrieval.

The bucket answers after 15 ms, as Amazon S3 does in the same region, and takes no processor time worth mentioning.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import sites
from benchmarks.bucket import bucket
from benchmarks.ingest import fill, make, send
from benchmarks.report import Figures, Scale, Table, Target, Value, in_turns, median, spread
from benchmarks.retrieve import Reading, Way, fetch
from benchmarks.sites import MEGABYTE, BenchmarkSite

LATENCY = 0.015
ASSOCIATIONS = (1, 4, 16)
AT_ONCE = (1, 8)
INGEST_LIMIT, WARM_LIMIT, COLD_LIMIT = 0.7, 0.9, 0.5
FOLDER, BUCKET = "folder", "bucket"

SETTINGS = """
[archive]
dicom_threads = 16
"""
"""Of both: an association that waits for the bucket must not keep others from being worked on."""

IN_BUCKET = """
[store]
kind = "s3"
[s3]
bucket = "images"
endpoint = "http://127.0.0.1:{}"
credentials = "s3-credentials"
"""


def run(scale: Scale) -> Figures:
    """Send the same new instances to both, and retrieve the same from both, in turns."""
    with bucket(LATENCY) as port, sites.site(SETTINGS) as files, _in_bucket(port) as objects:
        both = {FOLDER: files, BUCKET: objects}
        ingest, targets = _ingest(both, scale)
        retrieval, more = _retrieval(both, scale)
    notes = [
        f"{BUCKET}: the S3 store; each request is answered after {LATENCY * 1000:.0f} ms, on the same cores",
        "cold: the local cache was emptied; warm: everything asked for is in it",
        "one instance makes two objects, one after the other: the file, and its head until the pixel data",
    ]
    return Figures("store_s3", [Table("C-STORE", ingest), Table("retrieval", retrieval)], [*targets, *more], notes)


@contextmanager
def _in_bucket(port: int) -> Iterator[BenchmarkSite]:
    with sites.site(SETTINGS + IN_BUCKET.format(port), up=False) as made:
        credentials = made.folder / "s3-credentials"
        credentials.touch(0o600)
        credentials.write_text("[default]\naws_access_key_id = benchmark\naws_secret_access_key = benchmark\n")
        made.orthweb("up")
        yield made


def _ingest(both: dict[str, BenchmarkSite], scale: Scale) -> tuple[list[dict[str, Value]], list[Target]]:
    rows: list[dict[str, Value]] = []
    targets = []
    count = scale.size(160, 16)
    fill([made.edge for made in both.values()], 8)  # warms both up
    for associations in ASSOCIATIONS:
        with tempfile.TemporaryDirectory(prefix="orthweb-bench-", dir="/var/tmp") as name:
            batches = [Path(name) / str(number) for number in range(scale.rounds)]
            size = sum(make(batch, "CT slice", count, associations) for batch in batches) / scale.rounds

            def timer(made: BenchmarkSite, batches: list[Path] = batches) -> Callable[[], float]:
                waiting = iter(batches)
                return lambda: send(made.edge, next(waiting))

            found = in_turns(scale.rounds, {name: timer(made) for name, made in both.items()})
        rates = {name: count / median(seconds) for name, seconds in found.items()}
        for name, seconds in found.items():
            rows.append(
                {
                    "associations": associations,
                    "store": name,
                    "instances/s": rates[name],
                    "MB/s": rates[name] * size / count / MEGABYTE,
                    "seconds": spread(seconds),
                    "to folder": rates[name] / rates[FOLDER],
                }
            )
    targets.append(Target("ingest, bucket to folder", INGEST_LIMIT, rates[BUCKET] / rates[FOLDER], at_least=True))
    return rows, targets


def _retrieval(both: dict[str, BenchmarkSite], scale: Scale) -> tuple[list[dict[str, Value]], list[Target]]:
    rows: list[dict[str, Value]] = []
    targets = []
    count = scale.size(400, 8)  # more than Orthanc's own cache in memory holds, which is 128 MB
    for at_once in AT_ONCE:
        readings = {name: _instances(made, count, at_once) for name, made in both.items()}

        def timer(name: str, cold: bool, readings: dict[str, Reading] = readings) -> Callable[[], float]:
            def measure() -> float:
                if cold:
                    _empty_cache(both[name])
                return fetch(Way(name, both[name].edge), readings[name])[0]

            return measure

        size = {name: fetch(Way(name, made.edge), readings[name])[1] for name, made in both.items()}  # warms both up
        ways = {FOLDER: timer(FOLDER, False), "warm": timer(BUCKET, False), "cold": timer(BUCKET, True)}
        found = in_turns(scale.rounds, ways)
        rates = {name: size[FOLDER] / median(seconds) / MEGABYTE for name, seconds in found.items()}
        for name, seconds in found.items():
            rows.append(
                {
                    "at once": at_once,
                    "store": name if name == FOLDER else f"{BUCKET}, {name}",
                    "MB/s": rates[name],
                    "seconds": spread(seconds),
                    "to folder": rates[name] / rates[FOLDER],
                }
            )
    for name, limit in (("warm", WARM_LIMIT), ("cold", COLD_LIMIT)):
        measured = rates[name] / rates[FOLDER]
        targets.append(Target(f"retrieval, {name} bucket to folder, {AT_ONCE[-1]} at once", limit, measured, True))
    return rows, targets


def _instances(made: BenchmarkSite, count: int, at_once: int) -> Reading:
    with made.edge.client() as client:
        names = sorted(client.get("/instances").raise_for_status().json())[:count]
    return Reading("/instances/{id}/file", [f"/instances/{name}/file" for name in names], parallel=at_once)


def _empty_cache(made: BenchmarkSite) -> None:
    for path in made.target.state.cache.rglob("*"):
        if path.is_file():
            path.unlink()

"""WADO-RS and the REST API through the edge with TLS against the same Orthanc itself without."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import sites
from benchmarks.ingest import fill
from benchmarks.report import Figures, Scale, Table, Target, Value, in_turns, median, spread
from benchmarks.sites import MEGABYTE, Endpoint

LIMIT = 0.9


@dataclass(frozen=True)
class Reading:
    """One thing to retrieve.

    Parameters
    ----------
    name : the label in the table.
    paths : what is asked for, one after the other on kept connections.
    accept : the header of that name.
    parallel : requests at once.
    promised : whether images are read, for which there is a target.
    body : JSON to send with POST; None asks with GET.
    """

    name: str
    paths: Sequence[str]
    accept: str = "*/*"
    parallel: int = 1
    promised: bool = True
    body: str | None = None


@dataclass(frozen=True)
class Way:
    """A way to the archive."""

    name: str
    endpoint: Endpoint
    http2: bool = False


def run(scale: Scale) -> Figures:
    """Retrieve the same instances from the same Orthanc in both ways, in turns."""
    rows: list[dict[str, Value]] = []
    targets = []
    with sites.site() as site, sites.edge_without_tls(site) as without_tls:
        edge = site.edge
        fill([edge], scale.size(200, 8))
        ways = [
            Way("direct", site.behind_edge),
            Way("edge without TLS", without_tls),
            Way("edge", edge),
            Way("edge, HTTP/2", edge, http2=True),
        ]
        for reading in _readings(edge, scale):
            sizes = {way.name: fetch(way, reading)[1] for way in ways}  # warms the page cache and checks the answers
            if len(set(sizes.values())) != 1:
                raise RuntimeError(f"{reading.name}: not the same bytes in every way: {sizes}")
            found = in_turns(scale.rounds, {way.name: _timer(way, reading) for way in ways})
            direct = median(found["direct"])
            for name, seconds in found.items():
                rows.append(
                    {
                        "what": reading.name,
                        "at once": reading.parallel,
                        "way": name,
                        "requests/s": len(reading.paths) / median(seconds),
                        "MB/s": sizes[name] / median(seconds) / MEGABYTE,
                        "seconds": spread(seconds),
                        "to direct": direct / median(seconds),
                        "fastest to fastest": min(found["direct"]) / min(seconds),
                    }
                )
            if reading.promised:
                name = f"edge to direct, {reading.name}, {reading.parallel} at once"
                targets.append(Target(name, LIMIT, direct / median(found["edge"]), at_least=True))
    notes = [
        "direct: the site's own Orthanc on its internal port, plain HTTP/1.1; edge: TLS, HTTP/1.1 unless named HTTP/2",
        "edge without TLS: a second Envoy with the same settings; what remains to the edge is the price of encryption",
        "client: curl with kept connections, on the same cores",
    ]
    return Figures("retrieve", [Table("seconds from the first request to the last byte", rows)], targets, notes)


def _timer(way: Way, reading: Reading) -> Callable[[], float]:
    return lambda: fetch(way, reading)[0]


def _readings(edge: Endpoint, scale: Scale) -> list[Reading]:
    part = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with edge.client() as client:
        [study] = client.get("/dicom-web/studies").raise_for_status().json()
        uid = study["0020000D"]["Value"][0]
        found = client.get(f"/dicom-web/studies/{uid}/instances").raise_for_status().json()
        names = client.get("/instances").raise_for_status().json()
    series = found[0]["0020000E"]["Value"][0]
    whole = f"/dicom-web/studies/{uid}"
    single = [f"{whole}/series/{series}/instances/{each['00080018']['Value'][0]}" for each in found]
    files = [f"/instances/{name}/file" for name in names]
    times = scale.size(4, 1)
    return [
        Reading("WADO-RS study", [whole] * times, part),
        Reading("WADO-RS instance", single * scale.size(2, 1), part),
        Reading("WADO-RS instance", single * scale.size(2, 1), part, parallel=4),
        Reading("/instances/{id}/file", files * times),
        Reading("/instances/{id}/file", files * times, parallel=4),
        Reading("/system", ["/system"] * scale.size(1000, 10), promised=False),
    ]


def fetch(way: Way, reading: Reading) -> tuple[float, int]:
    """Ask for everything; give the seconds and the number of bytes.

    Raises
    ------
    RuntimeError : an answer was not 200.
    """
    endpoint = way.endpoint
    words = ["curl", "--silent", "--show-error", "--no-buffer", "--config", "-"]
    if reading.parallel > 1:
        words += ["--parallel", "--parallel-max", str(reading.parallel)]
    # The password goes in over standard input: arguments are visible to every user of the machine.
    common = [f'user = "{endpoint.credentials.user}:{endpoint.credentials.password}"', 'noproxy = "*"']
    common += [f'header = "Accept: {_quoted(reading.accept)}"', "http2" if way.http2 else "http1.1"]
    common += ['write-out = "%{http_code} %{size_download}\\n"', 'output = "/dev/null"']
    if reading.body is not None:
        common.append(f'data = "{_quoted(reading.body)}"')
    if endpoint.ca is not None:
        common.append(f'cacert = "{endpoint.ca}"')
    # An option before --next holds for its own URLs alone.
    text = "\nnext\n".join("\n".join([*common, f'url = "{endpoint.url}{path}"']) for path in reading.paths)
    begin = time.monotonic()
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    answers = [line.split() for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(reading.paths) or any(status != "200" for status, _ in answers):
        raise RuntimeError(f"{reading.name} ({way.name}): {done.stderr[-500:]} {done.stdout[-500:]}")
    return seconds, sum(int(size) for _, size in answers)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')

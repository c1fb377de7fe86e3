"""How long a person waits: `up` on a new site, `up` on an existing one, `down`."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from benchmarks import sites
from benchmarks.report import Figures, Scale, Table, Target, Value, median, spread
from benchmarks.sites import BenchmarkSite

POLL = 0.02
"""Seconds between two questions: the resolution of the figures."""

PATIENCE = 120.0

LIMITS = {"cold start": 6.0, "warm start": 4.0, "down": 8.0}


def run(scale: Scale) -> Figures:
    """Measure start and stop of `scale.rounds` new sites."""
    found: dict[str, list[float]] = {
        name: [] for name in ("cold start", "cold: up returned", "warm start", "warm: up returned", "down")
    }
    for _ in range(scale.rounds):
        with sites.site(up=False) as site:
            for kind in ("cold", "warm"):
                answered, returned = _up(site)
                found[f"{kind} start"].append(answered)
                found[f"{kind}: up returned"].append(returned)
                begin = time.monotonic()
                site.orthweb("down")
                found["down"].append(time.monotonic() - begin)
    rows: list[dict[str, Value]] = [
        {"what": name, "median s": median(values), "range s": spread(values), "runs": len(values)}
        for name, values in found.items()
    ]
    targets = [Target(f"{name}, seconds", limit, median(found[name])) for name, limit in LIMITS.items()]
    note = "start: from the start of the process `orthweb up` to the first C-ECHO of dcmtk's echoscu over verified TLS"
    return Figures("startup", [Table("seconds", rows)], targets, [note])


def _up(site: BenchmarkSite) -> tuple[float, float]:
    """Bring a site up; give the seconds until a stranger's C-ECHO succeeds, and until the command returns."""
    ca = site.target.state.pki / "site-ca.pem"
    answered = returned = None
    begin = time.monotonic()
    process = site.start("up")
    while answered is None or returned is None:
        if answered is None and _echo(site.dicom_port, ca):
            answered = time.monotonic() - begin
        if returned is None and process.poll() is not None:
            returned = time.monotonic() - begin
            if process.returncode:
                raise RuntimeError(f"orthweb up failed: {process.stdout.read() if process.stdout else ''}")
        if time.monotonic() - begin > PATIENCE:
            raise RuntimeError(f"no C-ECHO within {PATIENCE:.0f} s")
        time.sleep(POLL)
    process.communicate()
    return answered, returned


def _echo(port: int, ca: Path) -> bool:
    """Ask once. Nothing is started before somebody listens, so that the question does not slow down the answer."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) != 0 or not ca.exists():
            return False
    words = ["echoscu", "-aec", "ORTHANC", "-ta", "2", "-td", "2", "+tla", "-rc", "+cf", str(ca)]
    return subprocess.run([*words, "127.0.0.1", str(port)], capture_output=True, check=False).returncode == 0

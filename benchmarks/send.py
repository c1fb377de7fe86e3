"""``orthweb dicom send`` against one dcmtk ``storescu``: the same files, the same peer, the same run.

``python -m benchmarks.send`` measures a site of its own; with ``--peer AET@HOST:PORT`` another archive, which keeps the
synthetic studies. The network is the loopback interface, and a relay that adds 20 ms each way.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import sites
from benchmarks.relay import relay
from benchmarks.report import RESULTS, Figures, Scale, Table, Target, Value, in_turns, median, show, spread, write
from orthweb.dicom import phantom
from orthweb.dicom.peer import parse_address

NEAR_LIMIT = 2.0
FAR_LIMIT = 8.0
ONE_WAY_SECONDS = 0.020
SLICES = 500

ORTHWEB, STORESCU, STORESCU_NODELAY = "orthweb dicom send", "storescu", "storescu, TCP_NODELAY=1"


@dataclass(frozen=True)
class Destination:
    """Where both send to; ``ca`` None is plain DICOM."""

    aet: str
    host: str
    port: int
    ca: Path | None


@contextmanager
def destination(peer: str | None, ca: Path | None) -> Iterator[Destination]:
    """Give the peer that was asked for, or a site of our own."""
    if peer is not None:
        yield Destination(*parse_address(peer), ca)
        return
    with sites.site() as made:
        edge = made.edge
        yield Destination(edge.aet, edge.host, edge.dicom_port, edge.ca)


def run(scale: Scale, peer: str | None = None, ca: Path | None = None) -> Figures:
    """Send new slices with each program in turns, near and far."""
    rows: list[dict[str, Value]] = []
    targets = []
    count = scale.size(SLICES, 8)
    with destination(peer, ca) as near, relay(near.host, near.port, ONE_WAY_SECONDS) as port:
        _send(ORTHWEB, near, 4)
        far = replace(near, host="localhost", port=port)
        for network, where, limit in (("loopback", near, NEAR_LIMIT), ("40 ms round trip", far, FAR_LIMIT)):
            programs = [ORTHWEB, STORESCU, STORESCU_NODELAY]
            alternatives: dict[str, Callable[[], float]] = {
                name: partial(_send, name, where, count) for name in programs
            }
            found = in_turns(scale.rounds, alternatives)
            rates = {name: count / median(seconds) for name, seconds in found.items()}
            for name, seconds in found.items():
                rows.append(
                    {
                        "network": network,
                        "program": name,
                        "instances/s": rates[name],
                        "MB/s": rates[name] * phantom.SLICE_SIZE / 1e6,
                        "seconds": spread(seconds),
                        "orthweb to this": rates[ORTHWEB] / rates[name],
                    }
                )
            ratio = rates[ORTHWEB] / rates[STORESCU]
            targets.append(Target(f"orthweb send to one storescu, {network}", limit, ratio, at_least=True))
    notes = [
        f"{count} CT slices of 0.5 MB, new to the archive each time; sender, relay and archive on the same cores",
        "whole program runs: start, search for files and journal included",
    ]
    return Figures("send", [Table("C-STORE of many small slices", rows)], targets, notes)


def _send(program: str, where: Destination, count: int) -> float:
    """Send new slices with one program; give the seconds that it ran."""
    folder = Path(tempfile.mkdtemp(prefix="orthweb-bench-", dir="/var/tmp"))
    try:
        study = phantom.PhantomStudy(secrets.token_hex(8))
        for number in range(1, count + 1):
            phantom.write(folder / "slices", study.slice(number))
        words, environment = _command(program, where, folder)
        begin = time.monotonic()
        process = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.monotonic() - begin
        if process.returncode or (program == ORTHWEB and json.loads(process.stdout)["sent"] != count):
            raise RuntimeError(f"{program} failed: {process.stdout[-2000:]}")
        return seconds
    finally:
        shutil.rmtree(folder)


def _command(program: str, where: Destination, folder: Path) -> tuple[list[str], dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    address = f"{where.aet}@{where.host}:{where.port}"
    if program == ORTHWEB:
        trust = ["--no-tls"] if where.ca is None else ["--ca", str(where.ca)]
        journal = ["--journal", str(folder / "journal.sqlite")]
        words = [sys.executable, "-m", "orthweb", "dicom", "send", str(folder / "slices"), "--json"]
        return [*words, "--peer", address, *trust, *journal], environment
    if program == STORESCU_NODELAY:
        environment["TCP_NODELAY"] = "1"
    trust = [] if where.ca is None else ["+tla", "+cf", str(where.ca)]
    called = ["-aec", where.aet, where.host, str(where.port)]
    return ["/usr/bin/storescu", *trust, *called, "+sd", str(folder / "slices")], environment


def main() -> None:
    """Read the command line, measure, print and write JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.send", description="orthweb dicom send against storescu.")
    parser.add_argument("--peer", metavar="AET@HOST:PORT", help="an archive (default: a site of our own)")
    parser.add_argument("--ca", type=Path, help="CA that signed its certificate; without it plain DICOM")
    parser.add_argument("--quick", action="store_true", help="once and small: does it still run?")
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs (default: 3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    options = parser.parse_args()
    scale = Scale(quick=options.quick, rounds=1 if options.quick else options.rounds)
    figures = run(scale, options.peer, options.ca)
    show(figures)
    print(f"  {write(figures, scale, options.results)}")


if __name__ == "__main__":
    main()

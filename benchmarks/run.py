"""Run benchmarks by name, or all; print tables and write JSON.

``python -m benchmarks.run [--quick] [--rounds N] [--results FOLDER] [NAME...]``
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

from benchmarks.report import RESULTS, Figures, Scale, show, show_targets, write

NAMES = ("startup", "ingest", "send", "retrieve", "memory", "roles", "store_check", "store_s3")
"""Modules beside this one with a function ``run(scale) -> Figures``."""


def main() -> None:
    """Run what was asked for. The exit code tells whether everything ran, never whether it was quick."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="Measure Orthweb on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="everything once and small: does it still run?")
    parser.add_argument("--rounds", type=int, default=3, help="how often each alternative runs (default: 3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON files")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.rounds < 1:
        parser.error("--rounds should be at least 1")
    scale = Scale(quick=options.quick, rounds=1 if options.quick else options.rounds)
    everything: list[Figures] = []
    for name in options.names or NAMES:
        begin = time.monotonic()
        figures = importlib.import_module(f"benchmarks.{name}").run(scale)
        everything.append(figures)
        show(figures)
        if not scale.quick:  # one small run judges nothing
            show_targets([figures])
        path = write(figures, scale, options.results)
        print(f"  {time.monotonic() - begin:.0f} s; {path}", flush=True)
    if len(everything) > 1 and not scale.quick:
        print("\nsummary")
        show_targets(everything)


if __name__ == "__main__":
    main()

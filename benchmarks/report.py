"""What a benchmark gives: tables of figures, and targets with what was measured against them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

RESULTS = Path(__file__).parent / "results"

Value = str | int | float | None


@dataclass(frozen=True)
class Scale:
    """How much to run.

    Parameters
    ----------
    quick : a smoke test: everything runs once and small; the figures mean nothing.
    rounds : how often each alternative runs, in turns; medians are taken.
    """

    quick: bool = False
    rounds: int = 3

    def size(self, full: int, quick: int) -> int:
        """Choose between the full and the quick amount of something."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Table:
    """Rows of figures; every row has the same columns, units are in the columns' names."""

    title: str
    rows: Sequence[Mapping[str, Value]]


@dataclass(frozen=True)
class Target:
    """A figure that was promised.

    Parameters
    ----------
    name : what is measured, with its unit.
    limit : the promise.
    measured : the figure; None when it could not be measured.
    at_least : whether the figure must be at least the limit (a ratio), or at most (a duration).
    """

    name: str
    limit: float
    measured: float | None
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Tell whether the promise was kept in this run."""
        if self.measured is None:
            return False
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True)
class Figures:
    """All that one benchmark gives."""

    benchmark: str
    tables: Sequence[Table]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = field(default_factory=list)


def in_turns(rounds: int, alternatives: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call each alternative once a round, every second round in reverse order (A B, B A, A B), and keep what each gave.

    Neither alternative profits from always running in the other's warm caches or before its garbage.
    """
    found: dict[str, list[float]] = {name: [] for name in alternatives}
    for number in range(rounds):
        names = list(alternatives)
        for name in reversed(names) if number % 2 else names:
            found[name].append(alternatives[name]())
    return found


def median(values: Sequence[float]) -> float:
    """Give the median."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Write the smallest and the largest value."""
    return f"{min(values):.3g}-{max(values):.3g}"


def show(figures: Figures) -> None:
    """Print a benchmark's tables and notes."""
    for table in figures.tables:
        print(f"\n{figures.benchmark}: {table.title}")
        columns = list(table.rows[0]) if table.rows else []
        lines = [columns, *([_text(row[column]) for column in columns] for row in table.rows)]
        widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
        for line in lines:
            print("  " + "  ".join(f"{word:<{width}}" for word, width in zip(line, widths, strict=True)).rstrip())
    for note in figures.notes:
        print(f"  note: {note}")


def show_targets(all_figures: Sequence[Figures]) -> None:
    """Print what was promised beside what was measured."""
    for figures in all_figures:
        for target in figures.targets:
            word = "met" if target.met else "NOT MET"
            sign = ">=" if target.at_least else "<="
            print(f"  target: {target.name}: {_text(target.measured)} ({sign} {target.limit:g}: {word})")


def write(figures: Figures, scale: Scale, folder: Path = RESULTS) -> Path:
    """Write ``<folder>/<benchmark>.json``; give the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{figures.benchmark}.json"
    value = {
        "benchmark": figures.benchmark,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "quick": scale.quick,
        "rounds": scale.rounds,
        "machine": {
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "load_average": os.getloadavg(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "tables": [asdict(table) for table in figures.tables],
        "targets": [asdict(target) | {"met": target.met} for target in figures.targets],
        "notes": list(figures.notes),
    }
    path.write_text(json.dumps(value, indent=2) + "\n")
    return path


def _text(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)

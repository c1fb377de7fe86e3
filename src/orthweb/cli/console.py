"""What every verb prints with: facts to standard output, progress and problems to standard error."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthweb.errors import OrthwebError

if TYPE_CHECKING:
    from orthweb.site import Site
    from orthweb.targets import Choice
    from orthweb.targets.base import PlanItem, SiteStatus


@dataclass
class Settings:
    """The options that stand before the verb."""

    site_file: Path = Path("site.toml")
    debug: bool = False


settings = Settings()

ALIGNED = 44
"""Characters up to which the things of a plan are aligned."""

LEAST = 24
"""Characters that a folded text needs at least."""

SIGNS = {
    "create": "+",
    "change": "~",
    "replace": "±",
    "delete": "-",
    "start": ">",
    "restart": ">",
    "renew": "~",
    "warn": "!",
}


def out(line: str = "") -> None:
    """Print one line of result, as it is."""
    sys.stdout.write(line + "\n")


def facts(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print facts as JSON (``--json``)."""
    out(json.dumps(value, indent=2, default=str))


def note(line: str) -> None:
    """Print one line of progress or warning to standard error."""
    sys.stderr.write(line + "\n")


def problem(error: OrthwebError) -> None:
    """Print an error the way all errors are printed: what, then the next step."""
    for line in error.message.splitlines():
        note(f"error: {line}")
    if error.hint:
        note(f"  next: {error.hint}")


def is_terminal() -> bool:
    """Tell whether standard output is a person's terminal."""
    return sys.stdout.isatty()


def is_interactive() -> bool:
    """Tell whether a question would reach a person."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Show what long work is doing: one moving line on a terminal, a line a step elsewhere."""
    if not sys.stderr.isatty():
        last: list[str] = []

        def once(line: str) -> None:
            # What is waited for is said at each look.
            if last != [line]:
                last[:] = [line]
                note(line)

        yield once
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.status import Status

    from orthweb.targets.base import Done

    console = Console(stderr=True)
    with Status("", console=console) as status:

        def report(line: str) -> None:
            if isinstance(line, Done):
                console.print(line, markup=False, highlight=False)
            else:
                status.update(escape(line))

        yield report


def changes(items: Sequence[PlanItem], nothing: str) -> None:
    """Print a plan, or what was done: one line an item."""
    if all(item.action == "warn" for item in items):
        out(nothing)
    heads = [f"{item.action} {item.what}" for item in items]
    # One long name does not push all the others' reasons to the right.
    width = max((len(head) for head in heads if len(head) <= ALIGNED), default=0)
    for item, head in zip(items, heads, strict=True):
        folded(f"{SIGNS[item.action]} {head:<{width}}  ", item.why, 4)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; a column that is empty everywhere is left out."""
    kept = [number for number in range(len(head)) if any(row[number] for row in rows)]
    lines = [[line[number] for number in kept] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(kept))]
    for line in lines:
        start = "".join(f"{word:<{width}}  " for word, width in zip(line[:-1], widths[:-1], strict=True))
        folded(start, line[-1], len(start))


def folded(start: str, text: str, indent: int) -> None:
    """Print a line; on a terminal that is too narrow for it the rest goes below, indented."""
    line = f"{start}{text}".rstrip()
    width = shutil.get_terminal_size().columns if is_terminal() else len(line)
    if len(line) <= width or width - indent < LEAST or len(start) >= width:
        out(line)
        return
    for part in textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        out(part)


def chosen(site: Site, choice: Choice) -> None:
    """Say where a site will run, unless its file does."""
    if site.target is None:
        note(f"target: {choice.name}, {choice.why}")


def where(status: SiteStatus) -> None:
    """Say where a running site is and how to get in."""
    out(f"Web    {status.url}  (user admin; password: orthweb credentials)")
    out(f"DICOM  {status.aet} at {status.dicom}, TLS  (trust and commands for your toolkit: orthweb trust)")


def count(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def size(count: int | None) -> str:
    """Write a number of bytes for people."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float | None) -> str:
    """Write a duration for people."""
    if seconds is None:
        return ""
    whole = int(seconds)
    for span, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * span:
            return f"{whole // span} {unit}"
    return f"{whole} s"

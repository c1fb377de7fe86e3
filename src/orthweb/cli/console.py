"""What every verb prints with: facts to standard output, progress and problems to standard error."""

from __future__ import annotations

import json
import os
import re
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

USUAL = 80
"""Columns of a terminal that does not say how many it has."""

_UNBROKEN = "\N{NO-BREAK SPACE}"

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
        folded("error: ", line, 7, to=note)
    if error.hint:
        folded("  next: ", error.hint, 8, to=note)


def is_terminal() -> bool:
    """Tell whether standard output is a person's terminal."""
    return sys.stdout.isatty()


def is_interactive() -> bool:
    """Tell whether a question would reach a person."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Show what long work is doing: one moving line on a terminal, a line a step elsewhere."""
    from orthweb.targets.base import Done, Moving

    if not sys.stderr.isatty():
        last: list[str] = []

        def once(line: str) -> None:
            # What is waited for is said at each look.
            if last != [line] and not isinstance(line, Moving):
                last[:] = [line]
                note(line)

        yield once
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.status import Status

    console = Console(stderr=True)
    with Status("", console=console) as status:

        def report(line: str) -> None:
            if isinstance(line, Done):
                console.print(line, markup=False, highlight=False, soft_wrap=line.startswith(" "))
            else:
                status.update(escape(line))

        yield report


def changes(items: Sequence[PlanItem], nothing: str) -> None:
    """Print a plan, or what was done: one line an item."""
    if all(item.action == "warn" for item in items):
        out(nothing)
    heads = [f"{item.action} {item.what}" for item in items]
    # One long name does not push all the others' reasons to the right, and they have half of a terminal's line.
    most = min(ALIGNED, (_width(out) or 2 * ALIGNED + 8) // 2 - 4)
    width = max((len(head) for head in heads if len(head) <= most), default=0)
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


def folded(start: str, text: str, indent: int, to: Callable[[str], None] = out) -> None:
    """Print a line; on a terminal that is too narrow for it the rest goes below, indented.

    A text that begins with a space is printed as it is: a command to copy, or a line of a log.

    Parameters
    ----------
    to : `out` or `note`.
    """
    line = f"{start}{text}".rstrip()
    width = _width(to)
    if width is None or len(line) <= width or width - indent < LEAST or text.startswith(" ") or "\n" in text:
        to(line)
        return
    # What stands in backticks is typed: it is not broken.
    whole = re.sub(r"`[^`]+`", lambda found: found[0].replace(" ", _UNBROKEN), text)
    first = whole.split(" ", 1)[0]
    if len(start) + len(first) > width and len(start) > indent:
        to(start.rstrip())
        start = " " * indent
    for part in textwrap.wrap(
        whole,
        width,
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        to(part.replace(_UNBROKEN, " "))


def _width(to: Callable[[str], None]) -> int | None:
    """Give how many columns the terminal has that is printed to; None when it is none."""
    if not (is_terminal() if to is out else sys.stderr.isatty()):
        return None
    stated = os.environ.get("COLUMNS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    try:
        return os.get_terminal_size((sys.stdout if to is out else sys.stderr).fileno()).columns or USUAL
    except OSError:
        return USUAL


def chosen(site: Site, choice: Choice) -> None:
    """Say where a site will run, unless its file does."""
    if site.target is None:
        note(f"target: {choice.name}, {choice.why}")


def where(status: SiteStatus) -> None:
    """Say where a running site is and how to get in."""
    folded("Web    ", f"{status.url}  (user admin; password: orthweb credentials)", 7)
    folded("DICOM  ", f"{status.aet} at {status.dicom}, TLS  (trust and commands for your toolkit: orthweb trust)", 7)


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

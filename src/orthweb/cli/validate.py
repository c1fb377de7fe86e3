"""``orthweb validate``: prove that the site works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orthweb.cli import console
from orthweb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orthweb.checks.check import Check, Result
    from orthweb.checks.report import Report

_MARKS = {"pass": "ok", "fail": "FAIL", "n/a": "n/a"}


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(validate)


def validate(
    group: Annotated[
        list[str] | None,
        typer.Option("--group", "-g", help="Only this group: dicom, web, tls, index, store, host or security."),
    ] = None,
    check: Annotated[list[str] | None, typer.Option("--check", "-c", help="Only the check with this id.")] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the checks, run none.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write a report for auditors, one HTML file.", dir_okay=False)
    ] = None,
) -> None:
    """Prove that the site works: run all checks, or some. Exit code 1 when one fails."""
    from orthweb.checks import catalogue

    chosen = catalogue.select(group or (), check or ())
    if list_them:
        _list(chosen, json)
        return
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"{report}: its folder does not exist", "make it, or name another file")
    passed = _run(chosen, json, report)
    if not passed:
        raise typer.Exit(1)


def _list(checks: Sequence[Check], json: bool) -> None:
    if json:
        console.facts(
            [{"id": item.id, "group": item.group, "title": item.title, "expected": item.expected} for item in checks]
        )
        return
    console.table(("check", "title", "expected"), [(item.id, item.title, item.expected) for item in checks])


def _run(checks: Sequence[Check], json: bool, report: Path | None) -> bool:
    import time

    from orthweb.checks.context import Context
    from orthweb.checks.report import Report
    from orthweb.checks.runner import run
    from orthweb.targets import open_site
    from orthweb.targets.base import Distant

    target = open_site(console.settings.site_file)
    if isinstance(target, Distant) and not json and report is None:
        # Else each check would say in its own way that there is no connection, after its own time. A program and an
        # auditor want the document all the same.
        target.check_reach()
    context = Context(target.access(), target.host_facts())
    started = time.monotonic()
    with _progress(checks, quiet=json) as show:
        results = run(checks, context, show)
    done = Report(context.access, results, context.started, time.monotonic() - started)
    if report is not None:
        try:
            done.write(report)
        except OSError as error:
            raise UsageError(f"{report}: cannot be written: {error.strerror}", "name another file") from error
    if json:
        console.facts(done.document())
    else:
        _conclude(done)
        if report is not None:
            console.out(f"Report: {report}")
    return done.passed


def _conclude(done: Report) -> None:
    """Print failures again, together, with the next step; then the summary."""
    failures = [result for result in done.results if result.status == "fail"]
    for result in failures:
        console.out()
        console.out(f"{result.id}: {result.title}")
        console.folded("  expected: ", result.expected, 12)
        console.folded("  seen:     ", result.evidence, 12)
        console.folded("  next:     ", result.hint, 12)
    if failures:
        console.out()
    console.out(f"{done.summary} ({done.seconds:.1f} s)")


@contextmanager
def _progress(checks: Sequence[Check], *, quiet: bool) -> Iterator[Callable[[Result], None]]:
    """Show results as they come: a table that grows on a terminal, a line each elsewhere."""
    width = max(len(check.id) for check in checks)
    if quiet:
        yield lambda _: None
    elif not console.is_terminal():
        yield lambda result: console.out(f"{_MARKS[result.status]:<4}  {result.id:<{width}}  {result.evidence}")
    else:
        with _live_table(checks) as show:
            yield show


@contextmanager
def _live_table(checks: Sequence[Check]) -> Iterator[Callable[[Result], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Table
    from rich.text import Text

    styles = {"pass": "green", "fail": "bold red", "n/a": "dim"}
    width = max(len(check.id) for check in checks)
    terminal = Console()
    bar = Progress(TextColumn("checking"), BarColumn(), MofNCompleteColumn(), console=terminal, transient=True)

    def show(result: Result) -> None:
        row = Table.grid(padding=(0, 2))
        row.add_column(width=4)
        row.add_column(width=width)
        row.add_column()
        row.add_row(Text(_MARKS[result.status], styles[result.status]), result.id, Text(result.evidence))
        bar.print(row)
        bar.advance(task)

    with bar:
        task = bar.add_task("", total=len(checks))
        yield show

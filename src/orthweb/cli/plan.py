"""``orthweb plan``: what ``up`` would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from orthweb.cli import console


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(plan)


def plan(json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False) -> None:
    """Say what `up` would change, without changing anything."""
    import dataclasses

    from orthweb.targets import open_wanted
    from orthweb.targets.base import Summarised

    target, choice = open_wanted(console.settings.site_file)
    console.chosen(target.site, choice)
    summary: Sequence[str] = ()
    if isinstance(target, Summarised):
        with console.steps() as report:
            items, summary = target.planned(report)
    else:
        items = target.plan()
    if json:
        console.facts([dataclasses.asdict(item) for item in items])
        return
    console.changes(items, nothing="Nothing to change: the site is as its file says.")
    for line in summary:
        console.folded("", line, 4)

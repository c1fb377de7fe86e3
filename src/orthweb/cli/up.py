"""``orthweb up``: make the site be as its file says."""

from __future__ import annotations

from typing import Annotated

import typer

from orthweb.cli import console


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(up)


def up(json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False) -> None:
    """Bring the site up, or make a running one be as its file says; wait until it answers."""
    import dataclasses

    from orthweb.targets import open_wanted

    target, choice = open_wanted(console.settings.site_file)
    console.chosen(target.site, choice)
    with console.steps() as report:
        done = target.up(report)
    status = target.status()
    if json:
        console.facts({"changes": [dataclasses.asdict(item) for item in done], "site": dataclasses.asdict(status)})
        return
    console.changes(done, nothing="Nothing to change.")
    console.where(status)

"""``orthweb down``: stop the site; data and settings stay."""

from __future__ import annotations

from typing import Annotated

import typer

from orthweb.cli import console


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(down)


def down(json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False) -> None:
    """Stop the site. Images, index and settings stay; `orthweb up` starts it again."""
    from orthweb.targets import open_site

    target = open_site(console.settings.site_file)
    with console.steps() as report:
        was_running = target.down(report)
    if json:
        console.facts({"was_running": was_running})
        return
    console.out("The site is stopped; its data stays." if was_running else "The site was not running.")

"""``orthweb destroy``: remove a site from this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from orthweb.cli import console
from orthweb.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(destroy)


def destroy(
    data: Annotated[bool, typer.Option("--data", help="Delete images, index, secrets and certificates too.")] = False,
    even_production: Annotated[
        bool, typer.Option("--even-production", help="On AWS: lift the protection of a site in production first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop the site and remove it. Images, index, secrets and certificates stay unless --data is given."""
    from orthweb.targets import open_site
    from orthweb.targets.base import Guarded

    target = open_site(console.settings.site_file)
    if even_production and isinstance(target, Guarded):
        target.unguard()
    losses = target.losses(data=data)
    console.note("This deletes:")
    for line in losses:
        console.folded("  ", line, 4, to=console.note)
    if not yes:
        if not console.is_interactive():
            raise UsageError("destroy asks before it deletes, and there is nobody to ask", "add --yes")
        word = target.site.name if data else "yes"
        if typer.prompt(f"Type {word} to go on", err=True).strip() != word:
            console.note("Nothing was deleted.")
            raise typer.Exit(1)
    with console.steps() as report:
        target.destroy(report, data=data)
    console.out("The site is gone." if data else "The site is removed; its data stays for the next `orthweb up`.")

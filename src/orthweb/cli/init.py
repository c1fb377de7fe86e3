"""``orthweb init``: a commented site file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orthweb.cli import console


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(init)


def init(
    force: Annotated[bool, typer.Option("--force", help="Replace a site file that is there.")] = False,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key, such as edge.https_port=9443; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a commented site file: every key with its default."""
    from orthweb.sitefile.example import assignments
    from orthweb.sitefile.new import write

    path = console.settings.site_file
    given = assignments(values or ())
    write(path, given, replace=force)
    if as_json:
        console.facts({"site_file": str(path.absolute()), "set": given})
        return
    console.out(f"Wrote {path}: every key is in it, with its meaning and its default.")
    console.out(f"Change what you like, then: orthweb {_option(path)}up")


def _option(path: Path) -> str:
    return "" if path == Path("site.toml") else f"--site {path} "

"""``orthweb config``: the values in force, and where each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orthweb.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orthweb.sitefile.provenance import Setting


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(config)


def config(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the site's values in force and where each comes from."""
    from orthweb.sitefile.provenance import settings

    found = settings(console.settings.site_file)
    if as_json:
        console.facts(
            {
                "site_file": str(console.settings.site_file.absolute()),
                "exists": console.settings.site_file.exists(),
                "settings": [
                    {"key": each.key, "value": each.value, "origin": each.origin, "derived": each.derived}
                    for each in found
                ],
            }
        )
    elif console.is_terminal():
        _table(found)
    else:
        _lines(found)


def _origin(setting: Setting) -> str:
    return f"{setting.origin} ({setting.derived})" if setting.derived else setting.origin


def _lines(found: Sequence[Setting]) -> None:
    key_width = max(len(each.key) for each in found)
    value_width = min(40, max(len(each.shown) for each in found))
    for each in found:
        console.out(f"{each.key:<{key_width}}  {each.shown:<{value_width}}  {_origin(each)}")


def _table(found: Sequence[Setting]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Key", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("From", overflow="fold")
    for each, following in zip(found, [*found[1:], None], strict=True):
        changed = each.origin != "default"
        table.add_row(
            Text(each.key),
            Text(each.shown, style="bold" if changed else ""),
            Text(_origin(each), style="green" if changed else "dim"),
            end_section=following is not None and following.table != each.table,
        )
    Console().print(table)

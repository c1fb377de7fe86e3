"""The ``orthweb`` command: one module a verb; here they become one program.

A module in this package has a function ``register(app)`` that adds its commands to the program. Modules import
what is slow to import (pydantic, pynetdicom, cryptography) inside their functions: ``orthweb --help`` must be quick.
"""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from orthweb.cli import console
from orthweb.errors import OrthwebError

MODULES = (
    "init",
    "config",
    "plan",
    "up",
    "status",
    "logs",
    "validate",
    "credentials",
    "trust",
    "certificates",
    "dicom",
    "down",
    "destroy",
)

app = typer.Typer(
    name="orthweb",
    help="From nothing to a secure, proven medical-imaging site in one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from orthweb import __version__

        console.out(f"orthweb {__version__}")
        raise typer.Exit


@app.callback()
def options(
    site: Annotated[
        Path, typer.Option("--site", "-s", help="The site file.", envvar="ORTHWEB_SITE", show_default=True)
    ] = Path("site.toml"),
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep what every verb needs to know."""
    console.settings.site_file = site
    console.settings.debug = debug


for _name in MODULES:
    if importlib.util.find_spec(f"orthweb.cli.{_name}") is not None:
        importlib.import_module(f"orthweb.cli.{_name}").register(app)


def main() -> None:
    """Run the program; turn errors into one line and an exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app(standalone_mode=False)
    except OrthwebError as error:
        if console.settings.debug:
            raise
        console.problem(error)
        sys.exit(error.exit_code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)

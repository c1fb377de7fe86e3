"""The ``orthweb`` command: one module a verb; here they become one program.

A module in this package has a function ``register(app)`` that adds its commands to the program. Modules import
what is slow to import (pydantic, pynetdicom, cryptography) inside their functions: ``orthweb --help`` must be quick.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orthweb.cli import console
from orthweb.errors import OrthwebError

MODULES = (
    "init",
    "config",
    "plan",
    "cost",
    "policy",
    "up",
    "status",
    "logs",
    "validate",
    "credentials",
    "trust",
    "certificates",
    "dicom",
    "store",
    "image",
    "down",
    "destroy",
    "host",
)

INTERRUPTED = 130
"""Exit code after Ctrl-C (128 and the signal's number), as shells have it."""


class _Verbs(TyperGroup):
    """All verbs; whatever one of them raises becomes one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was called."""
        try:
            return super().invoke(ctx)
        except OrthwebError as error:
            if console.settings.debug:
                raise
            console.problem(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            console.note("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our output has seen enough; do not complain when Python flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            if console.settings.debug:
                raise
            where = f"{error.filename}: " if error.filename else ""
            console.problem(OrthwebError(f"{where}{error.strerror or error}", "orthweb --debug shows where"))
            raise typer.Exit(1) from error
        except Exception as error:
            if console.settings.debug or isinstance(error, typer.Exit | typer.Abort | typer.BadParameter):
                raise
            if type(error).__module__.startswith(("typer", "click")):
                raise
            text = f"unexpected {type(error).__name__}: {error}"
            console.problem(OrthwebError(text, "a fault in orthweb: report it with the output of `orthweb --debug`"))
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Verbs,
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


def _terminated(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the program. A termination signal is treated like Ctrl-C: what was started is stopped in order."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    app()

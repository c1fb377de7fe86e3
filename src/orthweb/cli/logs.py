"""``orthweb logs``: what the services say."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from orthweb.cli import console
from orthweb.errors import NotRunningError, UsageError

KNOWN = ("index", "archive", "edge", "edge-access")
"""Logs that every site has once it ran."""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(logs)


def logs(
    service: Annotated[str | None, typer.Argument(help="One service; all when none is named.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Print the services' logs: index, archive, edge, edge-access; for local processes supervisor, on AWS host."""
    from orthweb.targets import open_site

    found = open_site(console.settings.site_file).logs()
    names = list(found.names())
    if service is not None:
        if service not in (*names, *KNOWN):
            raise UsageError(f"{service}: no such service", f"one of {', '.join(names or KNOWN)}")
        names = [name for name in names if name == service]
    if not names:
        raise NotRunningError("there are no logs yet", "orthweb up")
    width = max(map(len, names)) if len(names) > 1 else 0
    followed = {name: found.tail(name, lines, follow=follow) for name in names}
    try:
        while True:
            for name, tail in followed.items():
                for line in tail.new():
                    console.out(f"{name:<{width}}  {line}" if width else line)
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(0.2)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.stderr.close()
        raise typer.Exit(0) from None
    finally:
        for tail in followed.values():
            tail.close()

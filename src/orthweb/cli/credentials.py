"""``orthweb credentials``: the administrator's login, for eyes only."""

from __future__ import annotations

from typing import Annotated

import typer

from orthweb.cli import console
from orthweb.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(credentials)


def credentials(
    json: Annotated[bool, typer.Option("--json", help="Print as JSON, also into a file or pipe.")] = False,
) -> None:
    """Show the administrator's name and password, on a terminal only."""
    from orthweb import secrets
    from orthweb.targets import open_site
    from orthweb.targets.base import Remote

    target = open_site(console.settings.site_file)
    if not json and not console.is_terminal():
        raise UsageError(
            "the password is shown on a terminal only, so that it does not end up in a log",
            "add --json if a program is to read it",
        )
    if isinstance(target, Remote):
        target.fetch()
    password = secrets.admin_password(target.state.secrets)
    if json:
        console.facts({"user": secrets.ADMIN_USER, "password": password})
    else:
        console.out(f"user      {secrets.ADMIN_USER}")
        console.out(f"password  {password}")

"""``orthweb status``: how the site is."""

from __future__ import annotations

from typing import Annotated

import typer

from orthweb.cli import console


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(status)


def status(json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False) -> None:
    """Show the services and whether the site answers. Exit code 1 when it does not."""
    import dataclasses

    from orthweb.store.site import StoreHost
    from orthweb.store.unfinished import unfinished
    from orthweb.targets import open_site

    target = open_site(console.settings.site_file)
    found = target.status()
    migration = unfinished(target) if isinstance(target, StoreHost) else None
    if json:
        console.facts(dataclasses.asdict(found) | {"migration": migration.document() if migration else None})
    else:
        rows = [
            (
                service.name,
                service.state,
                service.user,
                "" if service.pid is None else str(service.pid),
                console.duration(service.uptime),
                console.size(service.memory),
                service.version,
                service.note,
            )
            for service in found.services
        ]
        if rows:
            console.table(("service", "state", "user", "pid", "up for", "memory", "version", "note"), rows)
            console.out()
        if found.answers:
            console.where(found)
        else:
            console.folded("", f"The site is {found.state}: {found.problem}", 4)
        for line in found.notes:
            console.folded("", line, 7)
        if migration is not None:
            console.out(f"Note: {migration}")
    if not found.answers:
        raise typer.Exit(1)

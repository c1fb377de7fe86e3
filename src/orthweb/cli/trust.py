"""``orthweb trust``: what clients need to trust the site, and how they are set up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orthweb.cli import console


def trust(
    tool: Annotated[
        str | None,
        typer.Argument(help="Print for this client alone: dcmtk, dcm4che, java, pynetdicom, curl, horos, browsers."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the exported files.", show_default="in the state folder")
    ] = None,
    client: Annotated[
        str | None, typer.Option("--client", metavar="NAME", help="The client certificate that the commands show.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Export the CA (PEM, Java trust store) and print ready-to-paste commands for DICOM toolkits and browsers."""
    from orthweb import trust as subject
    from orthweb.pki import paths
    from orthweb.targets import open_site

    site_file = console.settings.site_file
    target = open_site(site_file)
    site, state, base = target.site, target.state, site_file.absolute().parent
    connection = subject.export(state.pki, site, base, out or state.root / "trust")
    connection = subject.with_client(connection, client, paths(state.pki, site, base).client_folder)
    chosen = subject.instructions(connection, tool)
    if as_json:
        console.facts(subject.facts(connection, chosen))
    else:
        console.out(subject.text(connection, chosen))


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(trust)

"""``orthweb certificates``: list, renew, and issue DICOM client certificates."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orthweb.cli import console

if TYPE_CHECKING:
    from orthweb.pki import Listed
    from orthweb.targets.base import Target

program = typer.Typer(help="List, renew and issue certificates.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def _target() -> tuple[Target, Path]:
    """Read the site file; give the site's target and the folder that the file lies in."""
    from orthweb.targets import open_site

    site_file = console.settings.site_file
    return open_site(site_file), site_file.absolute().parent


@program.command("list")
def list_certificates(as_json: AsJson = False) -> None:
    """List the site's certificates: names, issuer, days left."""
    from orthweb.pki import inventory

    target, base = _target()
    listed = inventory(target.state.pki, target.site, base)
    if as_json:
        console.facts([_facts(one) for one in listed])
    elif listed:
        _print_table(listed)
    else:
        console.note("no certificates yet; start the site: orthweb up")


@program.command()
def renew(as_json: AsJson = False) -> None:
    """Renew all certificates (not the CAs) of a running site; open associations go on."""
    from orthweb.targets import open_site

    changes = open_site(console.settings.site_file).renew_certificates(console.note)
    if as_json:
        console.facts(
            [
                {"name": one.name, "action": one.action, "reason": one.reason, "not_after": one.not_after.isoformat()}
                for one in changes
            ]
        )
        return
    for one in changes:
        verb = {"issue": "issued", "renew": "renewed", "keep": "kept"}[one.action]
        console.out(f"{one.name}: {verb}, valid until {one.not_after:%Y-%m-%d} ({one.reason})")
    console.note("associations that were open go on; new ones see the new certificates")


@program.command()
def client(
    name: Annotated[str, typer.Argument(help="Name of the peer: letters, digits, '.', '_', '-'.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files.", show_default="in the state folder")
    ] = None,
    days: Annotated[int, typer.Option("--days", help="How long it is valid (1 to 397).")] = 365,
    as_json: AsJson = False,
) -> None:
    """Issue a DICOM client certificate for a modality or another peer."""
    from orthweb import pki, trust
    from orthweb.targets.base import Remote

    target, base = _target()
    site, folder = target.site, target.state.pki
    with target.issuing() if isinstance(target, Remote) else nullcontext():
        issued = pki.issue_client(folder, site, name, days, out=out.absolute() if out else None)
    if as_json:
        console.facts(
            {
                "name": name,
                "certificate": str(issued.certificate),
                "key": str(issued.key),
                "pkcs12": str(issued.container),
                "pkcs12_password_file": str(issued.password),
                "not_after": issued.not_after.isoformat(),
            }
        )
        return
    console.out(f"certificate  {issued.certificate} (until {issued.not_after:%Y-%m-%d})")
    console.out(f"key          {issued.key}")
    console.out(f"PKCS12       {issued.container}")
    console.out(f"  password   in {issued.password}")
    connection = trust.export(folder, site, base, folder.parent / "trust")
    connection = trust.with_client(connection, name, issued.certificate.parent)
    console.out(f"CA to trust  {connection.ca}")
    echo = trust.instructions(connection, "dcmtk")[0].steps[0]
    console.out()
    console.out(f"# {echo.text}")
    console.out(f"{echo.command}")
    if site.tls.client_certificates == "off":
        console.note(
            'the site does not ask for client certificates yet: set client_certificates = "required" under [tls]'
        )


def _facts(one: Listed) -> dict[str, object]:
    return {
        "name": one.name,
        "subject": one.subject,
        "names": list(one.names),
        "issuer": one.issuer,
        "not_before": one.not_before.isoformat(),
        "not_after": one.not_after.isoformat(),
        "days_left": one.days_left,
        "sha256": one.sha256,
        "file": str(one.file),
    }


def _print_table(listed: list[Listed]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "VALID FOR", "ISSUER"):
        table.add_column(heading, overflow="fold")
    table.add_column("DAYS LEFT", justify="right", no_wrap=True)
    for one in listed:
        style = "red" if one.days_left < 0 else "yellow" if one.days_left < 30 else None
        table.add_row(one.name, ", ".join(one.names) or one.subject, one.issuer, str(one.days_left), style=style)
    # Not a terminal: one line a certificate, whatever its length, for grep and awk.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(program, name="certificates")

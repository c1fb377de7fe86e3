"""``orthweb dicom``: echo, find, get and move; ``send`` is in :mod:`orthweb.cli.dicom_send`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orthweb.cli import console, dicom_send
from orthweb.cli.dicom_peer import CALLING_AET, TIMEOUT, Aet, Ca, Cert, Json, Key, NoTls, PeerOption, Timeout, choose
from orthweb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset


class Level(StrEnum):
    """Query/Retrieve levels."""

    patient = "patient"
    study = "study"
    series = "series"
    instance = "instance"


LevelOption = Annotated[Level, typer.Option("--level", "-L", help="Query/Retrieve level.")]
KeysOption = Annotated[
    list[str] | None,
    typer.Option(
        "--match",
        "-k",
        metavar="KEY=VALUE",
        help="DICOM keyword or tag, and the value to match: -k PatientID=123 -k 0008,0020=20260101-. May be repeated.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    commands = typer.Typer(
        help="Talk DICOM to the site, or to any peer: TLS and the site's trust by default.", no_args_is_help=True
    )
    commands.command()(echo)
    commands.command()(find)
    commands.command()(get)
    commands.command()(move)
    dicom_send.register(commands)
    app.add_typer(commands, name="dicom")


def echo(
    peer: PeerOption = None,
    no_tls: NoTls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    aet: Aet = CALLING_AET,
    timeout: Timeout = TIMEOUT,
    json: Json = False,
) -> None:
    """Verify that the peer answers (C-ECHO)."""
    import dataclasses

    chosen = choose(peer, no_tls, ca, cert, key, aet, timeout)
    from orthweb.dicom.echo import echo as run

    found = run(chosen)
    if json:
        console.facts({"peer": str(chosen), **dataclasses.asdict(found)})
        return
    over = f"{found.tls_version}, {found.cipher}" if found.tls_version else "no TLS"
    console.out(
        f"{chosen} answers: association {found.association_seconds * 1000:.0f} ms, "
        f"echo {found.echo_seconds * 1000:.0f} ms, {over}"
    )


def find(
    level: LevelOption = Level.study,
    keys: KeysOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Stop after this many.", show_default=False)
    ] = None,
    peer: PeerOption = None,
    no_tls: NoTls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    aet: Aet = CALLING_AET,
    timeout: Timeout = TIMEOUT,
    json: Json = False,
) -> None:
    """Ask the peer what it has (C-FIND). --json prints the DICOM JSON model (PS3.18 Annex F)."""
    from orthweb.dicom.find import DEFAULT_KEYS, keyword
    from orthweb.dicom.find import find as run

    asked = parse_keys(keys)
    chosen = choose(peer, no_tls, ca, cert, key, aet, timeout)
    matches = list(run(chosen, level.value, asked, limit=limit))
    if json:
        console.facts([match.to_json_dict() for match in matches])
        return
    columns = list(dict.fromkeys([*DEFAULT_KEYS[level.value], *map(keyword, asked)]))
    console.table(columns, [[_shown(match, column) for column in columns] for match in matches])
    console.note(f"{len(matches)} found")


def get(
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for <study>/<series>/<instance>.dcm.")
    ] = Path(),
    level: LevelOption = Level.study,
    keys: KeysOption = None,
    peer: PeerOption = None,
    no_tls: NoTls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    aet: Aet = CALLING_AET,
    timeout: Timeout = TIMEOUT,
    json: Json = False,
) -> None:
    """Fetch what matches over the same connection (C-GET). Exit code 1 if any instance is missing."""
    from orthweb.dicom.get import GetResult
    from orthweb.dicom.get import get as run

    asked = parse_keys(keys)
    chosen = choose(peer, no_tls, ca, cert, key, aet, timeout)
    with counting("fetching") as show:

        def on_progress(so_far: GetResult) -> None:
            show(so_far.received, so_far.expected)

        result = run(chosen, asked, folder, level=level.value, on_progress=on_progress)
    if json:
        facts = {"expected": result.expected, "received": result.received, "failed": result.failed}
        console.facts({"peer": str(chosen), "folder": str(folder), **facts, "problems": result.problems})
    else:
        console.out(f"{result.received} received into {folder}, {result.failed} failed")
        for problem in result.problems:
            console.note(f"  {problem}")
    if result.failed:
        raise typer.Exit(1)


def move(
    to: Annotated[str, typer.Option("--to", metavar="AET", help="Destination: an AE title that the peer knows.")],
    level: LevelOption = Level.study,
    keys: KeysOption = None,
    peer: PeerOption = None,
    no_tls: NoTls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    aet: Aet = CALLING_AET,
    timeout: Timeout = TIMEOUT,
    json: Json = False,
) -> None:
    """Have the peer send what matches to a third one (C-MOVE). Exit code 1 if any instance failed."""
    from orthweb.dicom.move import Suboperations
    from orthweb.dicom.move import move as run
    from orthweb.dicom.status import category, describe

    asked = parse_keys(keys)
    chosen = choose(peer, no_tls, ca, cert, key, aet, timeout)
    with counting("moving") as show:

        def on_progress(so_far: Suboperations) -> None:
            done = so_far.completed + so_far.warning + so_far.failed
            show(done, done + so_far.remaining)

        result = run(chosen, asked, to, level=level.value, on_progress=on_progress)
    if json:
        console.facts(
            {
                "peer": str(chosen),
                "destination": to,
                "completed": result.completed,
                "failed": result.failed,
                "warning": result.warning,
                "status": f"0x{result.status:04X}",
                "failed_instances": result.failed_uids,
            }
        )
    else:
        console.out(f"{result.completed} moved to {to}, {result.failed} failed, {result.warning} with a warning")
        for uid in result.failed_uids:
            console.note(f"  failed: {uid}")
    if result.failed or category(result.status) in ("failure", "cancel"):
        console.note(f"  {describe(result.status)}")
        raise typer.Exit(1)


def parse_keys(keys: list[str] | None) -> dict[str, str]:
    """Read ``KEY=VALUE`` options; ``KEY`` alone asks for the element.

    Raises
    ------
    UsageError
        A key is empty or given twice.
    """
    found: dict[str, str] = {}
    for text in keys or []:
        name, _, value = text.partition("=")
        name = name.strip()
        if not name or name in found:
            raise UsageError(f"-k {text}: {'given twice' if name else 'no key'}", "write -k PatientID=123")
        found[name] = value
    return found


def _shown(match: Dataset, column: str) -> str:
    from pydicom.multival import MultiValue

    value: Any = match.get(column)
    if value is None:
        return ""
    text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
    # What comes from the network goes to a terminal: no control characters.
    return "".join(c if c.isprintable() else " " for c in text)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a count that grows: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)

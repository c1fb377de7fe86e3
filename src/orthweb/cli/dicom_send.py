"""``orthweb dicom send``: many instances, in parallel, each acknowledged one once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orthweb.cli import console
from orthweb.cli.dicom_peer import (
    CALLING_AET,
    TIMEOUT,
    Aet,
    Ca,
    Cert,
    Json,
    Key,
    NoTls,
    PeerOption,
    Timeout,
    certificate_pair,
    choose,
    site_access,
)
from orthweb.errors import UsageError

if TYPE_CHECKING:
    from orthweb.dicom.instance import Instance
    from orthweb.dicom.scan import Skipped
    from orthweb.dicom.send import Summary
    from orthweb.dicom.transport import Transport

JOURNAL = "sent.sqlite"
"""The journal's file name in the state folder."""

_LINE_EVERY = 5.0
_QUIET_LINE_EVERY = 60.0
_NAMES_SHOWN = 5


class Via(StrEnum):
    """Ways to send."""

    dimse = "dimse"
    stow = "stow"


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command()(send)


def send(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders and zip files.")],
    via: Annotated[
        Via, typer.Option("--via", help="dimse: C-STORE over DICOM associations; stow: STOW-RS over HTTPS.")
    ] = Via.dimse,
    associations: Annotated[
        int | None,
        typer.Option("--associations", "-n", min=1, max=64, help="In parallel. Default: by round trip, 4 to 16."),
    ] = None,
    retry_for: Annotated[
        float, typer.Option("--retry-for", min=0, help="Seconds without success after which a lost peer is given up.")
    ] = 120.0,
    resend: Annotated[bool, typer.Option("--resend", help="Send also what an earlier run was told is stored.")] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal", help="Where to keep what was acknowledged. Default: state folder.", show_default=False
        ),
    ] = None,
    peer: PeerOption = None,
    no_tls: NoTls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    aet: Aet = CALLING_AET,
    timeout: Timeout = TIMEOUT,
    url: Annotated[
        str | None, typer.Option("--url", help="With --via stow: another server's STOW-RS address.", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="With --url: login name.", show_default=False)] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="With --user; else it is asked for.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Send DICOM files, whatever they are called; a second run sends only what was not acknowledged.

    Exit code 1 if anything was refused, could not be read or was not sent.
    """
    if via is Via.stow:
        if peer is not None or no_tls:
            raise UsageError(
                "--peer and --no-tls belong to DICOM associations", "with --via stow name a server with --url"
            )
        transport = _stow(url, user, password_file, ca, cert, key)
    else:
        if url is not None or user is not None or password_file is not None:
            raise UsageError("--url, --user and --password-file belong to --via stow")
        from orthweb.dicom.dimse_transport import DimseTransport

        transport = DimseTransport(choose(peer, no_tls, ca, cert, key, aet, timeout))
    of_site = peer is None and url is None
    from orthweb.dicom.journal import Journal
    from orthweb.dicom.send import Sender

    with Journal(journal or default_journal(of_site), transport.destination) as book:
        sender = Sender(transport, book, associations=associations, retry_for=retry_for)
        try:
            with finding() as found:
                instances = _scan(paths, sender.summary, found)
            with progress(instances) as show:
                sender.run(instances, resend=resend, on_progress=show)
        except (KeyboardInterrupt, SystemExit) as stop:
            _report(transport, sender.summary, json, interrupted=True)
            code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 130
            raise typer.Exit(code) from None
    _report(transport, sender.summary, json, interrupted=False)
    if not succeeded(sender.summary):
        raise typer.Exit(1)


def _stow(
    url: str | None, user: str | None, password_file: Path | None, ca: Path | None, cert: Path | None, key: Path | None
) -> Transport:
    from dataclasses import replace

    from orthweb.access import Credentials
    from orthweb.dicom.peer import TlsOptions
    from orthweb.dicom.stow import StowOptions, StowTransport, password_from

    pair = certificate_pair(cert, key)
    if url is None:
        options = StowOptions.of_site(site_access())
        options = replace(options, tls=TlsOptions(ca or options.tls.ca, pair))
    else:
        options = StowOptions(url, TlsOptions(ca, pair))
    if user is not None:
        password = (
            password_from(password_file) if password_file is not None else typer.prompt("Password", hide_input=True)
        )
        options = replace(options, credentials=Credentials(user, password))
    elif password_file is not None:
        raise UsageError("--password-file needs --user")
    return StowTransport(options)


def default_journal(of_site: bool) -> Path:
    """Give the journal's place: the site's state folder, else the user's own state folder (XDG)."""
    if of_site:
        from orthweb.targets.host.folder import locate

        root = locate(console.settings.site_file.absolute().parent).root
        if os.access(root, os.W_OK):
            return root / JOURNAL
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "orthweb" / JOURNAL


def _scan(paths: list[Path], summary: Summary, found: Callable[[int], None]) -> list[Instance]:
    from orthweb.dicom.instance import Instance
    from orthweb.dicom.scan import scan

    instances: list[Instance] = []
    for thing in scan(paths):
        if isinstance(thing, Instance):
            instances.append(thing)
            found(len(instances))
        else:
            summary.skipped.append(thing)
    return instances


def succeeded(summary: Summary) -> bool:
    """Whether everything that is DICOM is at the peer now."""
    from orthweb.dicom.scan import Kind

    bad = [thing for thing in summary.skipped if thing.kind in (Kind.UNREADABLE, Kind.DAMAGED)]
    return not (summary.refused_count or summary.not_sent or summary.fatal or bad)


@contextmanager
def finding() -> Iterator[Callable[[int], None]]:
    """Show how many instances were found so far, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status("looking for DICOM", console=Console(stderr=True)) as status:

        def show(count: int) -> None:
            if count % 100 == 0:
                status.update(f"looking for DICOM: {count} instances")

        yield show


@contextmanager
def progress(instances: list[Instance]) -> Iterator[Callable[[Summary], None]]:
    """Show rate and time left: a bar on a terminal, a line now and then elsewhere."""
    total = len(instances)
    started = time.monotonic()

    def done(summary: Summary) -> int:
        return summary.sent + summary.already + summary.duplicates + summary.refused_count

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("sending"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total, rate="")
            yield lambda summary: bar.update(
                task, completed=done(summary), rate=rate(summary, time.monotonic() - started)
            )
        return
    last = [started, 0.0]

    def line(summary: Summary) -> None:
        now = time.monotonic()
        # Without progress a line a minute is enough to show that it still tries.
        if now - last[0] >= (_LINE_EVERY if done(summary) != last[1] else _QUIET_LINE_EVERY):
            last[:] = now, done(summary)
            left = (total - done(summary)) / summary.sent * (now - started) if summary.sent else None
            remaining = f", about {left:.0f} s left" if left is not None else ""
            console.note(f"{done(summary)}/{total}  {rate(summary, now - started)}{remaining}")

    yield line


def rate(summary: Summary, seconds: float) -> str:
    """Write instances and megabytes a second."""
    if seconds <= 0 or not summary.sent:
        return ""
    return f"{summary.sent / seconds:.0f}/s, {summary.sent_bytes / seconds / 1e6:.1f} MB/s"


def facts(destination: str, summary: Summary, *, interrupted: bool) -> dict[str, Any]:
    """Give the summary as ``--json`` prints it: a contract."""
    from orthweb.dicom.scan import Kind

    def names(kind: Kind) -> list[dict[str, str]]:
        return [{"file": thing.name, "reason": thing.reason} for thing in summary.skipped if thing.kind is kind]

    return {
        "destination": destination,
        "found": summary.found,
        "sent": summary.sent,
        "sent_bytes": summary.sent_bytes,
        "warnings": dict(summary.warnings),
        "already_there": summary.already,
        "duplicates": summary.duplicates,
        "refused": dict(summary.refused),
        "not_sent": summary.not_sent,
        "not_dicom": names(Kind.NOT_DICOM),
        "dicomdir": names(Kind.DIRECTORY),
        "unreadable": names(Kind.UNREADABLE),
        "damaged": names(Kind.DAMAGED),
        "problem": str(summary.fatal) if summary.fatal is not None else None,
        "interrupted": interrupted,
        "retries": summary.retries,
        "associations": summary.associations,
        "seconds": round(summary.seconds, 3),
    }


def _report(transport: Transport, summary: Summary, json: bool, *, interrupted: bool) -> None:
    if json:
        console.facts(facts(transport.destination, summary, interrupted=interrupted))
    else:
        for line in lines(transport.destination, summary, interrupted=interrupted):
            console.out(line)
    if summary.fatal is not None:
        console.problem(summary.fatal)


def lines(destination: str, summary: Summary, *, interrupted: bool) -> Iterator[str]:
    """Write the summary for a person; file names, never anything from inside the files."""
    from orthweb.dicom.scan import Kind

    pace = rate(summary, summary.seconds)
    over = f", {console.count(summary.associations, 'connection')}" if summary.associations else ""
    yield f"{summary.sent} sent to {destination}" + (f" ({summary.seconds:.1f} s, {pace}{over})" if pace else "")
    for reason, count in summary.warnings.items():
        yield f"  {count} with {reason}"
    if summary.already:
        yield f"{summary.already} already there (an earlier run; --resend sends them again)"
    if summary.duplicates:
        yield f"{summary.duplicates} files are copies of others"
    for reason, files in summary.refused.items():
        yield f"{len(files)} refused: {reason}"
        yield from _some(files)
    for kind in Kind:
        things: list[Skipped] = [thing for thing in summary.skipped if thing.kind is kind]
        if things:
            yield f"{len(things)} {kind.value}"
            if kind in (Kind.UNREADABLE, Kind.DAMAGED):
                yield from _some([f"{thing.name}: {thing.reason}" for thing in things])
    if summary.not_sent:
        yield f"{summary.not_sent} not sent: run the same command again"
    if interrupted:
        yield "interrupted: what was acknowledged is in the journal"


def _some(names: list[str]) -> Iterator[str]:
    for name in names[:_NAMES_SHOWN]:
        yield f"  {name}"
    if len(names) > _NAMES_SHOWN:
        yield f"  and {len(names) - _NAMES_SHOWN} more (--json lists all)"

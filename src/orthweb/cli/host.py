"""``orthweb host``: the agent of an instance on AWS, which its user data starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orthweb.cli import console
from orthweb.errors import OrthwebError

_Settings = Annotated[Path, typer.Option("--settings", help="What the user data wrote about this host.")]
_Run = Annotated[Path, typer.Option("--run", help="Folder in memory, for the site and its secrets.")]
_Kept = Annotated[Path, typer.Option("--kept", help="Folder on the disk, for what is not secret.")]

FILE = Path("/etc/orthweb/host.json")
RUN = Path("/run/orthweb")
KEPT = Path("/var/lib/orthweb")


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    host = typer.Typer(help="Make an AWS instance serve its site (its user data starts this).", no_args_is_help=True)
    host.command("run")(run)
    host.command("once")(once)
    app.add_typer(host, name="host")


def run(settings: _Settings = FILE, run: _Run = RUN, kept: _Kept = KEPT) -> None:
    """Make the host serve, and keep it as the account says, until told to stop."""
    import signal
    import threading

    from orthweb.host import started
    from orthweb.host.loop import ReplacedError

    stop = threading.Event()
    # A drain is undone, and what was begun is finished if there is time for it: systemd waits for a while.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    loop, after = started(settings, run, kept, console.note, stop)
    try:
        loop.run(stop, after=after)
    except ReplacedError as error:
        console.note(error.message)


def once(settings: _Settings = FILE, run: _Run = RUN, kept: _Kept = KEPT) -> None:
    """Do one round, and say whether the host serves as it should."""
    import threading

    from orthweb.host import started

    loop, after = started(settings, run, kept, console.note, threading.Event())
    serves = loop.round()
    after()
    if not serves:
        raise OrthwebError("this host does not serve as it should", "the lines above say why; the next round goes on")

"""The agent of a host on AWS: it runs in the ops image, makes the instance serve its site, and keeps it that way.

What it knows of the site comes from the account: parameters (Systems Manager) say what the site is, secrets (Secrets
Manager) what nobody may read, RDS where the index is. Nothing of that lies on the disk; the state folder is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orthweb.host.journal import Journal
    from orthweb.host.loop import Loop


def started(file: Path, run: Path, kept: Path, note: Callable[[str], None]) -> tuple[Loop, Journal]:
    """Give the rounds of this host, and the log that they are written to besides.

    Parameters
    ----------
    file : what the user data wrote.
    run, kept : folders in memory and on the disk.
    note : told every line.

    Raises
    ------
    UsageError : this machine is no host.
    OrthwebError : the instance does not know who it is.
    """
    from orthweb.host import metadata, settings
    from orthweb.host.agent import Agent
    from orthweb.host.journal import Journal
    from orthweb.host.loop import Loop

    found = settings.read(file)
    instance = metadata.read()
    for folder in (run, kept):
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder.chmod(0o711)  # the services' users pass it, whatever the umask

    def line(text: str) -> None:
        note(text)
        journal.add(text)

    agent = Agent(found, instance, run, kept, lambda text: loop.report(text), settings.ops_image())
    journal = Journal(agent.account, agent.log_group, instance.identity)
    loop = Loop(agent, line)
    return loop, journal

"""The agent of a host on AWS: it runs in the ops image, makes the instance serve its site, and keeps it that way.

What it knows of the site comes from the account: parameters (Systems Manager) say what the site is, secrets (Secrets
Manager) what nobody may read, RDS where the index is. Nothing of that lies on the disk; the state folder is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

    from orthweb.host.loop import Loop


def started(
    file: Path, run: Path, kept: Path, note: Callable[[str], None], stop: threading.Event
) -> tuple[Loop, Callable[[], None]]:
    """Give the rounds of this host, and what is to be called after each: it sends what they said, and figures.

    Parameters
    ----------
    file : what the user data wrote.
    run, kept : folders in memory and on the disk.
    note : told every line.
    stop : set when the agent should end.

    Raises
    ------
    UsageError : this machine is no host.
    OrthwebError : the instance does not know who it is.
    """
    from orthweb.host import metadata, settings
    from orthweb.host.agent import Agent
    from orthweb.host.figures import Figures
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

    agent = Agent(found, instance, run, kept, lambda text: loop.report(text), settings.ops_image(), stop)
    journal = Journal(agent.account, agent.log_group, instance.identity)
    loop = Loop(agent, line, alarm=lambda text: journal.add(text, "error"))
    figures = Figures(journal, kept, run, lambda: loop.healthy, agent.statistics)

    def after() -> None:
        try:
            figures.tell()
        except Exception as error:  # nothing depends on them, and nothing ends the rounds
            line(f"no figures: unexpected {type(error).__name__}")
        journal.send()

    return loop, after

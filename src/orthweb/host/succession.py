"""Which version of the agent goes on: another ops image takes over on one host first, and is left when it dies.

Three files on the disk say it to the start script in the user data: ``ops-image`` is started; ``ops-image.good`` ran
long enough to ask the account; the script returns to that when another one has ended a few times before it came so far,
and notes it in ``ops-image.bad``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orthweb.errors import OrthwebError
from orthweb.files import write_whole
from orthweb.host.loop import ReplacedError
from orthweb.host.parameters import HostReport
from orthweb.host.status import STALE
from orthweb.image.engine import Engine

CHOSEN: Final = "ops-image"
GOOD: Final = "ops-image.good"
BAD: Final = "ops-image.bad"


def read(folder: Path, name: str) -> str:
    """Give the reference in one of the files; empty when there is none."""
    try:
        return (folder / name).read_text().strip()
    except FileNotFoundError:
        return ""


def confirm(folder: Path, own: str) -> None:
    """Note that this agent has come so far that it can be replaced from outside."""
    if own and read(folder, GOOD) != own:
        write_whole(folder / GOOD, f"{own}\n".encode(), 0o644)


def fresh(others: Mapping[str, HostReport], now: datetime) -> dict[str, HostReport]:
    """Leave out what hosts said that are gone."""
    found = {}
    for name, report in others.items():
        try:
            at = datetime.fromisoformat(report.at).astimezone(UTC)
        except ValueError:
            continue
        if now - at < STALE:
            found[name] = report
    return found


def before(mine: str, wanted: str, others: Mapping[str, HostReport], now: datetime) -> str | None:
    """Name the host that should try another version before this one does; None: it is this one's turn.

    Parameters
    ----------
    mine : id of this instance.
    wanted : reference of the other image.
    others : what other hosts said last.
    """
    there = fresh(others, now)
    # One that has just been started says that it boots, and may die of what it does next.
    if any(each.agent == wanted and each.state != "booting" for each in there.values()):
        return None
    waiting = {name for name, each in there.items() if each.agent and (each.agent != wanted or each.state == "booting")}
    first = min(waiting | {mine})
    return None if first == mine else first


def take_over(engine: Engine, wanted: str, own: str, folder: Path) -> None:
    """Give the word to the agent of another ops image, once that has been seen to run.

    Parameters
    ----------
    wanted : its reference; pulled already.
    own : that of the image that this agent runs in; empty when it runs in none.
    folder : on the disk, with the files that say which image is started.

    Raises
    ------
    ReplacedError : the host's next agent is the other one.
    OrthwebError : it does not run, or has been tried here.
    """
    if not differs(wanted, own):
        return
    if read(folder, BAD) == wanted:
        raise OrthwebError(
            f"{wanted} was tried and ended again and again: {own} goes on, and the site as it was",
            "orthweb logs host says why; then choose other images, under another tag",
        )
    said = engine.run("run", "--rm", "--network", "none", "--cap-drop", "ALL", wanted, "--version").strip()
    write_whole(folder / CHOSEN, f"{wanted}\n".encode(), 0o644)
    raise ReplacedError(f"{wanted} goes on: {said}")


def differs(wanted: str, own: str) -> bool:
    """Tell whether another agent than this one should go on."""
    return bool(own and wanted and wanted != own)

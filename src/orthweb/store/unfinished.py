"""A migration that has begun and not switched the site to its new store: what ``orthweb status`` says of it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orthweb.errors import NotRunningError
from orthweb.store.journal import Journal
from orthweb.store.migration import JOURNAL, LOCK
from orthweb.store.site import StoreHost, kind_and_folder


@dataclass(frozen=True)
class Unfinished:
    """How far a migration is.

    Parameters
    ----------
    source, destination : the stores, as `store.site.name_of` names them.
    to : kind of the new store.
    verified : copies that are in the new store, read back.
    at_work : whether a process is at it now; else it was interrupted.
    """

    source: str
    destination: str
    to: str
    verified: int
    at_work: bool

    def document(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return asdict(self)

    def __str__(self) -> str:
        """Say it in one line, with the next step."""
        copies = "1 copy" if self.verified == 1 else f"{self.verified} copies"
        places = f"of the images from {_words(self.source)} to {_words(self.destination)}"
        if self.at_work:
            return f"a migration {places} is at work: {copies} verified"
        return (
            f"a migration {places} was interrupted: {copies} verified; go on with: orthweb store migrate --to {self.to}"
        )


def unfinished(host: StoreHost) -> Unfinished | None:
    """Look for a migration that has not switched the site yet; whether the site runs does not matter."""
    found = Journal.glance(host.state.root / JOURNAL)
    if found is None:
        return None
    source, destination, verified = found
    try:
        now = host.stored().kind
    except NotRunningError:
        return None
    to = kind_and_folder(destination).kind
    if now == to:
        return None  # it was switched; the journal stays for a later --delete-source
    return Unfinished(source, destination, to, verified, _locked(host.state.root / LOCK))


def _locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _words(name: str) -> str:
    kind, _, place = name.partition(" ")
    return f"{kind} ({place})" if place else kind

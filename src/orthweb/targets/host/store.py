"""A store outside the state folder: claimed for one site, recognized again, and never deleted by mistake."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from orthweb.errors import SiteFileError
from orthweb.files import write_whole

MARK = ".orthweb-store"
"""File in the store's folder with the identity of the site that it belongs to."""

HARMLESS = frozenset({"lost+found", f".{MARK}.part"})
"""What an empty file system has in it, and what a call that was killed while it wrote the mark leaves there."""

_IS_ORTHANCS = re.compile("[0-9a-f]{2}")
"""Names of the folders that Orthanc makes."""


def problem(path: Path, site: str, claimed: str) -> str | None:
    """Say why a folder cannot be this site's store, or None.

    Parameters
    ----------
    path : the folder that the site file names.
    site : the site's identity; empty when it was never brought up.
    claimed : the folder that was claimed for the site; empty when none was.
    """
    owner = _owner(path)
    if owner is not None:
        return None if owner == site else f"{path}: is the store of another site; should be a folder of its own"
    if site and claimed == str(path):
        return f"{path}: is not the folder that this site's files are in; is its disk mounted?"
    if claimed:
        return f"{path}: this site's files are in {claimed}; move them with the file {MARK} first, or set that again"
    try:
        others = {entry.name for entry in path.iterdir()} - HARMLESS
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path}: {error.strerror}"
    if others:
        return f"{path}: is not empty; should be an empty folder or one that does not exist, for this site alone"
    return None


def _owner(path: Path) -> str | None:
    """Read the mark. The archive's user may write there: never through a link, and never waiting for a writer."""
    try:
        descriptor = os.open(path / MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(256).decode(errors="replace").strip()


def make(path: Path) -> None:
    """Make a store's folder and those above it, which others may pass and nobody else may change."""
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)  # whatever the umask
    path.mkdir(mode=0o700, exist_ok=True)


def holds_files(path: Path) -> bool:
    """Tell whether Orthanc has stored something there."""
    try:
        return any(_IS_ORTHANCS.fullmatch(entry.name) for entry in path.iterdir())
    except OSError:
        return False


def may_hold_files(path: Path, site: str, *, outside: bool) -> bool:
    """Tell whether images may be in the site's store, also where its disk is not mounted now."""
    return holds_files(path) or (outside and _owner(path) != site)


def check(path: Path, site: str, claimed: str) -> None:
    """Refuse a folder that is not, and must not become, this site's store.

    Raises
    ------
    SiteFileError : with the key and the reason.
    """
    found = problem(path, site, claimed)
    if found is not None:
        raise SiteFileError([f"store.path: {found}"])


def claim(path: Path, site: str) -> None:
    """Mark a folder as the site's store."""
    if _owner(path) != site:
        write_whole(path / MARK, f"{site}\n".encode(), 0o644)


def delete(path: Path, site: str | None) -> bool:
    """Delete Orthanc's files and folders (two hexadecimal digits), and nothing else that lies there.

    Parameters
    ----------
    site : the identity that the folder must carry; None for a store inside the state folder.

    Returns
    -------
    Whether it was done: a folder without the site's mark is left alone.
    """
    if not path.is_dir():
        return True
    if site is not None and _owner(path) != site:
        return False
    for first in path.iterdir():
        if _IS_ORTHANCS.fullmatch(first.name) and first.is_dir() and not first.is_symlink():
            shutil.rmtree(first)
    (path / MARK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.rmdir()
    return True

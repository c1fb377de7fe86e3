"""Writes a new site file: whole or not at all, and only one that can be read."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orthweb.errors import SiteFileError, UsageError
from orthweb.sitefile.example import example
from orthweb.sitefile.reading import parse

_READABLE: Final = 0o644
"""Mode of a new site file: it has no secrets in it."""


def write(path: Path, values: Mapping[str, Any], replace: bool = False) -> None:
    """Write the commented example as a new site file.

    Parameters
    ----------
    values : what to set in it, by dotted key.
    replace : overwrite a file that is there.

    Raises
    ------
    SiteFileError : a value is wrong; nothing was written.
    UsageError : the file exists, or cannot be written there.
    """
    text = example(values)
    _check(text, path)
    try:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder", f"orthweb --site {path}/site.toml init")
        _write(path, text, replace)
    except FileExistsError:
        raise UsageError(f"{path}: exists already", "edit it, or write a new one over it with --force") from None
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no folder {path.parent}", f"mkdir -p {path.parent}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _check(text: str, path: Path) -> None:
    try:
        parse(text, path)
    except SiteFileError as error:
        # The lines are those of a file that nobody has seen.
        raise SiteFileError([f"--set {re.sub(r'^.*?:[0-9]+: ', '', each)}" for each in error.problems]) from None


def _publish(temporary: Path, target: Path) -> None:
    """Give a file its name, unless somebody else was first."""
    try:
        target.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        temporary.replace(target)  # a file system without hard links


def _write(path: Path, text: str, replace: bool) -> None:
    if path.exists() and not replace:
        raise FileExistsError
    target = Path(os.path.realpath(path))  # what a symbolic link points to is replaced, not the link
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _READABLE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(target)
        else:
            _publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)

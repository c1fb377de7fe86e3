"""Logs of services, wherever they are kept: their last lines, and what comes after them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Tail(Protocol):
    """The end of a log that grows."""

    def new(self) -> list[str]:
        """Give the lines that came since the last call; at first the last ones. Does not wait."""

    def close(self) -> None:
        """Stop looking."""


class Logs(Protocol):
    """All logs of a site, by the names that people use."""

    def names(self) -> Sequence[str]:
        """Name the logs that there are."""

    def tail(self, name: str, lines: int, *, follow: bool = False) -> Tail:
        """Open a log at its last lines."""

    def end(self, name: str, size: int) -> bytes:
        """Give the last bytes of a log; none when there is no such log."""


@dataclass(frozen=True)
class LogFiles:
    """Logs that are files.

    Parameters
    ----------
    files : each log's file, which need not exist.
    """

    files: dict[str, Path]

    def names(self) -> Sequence[str]:
        """Name the logs that there are."""
        return [name for name, path in self.files.items() if path.exists()]

    def tail(self, name: str, lines: int, *, follow: bool = False) -> Tail:  # noqa: ARG002  a file is always there
        """Open a log at its last lines."""
        return _FileTail(self.files[name], lines)

    def end(self, name: str, size: int) -> bytes:
        """Give the last bytes of a log; it may have been rotated away a moment ago."""
        try:
            with self.files[name].open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
                return stream.read()
        except (FileNotFoundError, KeyError):
            return b""


def in_folder(folder: Path) -> LogFiles:
    """Give all files of a folder, rotated ones too, by their names."""
    return LogFiles({str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()})


class _FileTail:
    """The end of a file that grows, and starts anew when it is rotated."""

    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._lines: int | None = lines
        self._position = 0
        self._inode = 0

    def new(self) -> list[str]:
        """Give the lines that came since the last call; at first the last ones."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return []
        if found.st_ino != self._inode or found.st_size < self._position:
            self._inode, self._position = found.st_ino, 0
        with self._path.open(errors="replace") as stream:
            stream.seek(self._position)
            if self._lines is not None:
                result = list(deque(stream, maxlen=self._lines))
                self._lines = None
            else:
                result = stream.readlines()
            if result and not result[-1].endswith("\n"):
                self._position = stream.tell() - len(result.pop().encode())
            else:
                self._position = stream.tell()
        return [line.rstrip("\n") for line in result]

    def close(self) -> None:
        """Nothing is open between two calls."""

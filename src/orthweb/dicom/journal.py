"""What was acknowledged: an SQLite file, so that a second run sends only the rest.

A row is written only after the peer's success status arrived, one transaction each: after ``kill -9``
everything in it is true. After a power failure the newest rows may be missing; their instances are sent
once more, which does no harm.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from orthweb.dicom.instance import Instance
from orthweb.errors import UsageError

_BUSY_SECONDS = 30.0
"""How long another program may keep the file to itself."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS acknowledged (
    destination TEXT NOT NULL,
    sop_instance TEXT NOT NULL,
    source TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    status INTEGER NOT NULL,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (destination, source)
) WITHOUT ROWID
"""


class Journal:
    """The acknowledged instances of one destination; safe to use from several threads and programs.

    Parameters
    ----------
    path : the SQLite file, made if missing (mode 0600: file names can tell about patients).
    destination : what the rows belong to: ``AET@host:port`` or a URL.

    Raises
    ------
    UsageError
        The file cannot be opened, or is no journal.
    """

    def __init__(self, path: Path, destination: str) -> None:
        """Open the file."""
        self.path = path
        self._destination = destination
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"{path}: cannot be used as a journal: {error}", "name another file with --journal"
            ) from error

    def _prepare(self) -> None:
        # Two that make a new file at once: SQLite refuses the change to WAL at once instead of waiting for the other.
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(_SCHEMA)

    def __enter__(self) -> Journal:
        """Give the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def acknowledged(self, instances: Iterable[Instance]) -> set[Instance]:
        """Give those that this destination acknowledged and whose files have not changed since."""
        found = set()
        with self._lock:
            for instance in instances:
                source = instance.source
                row = self._database.execute(
                    "SELECT sop_instance, size, modified FROM acknowledged WHERE destination = ? AND source = ?",
                    (self._destination, _name(instance)),
                ).fetchone()
                if row == (instance.sop_instance, source.size, source.modified):
                    found.add(instance)
        return found

    def add(self, instance: Instance, status: int) -> None:
        """Record that the destination acknowledged an instance.

        Raises
        ------
        UsageError
            The row cannot be written (disk full).
        """
        source = instance.source
        row = (self._destination, instance.sop_instance, _name(instance), source.size, source.modified, status)
        try:
            with self._lock:
                self._database.execute(
                    "INSERT OR REPLACE INTO acknowledged (destination, sop_instance, source, size, modified, status) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                )
        except sqlite3.Error as error:
            raise UsageError(
                f"{self.path}: cannot write the journal: {error}", "name another file with --journal"
            ) from error


def _name(instance: Instance) -> str:
    source = instance.source
    # surrogateescape: a file name need not be valid UTF-8, and SQLite's text must be.
    name = str(source.path.absolute()).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"{name}!{source.member}" if source.member is not None else name

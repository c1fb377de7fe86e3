"""What a migration remembers, so that it can be killed at any moment and goes on: which copies were verified."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orthweb.errors import OrthwebError

_COMMIT_EVERY: Final = 200
"""Entries that a kill may cost; they are verified again."""

_TABLES = """
CREATE TABLE IF NOT EXISTS migration (source TEXT NOT NULL, destination TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS copied (uuid TEXT PRIMARY KEY, damage TEXT) WITHOUT ROWID;
"""


class Journal:
    """A file (SQLite) in the state folder; used by one thread.

    Parameters
    ----------
    path : the file; made if it is missing, readable by its owner alone.
    source, destination : where files are copied from and to. A file about other places is thrown away.

    Raises
    ------
    OrthwebError : the file is no journal.
    """

    def __init__(self, path: Path, source: str, destination: str) -> None:
        self._path = path
        self._pending = 0
        self._closed = False
        path.touch(0o600)
        try:
            self._database = self._open(source, destination)
        except sqlite3.DatabaseError as error:
            raise OrthwebError(f"{path}: is damaged: {error}", "delete it: the copies are verified again") from error

    def _open(self, source: str, destination: str) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level="DEFERRED")
        with database:
            database.executescript(_TABLES)
            if database.execute("SELECT source, destination FROM migration").fetchone() != (source, destination):
                database.execute("DELETE FROM copied")
                database.execute("DELETE FROM migration")
                database.execute("INSERT INTO migration VALUES (?, ?)", (source, destination))
        return database

    @staticmethod
    def places(path: Path) -> tuple[str, str] | None:
        """Give source and destination of the migration that a file is about; None when there is none."""
        found = Journal.glance(path)
        return found[:2] if found else None

    @staticmethod
    def glance(path: Path) -> tuple[str, str, int] | None:
        """Give source and destination of the migration that a file is about, and how many copies were verified.

        None when there is none. Another process may be writing to it.
        """
        if not path.exists():
            return None
        # Not read-only: who was killed may have left something half written, which the next one to open it takes back.
        address = f"{path.absolute().as_uri()}?mode=rw"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
                sql = "SELECT source, destination, (SELECT count(*) FROM copied) FROM migration"
                row = database.execute(sql).fetchone()
        except sqlite3.DatabaseError:
            return None
        return (str(row[0]), str(row[1]), int(row[2])) if row else None

    def add(self, uuid: str, damage: str | None = None) -> None:
        """Note that a copy was read back and has the bytes of its source.

        Parameters
        ----------
        damage : how the source differs from what the index says of it.
        """
        self._database.execute("INSERT OR REPLACE INTO copied VALUES (?, ?)", (uuid, damage))
        self._pending += 1
        if self._pending >= _COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Bring what was noted to the disk."""
        self._database.commit()
        self._pending = 0

    def has(self, uuid: str) -> bool:
        """Tell whether a copy was verified."""
        return self._database.execute("SELECT 1 FROM copied WHERE uuid = ?", (uuid,)).fetchone() is not None

    def damage(self, uuid: str) -> str | None:
        """Say how a copied file differs from what the index says; None when it does not, or was not copied."""
        row = self._database.execute("SELECT damage FROM copied WHERE uuid = ?", (uuid,)).fetchone()
        return None if row is None else row[0]

    def copied(self) -> Iterator[str]:
        """Give the names of all verified copies."""
        for row in self._database.execute("SELECT uuid FROM copied ORDER BY uuid"):
            yield str(row[0])

    def forget(self, uuid: str) -> None:
        """Take an entry back."""
        self._database.execute("DELETE FROM copied WHERE uuid = ?", (uuid,))

    def close(self) -> None:
        """Bring everything to the disk and close the file; nothing when it is closed."""
        if not self._closed:
            self._closed = True
            self._database.commit()
            self._database.close()

    def delete(self) -> None:
        """Close the file and delete it: the migration is over."""
        self.close()
        self._path.unlink(missing_ok=True)

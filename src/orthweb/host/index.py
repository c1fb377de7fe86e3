"""The archive's user of the index: the site's lock, and a password that the database and the secret agree on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from orthweb.errors import NotRunningError, OrthwebError
from orthweb.host import database, rotation, vault
from orthweb.host.database import Login, Server
from orthweb.host.loop import WaitError
from orthweb.host.rds import Rds
from orthweb.host.vault import Vault, Version
from orthweb.postgresql import Connection


class Index:
    """What a host does about the index, beside what the archive does with it.

    Parameters
    ----------
    store : the site's secrets.
    ca : file with the CAs that may have signed the database's certificate.
    report : told what is being done.
    """

    def __init__(self, store: Vault, ca: Path, report: Callable[[str], None]) -> None:
        self._store, self._ca, self._report = store, ca, report
        self._rds: Rds | None = None
        self._current: Version | None = None
        self._pending: Version | None = None
        self._turn: Connection | None = None
        self.rotation_days = 0

    # --- what is so ----------------------------------------------------------------------------------------------

    def look(self, found: Rds, rotation_days: int, fill: Callable[[], None]) -> Version:
        """Read the secret; give its current version.

        Parameters
        ----------
        fill : makes the site's secrets; called, with the site's lock held, when this one is empty.

        Raises
        ------
        WaitError : another host makes them, or there is no database yet.
        """
        self._rds, self.rotation_days = found, rotation_days
        self._current, self._pending = self._store.poll(vault.INDEX, "AWSCURRENT", "AWSPENDING")
        if self._current is None:
            self.fill(fill)
            self._read()
        return self.current

    def fill(self, make: Callable[[], None]) -> None:
        """Let the site's secrets be made by one host; see `look`."""
        master = self._master()
        database.ensure_database(self.server, master)
        with database.connect(self.server, master) as connection, database.lock(connection) as ours:
            if not ours:
                raise WaitError("starting", "another host makes the site's secrets")
            self._report("making the site's secrets")
            make()

    def _read(self) -> None:
        """Ask for the secret itself, not for what it was."""
        self._current = self._store.read(vault.INDEX)
        self._pending = self._store.read(vault.INDEX, "AWSPENDING")

    @property
    def current(self) -> Version:
        """The secret's current version."""
        if self._current is None:
            raise OrthwebError("the secret of the index is empty, though it was filled", "tried again by itself")
        return self._current

    @property
    def server(self) -> Server:
        """Where the database is."""
        assert self._rds is not None, "nothing is done before it was looked"
        return Server(self._rds.host, self._rds.port, self._ca)

    def _master(self) -> Login:
        assert self._rds is not None
        version = self._store.read_named(self._rds.master_secret)
        if version is None:
            raise WaitError("waiting-for-database", "the secret of the database's master is empty")
        return rotation.login_of(version)

    def due(self) -> bool:
        """Tell whether the password has to be changed, or a change of it to be finished."""
        return rotation.due(self.current, self._pending, self.rotation_days, datetime.now(UTC))

    # --- what is done --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold the site's lock for a block, when nobody else does; let the archive's user be as it should then.

        Raises
        ------
        WaitError : there is no database at the moment.
        """
        connection = self._connect()
        with connection, database.lock(connection) as ours:
            if ours:
                # Whoever held the lock before may have changed what was read without it.
                self._read()
                if connection.info.user != rotation.login_of(self.current).user:
                    self._mend_user()
            self._turn = connection if ours else None
            try:
                yield ours
            finally:
                self._turn = None

    def _connect(self) -> Connection:
        try:
            with contextlib.suppress(database.SignInError):
                return database.connect(self.server, rotation.login_of(self.current))
            master = self._master()
            database.ensure_database(self.server, master)
            return database.connect(self.server, master)
        except NotRunningError as error:
            raise WaitError("waiting-for-database", error.message) from error

    def _mend_user(self) -> None:
        """Make the archive's user; where a rotation was cut off, its password is the pending one."""
        if database.signs_in(self.server, rotation.login_of(self.current)):
            return
        if self._pending is not None and database.signs_in(self.server, rotation.login_of(self._pending)):
            self.rotate()
            return
        for line in database.ensure_user(self.server, self._master(), rotation.login_of(self.current)):
            self._report(f"made: {line}")

    def let_in(self) -> None:
        """Let the database take the secret's password, should it not.

        Raises
        ------
        WaitError : another host is at it.
        """
        if database.signs_in(self.server, rotation.login_of(self.current)):
            return
        with self.lock() as ours:
            if not ours:
                raise WaitError("starting", "waiting for another host's turn to end")

    def rotate(self) -> None:
        """Change the password, or finish a change of it; to be called with the site's lock held."""
        self._current = rotation.rotate(self._store, self.server, self._master, self._report)
        self._pending = None

    def keep_turn(self) -> None:
        """See that the lock is still ours, after a long wait and before what others must not do at the same time.

        Raises
        ------
        WaitError : it went with its connection.
        """
        try:
            if self._turn is not None:
                self._turn.execute("SELECT 1")
        except psycopg.Error as error:
            raise WaitError("waiting-for-database", "the database went away during this host's turn") from error

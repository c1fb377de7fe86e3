"""The store in the index's own database: the table of Orthanc's PostgreSQL plugin, pixel data as large objects.

Source: ``PostgreSQLStorageArea`` of the plugin, whose table has been the same since its version 2.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import psycopg

from orthweb.store.attachment import CHUNK, UUID, Attachment, ObjectMissingError, Source, StoredObject, StoreError
from orthweb.store.index import Connection, connect, spool

if TYPE_CHECKING:
    from orthweb.checks.facts import IndexFacts

_TABLE = (
    "CREATE TABLE IF NOT EXISTS StorageArea(uuid VARCHAR NOT NULL PRIMARY KEY, content OID NOT NULL,"
    " type INTEGER NOT NULL)",
    "CREATE OR REPLACE RULE StorageAreaDelete AS ON DELETE TO StorageArea DO SELECT lo_unlink(old.content)",
)
"""As the plugin makes it; the plugin leaves one that it finds as it is."""

_INDEX = "orthweb_attachedfiles_uuid"

_KEEP = (
    """
    CREATE OR REPLACE FUNCTION orthweb_indexing() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('orthweb ' || NEW.uuid, 0));
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION orthweb_keep_indexed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('orthweb.removing', true) = 'on' THEN
            RETURN OLD;
        END IF;
        IF NOT pg_try_advisory_xact_lock(hashtextextended('orthweb ' || OLD.uuid, 0))
            OR EXISTS (SELECT FROM attachedfiles WHERE uuid = OLD.uuid)
        THEN
            RAISE EXCEPTION 'kept: %: the index has it (orthweb store check)', OLD.uuid USING ERRCODE = '23001';
        END IF;
        RETURN OLD;
    END $$
    """,
    "DROP TRIGGER IF EXISTS orthweb_indexing ON attachedfiles",
    "CREATE TRIGGER orthweb_indexing AFTER INSERT ON attachedfiles FOR EACH ROW EXECUTE FUNCTION orthweb_indexing()",
    "DROP TRIGGER IF EXISTS orthweb_keep_indexed ON storagearea",
    "CREATE TRIGGER orthweb_keep_indexed BEFORE DELETE ON storagearea"
    " FOR EACH ROW EXECUTE FUNCTION orthweb_keep_indexed()",
)
"""Let the archive remove nothing that its index has, or is committing. See `keep_indexed`."""

_REMOVING = "SET LOCAL orthweb.removing = 'on'"
"""Says that whoever removes means it."""

_READ = 0x40000
"""INV_READ of libpq's large objects."""

_PAGE = 500


class DatabaseStore:
    """Large objects in PostgreSQL.

    Parameters
    ----------
    facts : how the archive reaches the database.
    """

    workers = 3
    """PostgreSQL has a dozen connections besides the archive's."""

    def __init__(self, facts: IndexFacts) -> None:
        self._facts = facts
        self._own = threading.local()
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._connections: list[Connection] = []
        self._made = False
        self.foreign = 0

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return "the database of the index"

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            for each in self._connections:
                each.close()
            self._connections.clear()
        self._own = threading.local()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Give this thread's connection, each statement of which is a transaction of its own."""
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None or connection.closed:
            connection = connect(self._facts, read_only=False)
            with self._lock:
                self._connections.append(connection)
            self._own.connection = connection
        try:
            yield connection
        except psycopg.Error as error:
            words = " ".join(str(error).split())
            raise StoreError(f"{self.place}: {words[:300]}", "see `orthweb logs index`, then repeat") from error

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Give this thread's connection inside a transaction."""
        with self._connected() as connection, connection.transaction():
            yield connection

    def _exists(self) -> bool:
        with self._connected() as database:
            row = database.execute("SELECT to_regclass('storagearea') IS NOT NULL").fetchone()
        return bool(row and row[0])

    def listing(self) -> Iterator[StoredObject]:
        """Give all files in the order of their names, a page at a time; PostgreSQL keeps no times."""
        self.foreign = 0
        if not self._exists():
            return
        with TemporaryFile(prefix="orthweb-store-") as file:
            with self._connected() as database:
                spool(database, 'COPY (SELECT uuid FROM storagearea ORDER BY uuid COLLATE "C") TO STDOUT', file)
            file.seek(0)
            page: list[str] = []
            for line in file:
                name = line.decode().rstrip("\n")
                if not UUID.fullmatch(name):
                    self.foreign += 1
                    continue
                page.append(name)
                if len(page) == _PAGE:
                    yield from self._sizes(page)
                    page = []
            yield from self._sizes(page)

    def _sizes(self, uuids: list[str]) -> list[StoredObject]:
        """Measure large objects; descriptors are closed with the statement. A row without its object is no file."""
        query = (
            "SELECT s.uuid, s.type, lo_lseek64(lo_open(s.content, %s), 0, 2) FROM storagearea s"
            " JOIN pg_largeobject_metadata m ON m.oid = s.content WHERE s.uuid = ANY(%s)"
        )
        with self._connected() as database:
            rows = database.execute(query, (_READ, uuids)).fetchall()
        return sorted((StoredObject(row[0], row[1], row[2], None) for row in rows), key=lambda item: item.uuid)

    def size(self, uuid: str, file_type: int) -> int | None:
        """Give the size of a file in bytes; None when there is none."""
        if not self._exists():
            return None
        return next((item.size for item in self._sizes([uuid]) if item.type == file_type), None)

    def read(self, uuid: str, file_type: int) -> Iterator[bytes]:
        """Read a file piece by piece; a large object has no versions, so that nothing has to be held meanwhile.

        Raises
        ------
        ObjectMissingError : there is none.
        """
        query = (
            "SELECT lo_get(s.content, %s, %s) FROM storagearea s JOIN pg_largeobject_metadata m ON m.oid = s.content"
            " WHERE s.uuid = %s AND s.type = %s"
        )
        offset = 0
        while True:
            with self._connected() as database, database.cursor(binary=True) as cursor:
                try:
                    row = cursor.execute(query, (offset, CHUNK, uuid, file_type)).fetchone()
                except psycopg.errors.UndefinedTable:
                    row = None
            if row is None:
                raise ObjectMissingError(f"{uuid}: is not in {self.place}")
            chunk = bytes(row[0])
            if chunk:
                yield chunk
            if len(chunk) < CHUNK:
                return
            offset += len(chunk)

    def write(self, attachment: Attachment, source: Source) -> None:
        """Store a file: its large object and its row are committed together."""
        self._make()
        with self._transaction() as database:
            database.execute(_REMOVING)
            database.execute("DELETE FROM storagearea WHERE uuid = %s", (attachment.uuid,))
            row = database.execute("SELECT lo_create(0)").fetchone()
            assert row is not None
            offset = 0
            for chunk in source.chunks():
                database.execute("SELECT lo_put(%s, %s, %b)", (row[0], offset, chunk))
                offset += len(chunk)
            database.execute(
                "INSERT INTO storagearea (uuid, content, type) VALUES (%s, %s, %s)",
                (attachment.uuid, row[0], attachment.type),
            )

    def _make(self) -> None:
        with self._making:
            if not self._made and not self._exists():
                with self._transaction() as database:
                    for statement in _TABLE:
                        database.execute(statement)
            self._made = True

    def keep_indexed(self) -> None:
        """Let PostgreSQL refuse to remove a file that the index has.

        When the index's commit of an instance fails, Orthanc (1.12) takes for granted that there is no row, and removes
        the instance's files. But a connection that is lost while the index commits leaves open whether it did. Where
        it did, there would be a row without a file; sent again, the instance would be acknowledged as already stored,
        and be lost. What people delete is out of the index before its files are removed.
        """
        self._make()
        there = "SELECT FROM pg_trigger WHERE tgname = 'orthweb_keep_indexed' AND tgrelid = 'storagearea'::regclass"
        with self._connected() as database:
            if database.execute(there).fetchone() is not None:
                return
            # Without it each removal would read the whole table. What an interrupted call left of it is of no use.
            broken = "SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
            if database.execute(broken, (_INDEX,)).fetchone() is not None:
                database.execute(f"DROP INDEX {_INDEX}")
            database.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {_INDEX} ON attachedfiles (uuid)")
        with self._transaction() as database:
            database.execute("SET LOCAL lock_timeout = '30s'")
            for statement in _KEEP:
                database.execute(statement)

    def remove(self, uuid: str, file_type: int) -> None:
        """Delete a file; the table's rule deletes the large object."""
        with self._transaction() as database:
            database.execute(_REMOVING)
            database.execute("DELETE FROM storagearea WHERE uuid = %s AND type = %s", (uuid, file_type))

    def prune(self) -> None:
        """PostgreSQL clears up by itself (autovacuum)."""

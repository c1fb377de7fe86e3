"""What the index says of the files: all of them in order, which of some it knows, and the study each belongs to.

Tables: ``attachedfiles``, ``resources`` and ``maindicomtags`` of Orthanc's PostgreSQL plugin (``PrepareIndex.sql``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, LiteralString

import psycopg

from orthweb.errors import NotRunningError, OrthwebError
from orthweb.store.attachment import Attachment, content_type

if TYPE_CHECKING:
    from orthweb.checks.facts import IndexFacts

Connection = psycopg.Connection[tuple[Any, ...]]

_ALL = (
    "COPY (SELECT uuid, filetype, compressedsize, coalesce(compressedhash, '') FROM attachedfiles"
    ' ORDER BY uuid COLLATE "C") TO STDOUT'
)

_STUDIES = """
WITH RECURSIVE above(uuid, id, parent) AS (
  SELECT a.uuid, r.internalid, r.parentid FROM attachedfiles a JOIN resources r ON r.internalid = a.id
   WHERE a.uuid = ANY(%s)
  UNION ALL
  SELECT above.uuid, r.internalid, r.parentid FROM above JOIN resources r ON r.internalid = above.parent
)
SELECT above.uuid, t.value FROM above JOIN maindicomtags t ON t.id = above.id
 WHERE t.taggroup = 32 AND t.tagelement = 13
"""
"""(0020,000D), StudyInstanceUID: the resource that has it is the study."""


def connect(facts: IndexFacts, *, read_only: bool = True, timeout: float = 0) -> Connection:
    """Connect as the archive does (``verify-full``).

    Parameters
    ----------
    timeout : seconds that one statement may take; 0 for no limit.

    Raises
    ------
    NotRunningError : the index does not answer.
    """
    options = f"-c statement_timeout={int(timeout * 1000)}"
    if read_only:
        options += " -c default_transaction_read_only=on"
    try:
        return psycopg.connect(
            host=facts.host,
            hostaddr=facts.hostaddr,
            port=facts.port,
            dbname=facts.dbname,
            user=facts.user,
            sslmode="verify-full",
            sslrootcert=str(facts.sslrootcert),
            passfile=str(facts.passfile),
            connect_timeout=5,
            application_name="orthweb-store",
            gssencmode="disable",
            options=options,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        words = " ".join(str(error).split())
        raise NotRunningError(f"the index does not answer: {words[:300]}", "orthweb up") from error


def spool(connection: Connection, query: LiteralString, file: IO[bytes]) -> int:
    """Write what a ``COPY ... TO STDOUT`` gives into a file, in constant memory; give the number of lines."""
    count = 0
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for data in copy:
            file.write(data)
            count += bytes(data).count(b"\n")
    return count


class Index:
    """The index of a running site.

    Parameters
    ----------
    facts : how the archive reaches it.

    Raises
    ------
    NotRunningError : it does not answer.
    """

    def __init__(self, facts: IndexFacts) -> None:
        self._facts = facts
        self._connection = connect(facts)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Give all attachments as they are now.

        They are kept in a file without a name: a transaction that stays open while a million objects are compared
        would hold PostgreSQL's cleaning up, and a list would need memory for all of them.

        Raises
        ------
        OrthwebError : the archive has not made its tables.
        """
        with TemporaryFile(prefix="orthweb-store-") as file:
            try:
                count = spool(self._connection, _ALL, file)
            except psycopg.errors.UndefinedTable as error:
                raise OrthwebError("the index has no tables yet", "orthweb up") from error
            except psycopg.OperationalError as error:
                raise _gone(error) from error
            yield Snapshot(file, count)

    def known(self, uuids: Sequence[str]) -> set[str]:
        """Tell which of these attachments the index has at this moment."""
        return {str(row[0]) for row in self._ask("SELECT uuid FROM attachedfiles WHERE uuid = ANY(%s)", uuids)}

    def studies(self, uuids: Sequence[str]) -> dict[str, str]:
        """Give the StudyInstanceUID that these attachments belong to; those of a patient belong to none."""
        return {str(uuid): str(study) for uuid, study in self._ask(_STUDIES, uuids)}

    def _ask(self, query: str, uuids: Sequence[str]) -> list[tuple[Any, ...]]:
        if not uuids:
            return []
        try:
            return self._connection.execute(query, (list(uuids),)).fetchall()
        except psycopg.OperationalError as error:
            raise _gone(error) from error


def _gone(error: psycopg.Error) -> NotRunningError:
    words = " ".join(str(error).split())
    return NotRunningError(f"the index went away: {words[:300]}", "see `orthweb logs index`, then repeat")


class Snapshot:
    """The attachments of one moment, in the order of their names.

    Parameters
    ----------
    count : how many there are.
    """

    def __init__(self, file: IO[bytes], count: int) -> None:
        self._file = file
        self.count = count

    def __iter__(self) -> Iterator[Attachment]:
        """Read them from the first on."""
        self._file.seek(0)
        for line in self._file:
            uuid, file_type, size, md5 = line.decode().rstrip("\n").split("\t")
            yield Attachment(uuid, content_type(int(file_type)), int(size), md5)

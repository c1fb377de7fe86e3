"""Lose the index's answer to a commit, and look at what became of the image.

A connection that a failover, a killed index or a network ends while the index commits leaves open whether it did. Here
it did, for certain: PostgreSQL writes a commit to its own disk, then waits for its synchronous standbys before it
answers (``synchronous_standby_names``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, Protocol

from pydicom.dataset import Dataset

from live.counting import client, eventually
from live.edge_clients import image, store
from orthweb.access import SiteAccess


class Index(Protocol):
    """What asks a PostgreSQL server as its superuser."""

    def as_owner(self, statement: LiteralString, *, database: str) -> list[Any]:
        """Give the rows."""
        ...


@contextmanager
def commits_held(index: Index) -> Iterator[None]:
    """Let each commit wait, once it is on the disk, for a standby that never comes."""
    index.as_owner("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", database="postgres")
    try:
        index.as_owner("SELECT pg_reload_conf()", database="postgres")
        asking: LiteralString = "SHOW synchronous_standby_names"
        eventually(lambda: index.as_owner(asking, database="postgres") == [("nobody",)], 10, "commits do not wait")
        yield
    finally:
        index.as_owner("ALTER SYSTEM RESET synchronous_standby_names", database="postgres")
        index.as_owner("SELECT pg_reload_conf()", database="postgres")


def lose_answers(index: Index, database: str) -> bool:
    """End the connections that wait with a new resource committed, and let others have their answer; tell whether any.

    What waits has kept its locks.
    """
    ended = index.as_owner(
        """
        WITH waiting AS (
            SELECT pid, EXISTS (
                SELECT FROM pg_locks
                WHERE pg_locks.pid = pg_stat_activity.pid
                AND relation = 'resources'::regclass AND mode = 'RowExclusiveLock'
            ) AS with_resource
            FROM pg_stat_activity
            WHERE wait_event = 'SyncRep' AND query = 'COMMIT' AND datname = current_database()
        ), ended AS (
            SELECT with_resource,
                CASE WHEN with_resource THEN pg_terminate_backend(pid) ELSE pg_cancel_backend(pid) END AS ended
            FROM waiting
        )
        SELECT count(*) FILTER (WHERE ended AND with_resource) FROM ended
        """,
        database=database,
    )
    return int(ended[0][0]) > 0


def store_without_an_answer(access: SiteAccess, index: Index, made: Dataset, database: str = "orthanc") -> list[int]:
    """Send an image whose row is committed, and the answer lost; give the status that the sender has, if any.

    Parameters
    ----------
    database : of the index.
    """
    statuses: list[int] = []
    sending = threading.Thread(target=lambda: statuses.extend(store(access, made)))
    lost = False
    with commits_held(index):
        sending.start()
        while sending.is_alive():
            lost |= lose_answers(index, database)
            sending.join(0.05)
    assert lost, "nothing committed"
    return statuses


def files(access: SiteAccess, made: Dataset) -> list[int]:
    """Give the answers to a request for the file of each instance in the index that is this one."""
    with client(access) as http:
        found = http.post("/tools/lookup", content=str(made.SOPInstanceUID)).json()
        return [http.get(f"/instances/{each['ID']}/file").status_code for each in found if each["Type"] == "Instance"]


def assert_nothing_is_lost(access: SiteAccess, index: Index, database: str = "orthanc") -> None:
    """Prove of an image whose commit went without an answer that its file stays, and that the next success is true.

    Parameters
    ----------
    database : of the index.
    """
    made = image()
    statuses = store_without_an_answer(access, index, made, database)
    assert statuses != [0], "nobody may be promised what the index did not answer"
    assert files(access, made) == [200], "a row without its file"
    assert store(access, made) == [0]
    assert files(access, made) == [200]

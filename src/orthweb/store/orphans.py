"""Orphans: files in the store that the index does not know. Listed without memory for all, removed one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from tempfile import TemporaryFile
from types import TracebackType
from typing import Final

from orthweb.store.attachment import Backend, StoredObject
from orthweb.store.index import Index

BATCH: Final = 200
"""Orphans between two questions to the index."""


class Orphans(AbstractContextManager["Orphans"]):
    """The orphans that one check found, in a file without a name."""

    def __init__(self) -> None:
        self._file = TemporaryFile("w+", prefix="orthweb-store-")  # noqa: SIM115 - closed by __exit__
        self.count = 0
        self.bytes = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget them."""
        self._file.close()

    def add(self, item: StoredObject) -> None:
        """Keep one."""
        self.count += 1
        self.bytes += item.size
        self._file.write(json.dumps([item.uuid, item.type, item.size, item.modified]) + "\n")

    def __iter__(self) -> Iterator[StoredObject]:
        """Give them again."""
        self._file.seek(0)
        for line in self._file:
            yield StoredObject(*json.loads(line))


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Parameters
    ----------
    kept : orphans that the index knows by now.
    """

    count: int
    bytes: int
    kept: int


def remove(orphans: Orphans, index: Index, backend: Backend) -> Removed:
    """Delete orphans from the store, each after one more look into the index.

    Raises
    ------
    NotRunningError : the index does not answer.
    StoreError : the store does not delete.
    """
    count = size = kept = 0
    batch: list[StoredObject] = []

    def settle() -> None:
        nonlocal count, size, kept
        known = index.known([item.uuid for item in batch])
        for item in batch:
            if item.uuid in known:
                kept += 1
            else:
                backend.remove(item.uuid, item.type or 0)
                count += 1
                size += item.size
        batch.clear()

    for item in orphans:
        batch.append(item)
        if len(batch) == BATCH:
            settle()
    settle()
    return Removed(count, size, kept)

"""Copy files from one store to another, each one verified, several at once, and any number of times."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from orthweb.store.attachment import Attachment, Backend, ObjectMissingError, Source, StoredObject, StoreError
from orthweb.store.check import BATCH, joined, md5_of
from orthweb.store.index import Index
from orthweb.store.journal import Journal

SMALL: Final = 16 * 1024**2
"""Files up to this size are read once, into memory; larger ones twice."""

SHOWN: Final = 20
"""Lost files that are named."""

Progress = Callable[[int, int, int], None]
"""Told how many files of how many are copied and verified, and how many bytes were copied."""


@dataclass
class Losses:
    """Files that were lost or damaged in the source before they could be copied.

    Parameters
    ----------
    missing : in the index and not in the source.
    damaged : copied as they are, and not what the index says of them.
    examples : some of them: name, what is wrong, StudyInstanceUID.
    studies : how many files of each study.
    """

    missing: int = 0
    damaged: int = 0
    examples: list[tuple[str, str, str | None]] = field(default_factory=list)
    studies: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.missing or self.damaged)


@dataclass
class Pass:
    """What one walk over all files did.

    Parameters
    ----------
    copied, bytes : files that were copied now.
    kept : files that had been copied before.
    removed : copies of files that have been deleted since.
    left_over : files in the destination that the index does not know and that were not copied here.
    """

    copied: int = 0
    bytes: int = 0
    kept: int = 0
    removed: int = 0
    left_over: int = 0
    losses: Losses = field(default_factory=Losses)


@dataclass(frozen=True)
class _Copied:
    size: int
    damage: str | None


def copy(attachment: Attachment, source: Backend, destination: Backend, *, there: bool) -> _Copied:
    """Copy one file and read the copy back.

    Parameters
    ----------
    there : whether the destination has one of the right size: it is only copied when its content is another.

    Raises
    ------
    ObjectMissingError : it is not in the source, or cannot be read there.
    StoreError : the copy is not what was written.
    """
    name = attachment.uuid, attachment.type
    if there and attachment.md5 and md5_of(destination.read(*name)) == attachment.md5:
        return _Copied(0, None)
    content, damage = _read(attachment, source)
    if there and _sha256(destination.read(*name)) == content.sha256:
        return _Copied(0, damage)
    for _ in range(2):
        destination.write(attachment, content)
        if _sha256(destination.read(*name)) == content.sha256:
            return _Copied(content.size, damage)
    raise StoreError(
        f"{destination.place}: {attachment.uuid} comes back with other bytes than were written",
        "nothing was switched or deleted: look after that store, then repeat",
    )


def _read(attachment: Attachment, source: Backend) -> tuple[Source, str | None]:
    """Read a file, keep it when it is small, and compare it with the index."""
    kept: list[bytes] | None = []
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    try:
        for chunk in source.read(attachment.uuid, attachment.type):
            size += len(chunk)
            md5.update(chunk)
            sha256.update(chunk)
            if kept is not None:
                kept.append(chunk)
                kept = kept if size <= SMALL else None
    except OSError as error:
        raise ObjectMissingError(f"{attachment.uuid}: cannot be read: {error.strerror}") from error
    damage = None
    if size != attachment.size:
        damage = f"{size} bytes, {attachment.size} in the index"
    elif attachment.md5 and md5.hexdigest() != attachment.md5:
        damage = f"MD5 {md5.hexdigest()}, {attachment.md5} in the index"
    content = b"".join(kept) if kept is not None else None
    return Source(source, attachment, sha256.hexdigest(), size, content), damage


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


class Transfer:
    """Copies all files of an index from one store to another.

    Parameters
    ----------
    journal : which copies were verified already.
    """

    def __init__(self, index: Index, source: Backend, destination: Backend, journal: Journal) -> None:
        self._index = index
        self._source = source
        self._destination = destination
        self._journal = journal
        self._jobs: deque[tuple[Attachment, Future[_Copied]]] = deque()
        self._done = Pass()
        self._lost: list[tuple[Attachment, str, bool]] = []
        self._deleted: list[StoredObject] = []

    def run(self, progress: Progress) -> Pass:
        """Copy what the destination does not have, and take away what was deleted since it was copied.

        Raises
        ------
        NotRunningError, StoreError : what was copied until then is remembered.
        """
        self._done = Pass()
        workers = min(self._source.workers, self._destination.workers)
        pool = ThreadPoolExecutor(workers)
        try:
            with self._index.snapshot() as snapshot:
                for attachment, item in joined(snapshot, self._destination.listing()):
                    if attachment is None:
                        assert item is not None
                        self._without_row(item)
                    elif self._is_done(attachment, item):
                        self._done.kept += 1
                    else:
                        there = item is not None and item.size == attachment.size
                        job = pool.submit(copy, attachment, self._source, self._destination, there=there)
                        self._jobs.append((attachment, job))
                    self._settle(4 * workers)
                    progress(self._done.kept + self._done.copied, snapshot.count, self._done.bytes)
                self._settle(0)
                progress(self._done.kept + self._done.copied, snapshot.count, self._done.bytes)
            self._settle_lost()
            self._settle_deleted()
        finally:
            pool.shutdown(cancel_futures=True)
            for waiting in (self._jobs, self._lost, self._deleted):
                waiting.clear()
            self._journal.commit()
        return self._done

    def _is_done(self, attachment: Attachment, item: StoredObject | None) -> bool:
        # What was damaged is looked at again: somebody may have restored it in the source.
        right = item is not None and item.size == attachment.size
        return right and self._journal.has(attachment.uuid) and self._journal.damage(attachment.uuid) is None

    def _without_row(self, item: StoredObject) -> None:
        if not self._journal.has(item.uuid):
            self._done.left_over += 1
        else:
            self._deleted.append(item)
            if len(self._deleted) >= BATCH:
                self._settle_deleted()

    def _settle_deleted(self) -> None:
        known = self._index.known([item.uuid for item in self._deleted])
        for item in self._deleted:
            if item.uuid not in known:
                self._destination.remove(item.uuid, item.type or 0)
                self._journal.forget(item.uuid)
                self._done.removed += 1
        self._deleted.clear()

    def _settle(self, pending: int) -> None:
        while len(self._jobs) > pending:
            attachment, job = self._jobs.popleft()
            try:
                copied = job.result()
            except ObjectMissingError as error:
                self._lose(attachment, error.message, missing=True)
                continue
            if copied.damage is not None:
                self._lose(attachment, copied.damage, missing=False)
            self._journal.add(attachment.uuid, copied.damage)
            self._done.copied += 1
            self._done.bytes += copied.size

    def _lose(self, attachment: Attachment, problem: str, *, missing: bool) -> None:
        self._lost.append((attachment, problem, missing))
        if len(self._lost) >= BATCH:
            self._settle_lost()

    def _settle_lost(self) -> None:
        """Tell what was lost from what was deleted meanwhile."""
        losses, uuids = self._done.losses, [attachment.uuid for attachment, _, _ in self._lost]
        known, studies = self._index.known(uuids), self._index.studies(uuids)
        for attachment, problem, missing in self._lost:
            if attachment.uuid not in known:
                continue
            study = studies.get(attachment.uuid)
            losses.missing += missing
            losses.damaged += not missing
            losses.studies[study or ""] += 1
            if len(losses.examples) < SHOWN:
                losses.examples.append((attachment.uuid, problem, study))
        self._lost.clear()


def incomplete(index: Index, destination: Backend, journal: Journal) -> int:
    """Count the files that the destination does not have with the size that the index says.

    Those that were damaged in the source already do not count. Nobody may store anything meanwhile.
    """
    count = 0
    with index.snapshot() as snapshot:
        for attachment, item in joined(snapshot, destination.listing()):
            if attachment is None:
                continue
            right = item is not None and item.size == attachment.size
            if not right and (item is None or journal.damage(attachment.uuid) is None):
                count += 1
    return count

"""Compare index and store: what is missing, what is left over, what has another size or another content.

Both are read in the order of their names and joined like two sorted lists, so that a million files need no more memory
than a thousand. The site may run meanwhile: whatever looks wrong is looked at again before it is called wrong.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from orthweb.store.attachment import Attachment, Backend, ObjectMissingError, StoredObject, StoreError
from orthweb.store.index import Index
from orthweb.store.orphans import Orphans

Kind = Literal["missing", "size", "hash", "orphan"]

BATCH: Final = 1000
"""Suspects that the index is asked about at once."""

SETTLE: Final = 30.0
"""Seconds after which an object without an index row is looked at again where the store keeps no times: Orthanc tries
for ten seconds to write a row."""

TYPE_NAMES: Final = {1: "dicom", 2: "dicom-as-json", 3: "dicom-until-pixel-data", 0: "other"}

Progress = Callable[[int, int], None]
"""Told how many attachments of how many have been compared."""


@dataclass(frozen=True)
class Options:
    """How to compare.

    Parameters
    ----------
    contents : whether to read every file and compare its MD5 with the index's.
    minimum_age : seconds; an object without an index row that is younger may be one that is being stored just now.
    limit : how many of each kind of finding are kept; all are counted.
    settle : see `SETTLE`.
    """

    contents: bool = False
    minimum_age: float = 3600.0
    limit: int = 20
    settle: float = SETTLE


@dataclass(frozen=True)
class Finding:
    """One file that is not as it should be.

    Parameters
    ----------
    type : name of the attachment's type; None where the store does not tell.
    study : StudyInstanceUID that the file belongs to; None for an orphan, which belongs to nothing.
    detail : what was expected and what was seen.
    """

    kind: Kind
    uuid: str
    type: str | None
    study: str | None
    detail: str


@dataclass
class Result:
    """What a comparison found.

    Parameters
    ----------
    indexed, stored : files in the index, files in the store.
    bytes : of the files in the store.
    young : objects without an index row that are younger than the minimum age.
    foreign : things in the store that are no files of Orthanc's.
    hashed, unhashed : files whose MD5 was compared; files that the index has no MD5 of.
    studies : StudyInstanceUID of each study that lost a file, and how many.
    """

    place: str
    indexed: int = 0
    stored: int = 0
    bytes: int = 0
    young: int = 0
    foreign: int = 0
    hashed: int = 0
    unhashed: int = 0
    orphan_bytes: int = 0
    seconds: float = 0.0
    counts: Counter[Kind] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    studies: Counter[str] = field(default_factory=Counter)

    @property
    def intact(self) -> bool:
        """Whether every file of the index is in the store as it should be; orphans do no harm."""
        return not (self.counts["missing"] or self.counts["size"] or self.counts["hash"])


def joined(
    attachments: Iterable[Attachment], objects: Iterable[StoredObject]
) -> Iterator[tuple[Attachment | None, StoredObject | None]]:
    """Join two lists that are sorted by name: pairs, and what only one of them has.

    Raises
    ------
    StoreError : one of them is not sorted.
    """
    left, right = _sorted(attachments, "the index"), _sorted(objects, "the store")
    attachment, item = next(left, None), next(right, None)
    while attachment is not None or item is not None:
        if item is None or (attachment is not None and attachment.uuid < item.uuid):
            yield attachment, None
            attachment = next(left, None)
        elif attachment is None or item.uuid < attachment.uuid:
            yield None, item
            item = next(right, None)
        elif item.type is not None and item.type != attachment.type:
            yield None, item  # the same name under another suffix
            item = next(right, None)
        else:
            yield attachment, item
            attachment, item = next(left, None), next(right, None)


_Named = TypeVar("_Named", Attachment, StoredObject)


def _sorted(items: Iterable[_Named], what: str) -> Iterator[_Named]:
    last = ""
    for item in items:
        if item.uuid < last:
            raise StoreError(f"{what} does not list in the order of names", "it cannot be compared")
        last = item.uuid
        yield item


class Check:
    """One comparison; runs once.

    Parameters
    ----------
    orphan : told of each orphan, as it is found.
    """

    def __init__(
        self, index: Index, backend: Backend, options: Options, orphan: Callable[[StoredObject], None] | None = None
    ) -> None:
        self._index = index
        self._backend = backend
        self._options = options
        self._orphan = orphan
        self._result = Result(backend.place)
        self._kept: Counter[Kind] = Counter()
        self._suspects: list[Attachment] = []
        self._leftovers: list[StoredObject] = []
        self._timeless: list[StoredObject] = []
        self._waiting = Orphans()
        self._hashing: deque[tuple[Attachment, Future[tuple[Kind, str] | None]]] = deque()

    def run(self, progress: Progress = lambda _done, _all: None) -> Result:
        """Compare everything.

        Raises
        ------
        NotRunningError : the index does not answer.
        StoreError : the store cannot be read.
        """
        with self._waiting:
            return self._run(progress)

    def _run(self, progress: Progress) -> Result:
        begin, wall = time.monotonic(), time.time()
        result = self._result
        with ThreadPoolExecutor(self._backend.workers) as pool, self._index.snapshot() as snapshot:
            for attachment, item in joined(snapshot, self._backend.listing()):
                if item is not None:
                    result.stored += 1
                    result.bytes += item.size
                if attachment is not None:
                    result.indexed += 1
                    if result.indexed % BATCH == 0:
                        progress(result.indexed, snapshot.count)
                if attachment is None:
                    assert item is not None
                    self._left_over(item, wall)
                elif item is None or item.size != attachment.size:
                    self._suspects.append(attachment)
                    if len(self._suspects) >= BATCH:
                        self._settle_suspects()
                elif self._options.contents:
                    self._hash(pool, attachment)
            self._settle_hashes(0)
            progress(result.indexed, snapshot.count)
        self._settle_suspects()
        self._settle_timeless()
        self._settle_waiting()
        self._settle_leftovers()
        result.foreign = self._backend.foreign
        result.seconds = time.monotonic() - begin
        return result

    def _left_over(self, item: StoredObject, now: float) -> None:
        if item.modified is None:
            self._timeless.append(item)
            if len(self._timeless) >= BATCH:
                self._settle_timeless()
        elif now - item.modified < self._options.minimum_age:
            self._result.young += 1
        else:
            self._leftovers.append(item)
            if len(self._leftovers) >= BATCH:
                self._settle_leftovers()

    def _settle_timeless(self) -> None:
        """Put aside what the index does not know of objects whose age nobody knows."""
        batch, self._timeless = self._timeless, []
        known = self._index.known([item.uuid for item in batch])
        for item in batch:
            if item.uuid not in known:
                self._waiting.add(item)

    def _settle_waiting(self) -> None:
        """Look again after a while at those that were put aside."""
        if self._waiting.count:
            time.sleep(min(self._options.settle, self._options.minimum_age))
        for item in self._waiting:
            self._leftovers.append(item)
            if len(self._leftovers) >= BATCH:
                self._settle_leftovers()

    def _settle_leftovers(self) -> None:
        batch, self._leftovers = self._leftovers, []
        known = self._index.known([item.uuid for item in batch])
        for item in batch:
            if item.uuid in known or self._backend.size(item.uuid, item.type or 0) is None:
                continue  # stored, or deleted, since
            self._result.orphan_bytes += item.size
            self._note("orphan", item.uuid, item.type, None, f"{item.size} bytes")
            if self._orphan is not None:
                self._orphan(item)

    def _settle_suspects(self) -> None:
        batch, self._suspects = self._suspects, []
        known = self._index.known([item.uuid for item in batch])
        damaged: list[tuple[Attachment, Kind, str]] = []
        for attachment in batch:
            if attachment.uuid not in known:
                continue  # deleted since
            size = self._backend.size(attachment.uuid, attachment.type)
            if size is None:
                damaged.append((attachment, "missing", f"{attachment.size} bytes"))
            elif size != attachment.size:
                damaged.append((attachment, "size", f"{size} bytes, {attachment.size} in the index"))
        self._lost(damaged)

    def _lost(self, damaged: list[tuple[Attachment, Kind, str]]) -> None:
        studies = self._index.studies([attachment.uuid for attachment, _, _ in damaged])
        for attachment, kind, detail in damaged:
            study = studies.get(attachment.uuid)
            self._result.studies[study or ""] += 1
            self._note(kind, attachment.uuid, attachment.type, study, detail)

    def _note(self, kind: Kind, uuid: str, file_type: int | None, study: str | None, detail: str) -> None:
        self._result.counts[kind] += 1
        if self._kept[kind] < self._options.limit:
            self._kept[kind] += 1
            name = None if file_type is None else TYPE_NAMES[file_type]
            self._result.findings.append(Finding(kind, uuid, name, study, detail))

    def _hash(self, pool: ThreadPoolExecutor, attachment: Attachment) -> None:
        if not attachment.md5:
            self._result.unhashed += 1
            return
        self._result.hashed += 1
        self._hashing.append((attachment, pool.submit(self._difference, attachment)))
        self._settle_hashes(4 * self._backend.workers)

    def _settle_hashes(self, pending: int) -> None:
        """Wait until no more than `pending` files are being read."""
        damaged: list[tuple[Attachment, Kind, str]] = []
        while len(self._hashing) > pending:
            attachment, future = self._hashing.popleft()
            difference = future.result()
            if difference is not None:
                damaged.append((attachment, *difference))
        if damaged:
            known = self._index.known([attachment.uuid for attachment, _, _ in damaged])
            self._lost([each for each in damaged if each[0].uuid in known])

    def _difference(self, attachment: Attachment) -> tuple[Kind, str] | None:
        try:
            found = md5_of(self._backend.read(attachment.uuid, attachment.type))
        except ObjectMissingError:
            return "missing", f"{attachment.size} bytes"
        except OSError as error:
            return "hash", f"cannot be read: {error.strerror}"
        return None if found == attachment.md5 else ("hash", f"MD5 {found}, {attachment.md5} in the index")


def md5_of(chunks: Iterable[bytes]) -> str:
    """Hash a content. MD5 is what Orthanc keeps: it finds damage, it proves no origin."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

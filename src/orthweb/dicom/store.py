"""C-STORE (PS3.4 Annex B) of a few instances on one association; for many see :mod:`orthweb.dicom.send`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import encode

from orthweb.dicom.errors import ContextError
from orthweb.dicom.instance import Instance, Source, skip
from orthweb.dicom.peer import Peer
from orthweb.dicom.scan import scan
from orthweb.dicom.status import category, describe
from orthweb.dicom.upper_layer import StoreAssociation
from orthweb.errors import UsageError


@dataclass(frozen=True)
class StoreResult:
    """The peer's answer to one C-STORE.

    Parameters
    ----------
    sop_instance : SOP Instance UID.
    status : DIMSE status.
    """

    sop_instance: str
    status: int
    comment: str | None = None

    @property
    def stored(self) -> bool:
        """Whether the peer took the instance (a warning counts: PS3.4 B.2.3)."""
        return category(self.status) in ("success", "warning")

    def __str__(self) -> str:
        """Put the answer into words."""
        return describe(self.status, self.comment)


def store(peer: Peer, items: Iterable[Path | Dataset]) -> Iterator[StoreResult]:
    """Send instances in order; yield the answer to each.

    Files are sent as they are, byte for byte. Data sets are encoded in their ``file_meta.TransferSyntaxUID``,
    uncompressed; compressed ones must be files.

    Raises
    ------
    UsageError
        A file is missing or not DICOM, or a data set cannot be encoded.
    PeerError
        The peer accepts no suitable presentation context, or was lost.
    """
    instances = [_from_memory(item) if isinstance(item, Dataset) else _from_file(item) for item in items]
    pairs = sorted({(one.sop_class, one.transfer_syntax) for one, _ in instances})
    association = StoreAssociation(peer, pairs)
    try:
        for instance, content in instances:
            if (instance.sop_class, instance.transfer_syntax) not in association.accepted:
                names = f"{UID(instance.sop_class).name} in {UID(instance.transfer_syntax).name}"
                raise ContextError(f"{peer}: does not accept {names}", "send it in another transfer syntax")
            with _opened(instance, content) as (data, length):
                status, comment = association.store(
                    instance.sop_class, instance.sop_instance, instance.transfer_syntax, data, length
                )
            yield StoreResult(instance.sop_instance, status, comment)
    except BaseException:
        association.abort()
        raise
    else:
        association.release()


@contextmanager
def _opened(instance: Instance, content: bytes | None) -> Iterator[tuple[IO[bytes], int]]:
    if content is not None:
        yield BytesIO(content), len(content)
        return
    try:
        with instance.source.open() as file:
            skip(file, instance.offset)
            yield file, instance.length
    except OSError as error:
        raise UsageError(f"{instance.source}: cannot be sent: {error.strerror or error}") from error


def _from_file(path: Path) -> tuple[Instance, None]:
    for found in scan([path]):
        if isinstance(found, Instance):
            return found, None
        raise UsageError(f"{found.name}: cannot be sent: {found.kind}: {found.reason}")
    raise UsageError(f"{path}: cannot be sent: nothing in it")


def _from_memory(dataset: Dataset) -> tuple[Instance, bytes]:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    content = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    if content is None:
        raise UsageError(f"{dataset.SOPInstanceUID}: cannot be encoded in {syntax.name}")
    nowhere = Source(Path(), None, len(content), 0)
    return Instance(nowhere, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), str(syntax), 0), content

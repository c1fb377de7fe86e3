"""C-STORE (PS3.4 Annex B) of a few instances on one association; for many see :mod:`orthweb.dicom.send`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pynetdicom.presentation import build_context

from orthweb.dicom.association import associate, lost
from orthweb.dicom.errors import ContextError
from orthweb.dicom.peer import Peer
from orthweb.dicom.status import category, describe
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

    Files are sent as they are, byte for byte. Data sets need ``file_meta.TransferSyntaxUID``.

    Raises
    ------
    UsageError
        A file is missing or not DICOM.
    PeerError
        The peer accepts no suitable presentation context, or was lost.
    """
    everything = list(items)
    headers = [_header(item) for item in everything]
    pairs = sorted({(str(h.SOPClassUID), str(h.file_meta.TransferSyntaxUID)) for h in headers})
    with associate(peer, [build_context(*pair) for pair in pairs]) as association:
        for number, (item, header) in enumerate(zip(everything, headers, strict=True)):
            started = time.monotonic()
            try:
                answer = association.send_c_store(item, msg_id=number % 65535 + 1)
            except ValueError as error:
                raise ContextError(
                    f"{peer}: does not accept {header.SOPClassUID.name} in {header.file_meta.TransferSyntaxUID.name}"
                ) from error
            except RuntimeError as error:
                raise lost(peer, association) from error
            if "Status" not in answer:
                raise lost(peer, association, time.monotonic() - started)
            yield StoreResult(str(header.SOPInstanceUID), int(answer.Status), answer.get("ErrorComment"))


def _header(item: Path | Dataset) -> Dataset:
    if isinstance(item, Dataset):
        return item
    try:
        header: FileDataset = dcmread(item, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    except (OSError, InvalidDicomError) as error:
        raise UsageError(f"{item}: cannot be sent: {error}") from error
    return header

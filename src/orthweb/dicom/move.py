"""C-MOVE (PS3.4 Annex C): the peer sends what matches to a third one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelMove,
)

from orthweb.dicom.association import associate, lost
from orthweb.dicom.errors import StatusError
from orthweb.dicom.find import UNIQUE_KEYS, Level, identifier
from orthweb.dicom.peer import Peer
from orthweb.dicom.status import category, describe
from orthweb.errors import UsageError


@dataclass(frozen=True)
class Suboperations:
    """How far a C-GET or C-MOVE is (PS3.7 9.1.3, 9.1.4); counts of instances.

    Parameters
    ----------
    status : the latest DIMSE status.
    failed_uids : SOP Instance UIDs that failed, where the peer names them.
    """

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    status: int = 0xFF00
    failed_uids: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, answer: Dataset, details: Dataset | None = None) -> Suboperations:
        """Read a response."""
        failed = details.get("FailedSOPInstanceUIDList") if details is not None else None
        uids = () if not failed else (str(failed),) if isinstance(failed, str) else tuple(str(uid) for uid in failed)
        return cls(
            remaining=int(answer.get("NumberOfRemainingSuboperations") or 0),
            completed=int(answer.get("NumberOfCompletedSuboperations") or 0),
            failed=int(answer.get("NumberOfFailedSuboperations") or 0),
            warning=int(answer.get("NumberOfWarningSuboperations") or 0),
            status=int(answer.Status),
            failed_uids=uids,
        )


def retrieve_keys(level: Level, keys: Mapping[str, str]) -> Dataset:
    """Build a retrieve Identifier: it needs the unique key of its level (PS3.4 C.4.2.1.4, C.4.3.1.3).

    Raises
    ------
    UsageError
        The unique key is missing.
    """
    asked = identifier(level, keys)
    if not asked.get(UNIQUE_KEYS[level]):
        raise UsageError(
            f"retrieving at {level} level needs {UNIQUE_KEYS[level]}",
            f"add -k {UNIQUE_KEYS[level]}=... (`find` shows it)",
        )
    return asked


def move(
    peer: Peer,
    keys: Mapping[str, str],
    destination: str,
    *,
    level: Level = "study",
    on_progress: Callable[[Suboperations], None] | None = None,
) -> Suboperations:
    """Have a peer send what matches to ``destination``; give the final counts.

    Failed sub-operations are in the result, not an error.

    Parameters
    ----------
    keys : keyword -> value, with the unique key of the level.
    destination : AE title that the *peer* knows.

    Raises
    ------
    UsageError, PeerError
        ``StatusError`` if the peer refuses the whole (an unknown destination: 0xA801).
    """
    asked = retrieve_keys(level, keys)
    model = (
        PatientRootQueryRetrieveInformationModelMove
        if level == "patient"
        else StudyRootQueryRetrieveInformationModelMove
    )
    last = Suboperations()
    with associate(peer, [build_context(model)]) as association:
        waited = time.monotonic()
        for answer, details in association.send_c_move(asked, destination, model):
            if "Status" not in answer:
                raise lost(peer, association, time.monotonic() - waited)
            last = Suboperations.of(answer, details)
            if on_progress is not None:
                on_progress(last)
            if category(last.status) == "failure" and not (last.completed or last.failed):
                # Orthanc answers 0xC000 both to a destination that it does not know and to one that is away.
                hint = f"does the peer know {destination!r} (a site: [modalities]), and is it running?"
                raise StatusError(
                    f"{peer}: C-MOVE to {destination}: {describe(last.status, answer.get('ErrorComment'))}",
                    last.status,
                    hint,
                )
            waited = time.monotonic()
    return last

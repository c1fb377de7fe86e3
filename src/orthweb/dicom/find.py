"""C-FIND (PS3.4 Annex C): which patients, studies, series or instances match?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from orthweb.dicom.association import associate, lost
from orthweb.dicom.errors import StatusError
from orthweb.dicom.peer import Peer
from orthweb.dicom.status import category, describe
from orthweb.errors import UsageError

Level = Literal["patient", "study", "series", "instance"]
"""Query/Retrieve levels; ``instance`` is DICOM's IMAGE."""

LEVELS: tuple[Level, ...] = get_args(Level)

UNIQUE_KEYS: dict[Level, str] = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
}
"""The unique key of each level (PS3.4 C.6.1.1, C.6.2.1)."""

DEFAULT_KEYS: dict[Level, tuple[str, ...]] = {
    "patient": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "study": (
        "StudyInstanceUID",
        "PatientID",
        "PatientName",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "series": (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
    ),
    "instance": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
"""What is asked to come back when the caller does not say."""

_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),?([0-9a-fA-F]{4})\)?")


def keyword(name: str) -> str:
    """Give the DICOM keyword for a keyword in any case, or a tag such as ``0010,0020``.

    Raises
    ------
    UsageError
        The data dictionary (PS3.6) has no such element.
    """
    tag = tag_for_keyword(name)
    if tag is None:
        match = _TAG.fullmatch(name)
        tag = int(match[1] + match[2], 16) if match else _folded().get(name.casefold())
    found = keyword_for_tag(tag) if tag is not None else ""
    if not found:
        raise UsageError(f"{name}: not a DICOM keyword or tag", "write PatientID=... or 0010,0020=...")
    return found


def _folded() -> dict[str, int]:
    from pydicom._dicom_dict import DicomDictionary

    return {entry[4].casefold(): tag for tag, entry in DicomDictionary.items() if entry[4]}


def identifier(level: Level, keys: Mapping[str, str]) -> Dataset:
    """Build the Identifier of a request: level, keys, and nothing else (PS3.4 C.4.1.1.3).

    Parameters
    ----------
    keys : keyword or tag -> value; "" asks for the element to be returned.

    Raises
    ------
    UsageError
        A key is unknown or its value cannot be encoded.
    """
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "IMAGE" if level == "instance" else level.upper()
    for name, value in keys.items():
        known = keyword(name)
        vr = dictionary_VR(Tag(tag_for_keyword(known) or 0))
        if vr == "SQ":
            raise UsageError(f"{name}: a sequence cannot be matched", "name one of its elements")
        if value and not value.isascii():
            wanted.SpecificCharacterSet = "ISO_IR 192"
        try:
            setattr(wanted, known, value.split("\\") if "\\" in value else value)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{name}={value}: not a value of VR {vr}: {error}") from error
    return wanted


def find(
    peer: Peer, level: Level = "study", keys: Mapping[str, str] | None = None, *, limit: int | None = None
) -> Iterator[Dataset]:
    """Ask a peer what matches; yield one data set for each match.

    Parameters
    ----------
    keys : keyword or tag -> value to match ("" matches all and is returned); the default return keys
        of the level are added.
    limit : stop, and tell the peer so (C-CANCEL), after this many matches.

    Raises
    ------
    UsageError
        A key is wrong.
    PeerError
        The peer refused or was lost.
    """
    asked = identifier(level, dict.fromkeys(DEFAULT_KEYS[level], "") | {keyword(k): v for k, v in (keys or {}).items()})
    model = model_for(level)
    with associate(peer, [build_context(model)]) as association:
        yield from find_on(peer, association, asked, model, limit=limit)


def model_for(level: Level) -> str:
    """Give the information model for a level: Patient Root for patients, Study Root for the rest."""
    return str(
        PatientRootQueryRetrieveInformationModelFind
        if level == "patient"
        else StudyRootQueryRetrieveInformationModelFind
    )


def find_on(
    peer: Peer, association: Association, asked: Dataset, model: str, *, limit: int | None = None
) -> Iterator[Dataset]:
    """Run one C-FIND on an open association; see :func:`find`."""
    matches = 0
    message_id = 1
    waited = time.monotonic()
    for answer, match in association.send_c_find(asked, model, msg_id=message_id):
        if "Status" not in answer:
            raise lost(peer, association, time.monotonic() - waited)
        kind = category(answer.Status)
        if kind in ("failure", "warning"):
            comment = answer.get("ErrorComment")
            raise StatusError(f"{peer}: C-FIND: {describe(answer.Status, comment)}", answer.Status)
        if kind == "pending" and match is not None and (limit is None or matches < limit):
            matches += 1
            yield match
            if matches == limit:
                # The rest is read and dropped: an association is only usable when its responses are.
                association.send_c_cancel(message_id, query_model=model)
        waited = time.monotonic()

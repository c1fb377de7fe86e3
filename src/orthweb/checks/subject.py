"""The synthetic test patient: made for one run, clearly named, and removed after it.

The patient ID carries the time of the run, so that a later run recognises what a killed one left behind.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydicom.dataset import Dataset

from orthweb.dicom import phantom

PATIENT_NAME = "ORTHWEB^VALIDATION"
PREFIX = "ORTHWEB-VALIDATION-"
LEFTOVER_AGE = timedelta(hours=1)
"""A patient of another run that is younger may belong to a run that is still going."""

_ID = re.compile(re.escape(PREFIX) + r"(\d{8}T\d{6}Z)-[0-9a-f]{16}")
_TIME = "%Y%m%dT%H%M%SZ"

SLICE_BYTES = 64 * 1024
BULK_INSTANCES = 12


def new_patient_id(now: datetime) -> str:
    """Make a patient ID (PS3.5, VR LO: at most 64 characters) that tells the time of its run."""
    return f"{PREFIX}{now.astimezone(UTC).strftime(_TIME)}-{secrets.token_hex(8)}"


def is_leftover(patient_id: str, now: datetime) -> bool:
    """Tell whether a patient ID is that of an earlier run that must be over by now."""
    match = _ID.fullmatch(patient_id)
    if match is None:
        return False
    started = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
    return now - started > LEFTOVER_AGE


@dataclass(frozen=True)
class Instance:
    """One instance of the test patient, as it was sent.

    Parameters
    ----------
    dataset : with File Meta Information.
    content : the DICOM file (PS3.10).
    """

    dataset: Dataset
    content: bytes

    @property
    def sop_instance(self) -> str:
        """SOP Instance UID."""
        return str(self.dataset.SOPInstanceUID)

    @property
    def study(self) -> str:
        """Study Instance UID."""
        return str(self.dataset.StudyInstanceUID)

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return str(self.dataset.SeriesInstanceUID)

    @property
    def pixels(self) -> bytes:
        """The value of Pixel Data (7FE0,0010)."""
        return bytes(self.dataset.PixelData)

    @property
    def path(self) -> str:
        """Where DICOMweb has it (PS3.18 10.4.1), below the DICOMweb root."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.sop_instance}"

    @property
    def orthanc_id(self) -> str:
        """Orthanc's id of the instance: SHA-1 over patient ID and UIDs (Orthanc Book, "Orthanc identifiers")."""
        text = "|".join((str(self.dataset.PatientID), self.study, self.series, self.sop_instance))
        digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324  an identifier, not a protection
        return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


@dataclass(frozen=True)
class TestPatient:
    """What one run sends.

    Parameters
    ----------
    patient_id : of this run.
    """

    patient_id: str
    __test__ = False

    def slices(self, purpose: str, count: int, size: int = SLICE_BYTES) -> list[Instance]:
        """Make CT slices of one series; each purpose has a study of its own."""
        study = phantom.PhantomStudy(f"{self.patient_id} {purpose}", PATIENT_NAME, self.patient_id)
        return [_instance(study.slice(number, size=size)) for number in range(1, count + 1)]

    def multiframe(self, purpose: str) -> Instance:
        """Make an image of two frames."""
        study = phantom.PhantomStudy(f"{self.patient_id} {purpose}", PATIENT_NAME, self.patient_id)
        return _instance(study.multiframe(1, size=2 * 512 * 512 * 2))


def _instance(dataset: Dataset) -> Instance:
    return Instance(dataset, phantom.encode(dataset))


def dataset_bytes(content: bytes) -> bytes:
    """Cut preamble and File Meta Information off a DICOM file: an archive may rewrite those, and nothing else.

    Raises
    ------
    ValueError : not a DICOM file (PS3.10 7.1), or without group length.
    """
    if content[128:132] != b"DICM" or content[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        raise ValueError("not a DICOM file")
    return content[144 + int.from_bytes(content[140:144], "little") :]

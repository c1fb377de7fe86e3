"""Synthetic images of a clearly named test patient: valid, deterministic, made without any real data.

The same seed gives the same UIDs and the same bytes, on every machine. The image is a disc of "tissue"
with noise in "air", so that a viewer shows something and compression finds something to do.
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
from array import array
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)

PATIENT_NAME = "Orthweb^Synthetic Phantom"
PATIENT_ID = "ORTHWEB-PHANTOM"

SLICE_SIZE = 512 * 512 * 2
"""Bytes of pixel data in a usual CT slice: 0.5 MB."""

MULTIFRAME_SIZE = 20 * 1024 * 1024
"""Bytes of pixel data in a large multi-frame object: 20 MB."""

_AIR = 24
_TISSUE = 1064


def uid(*parts: object) -> UID:
    """Derive a UID from anything, always the same (PS3.5 B.2: ``2.25.`` and a 128-bit number)."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:16]
    return UID(f"2.25.{int.from_bytes(digest, 'big')}")


@dataclass(frozen=True)
class PhantomStudy:
    """A study of the synthetic patient.

    Parameters
    ----------
    seed : decides all UIDs and pixels.
    """

    seed: str
    patient_name: str = PATIENT_NAME
    patient_id: str = PATIENT_ID
    description: str = "ORTHWEB SYNTHETIC TEST STUDY"

    @property
    def study_uid(self) -> UID:
        """Study Instance UID."""
        return uid(self.seed, "study")

    def series_uid(self, series: int) -> UID:
        """Series Instance UID of the series with this number."""
        return uid(self.seed, "series", series)

    def slice(self, number: int, *, series: int = 1, size: int = SLICE_SIZE) -> Dataset:
        """Make a CT slice (CT Image Storage, PS3.3 A.3) with about ``size`` bytes of pixels.

        Parameters
        ----------
        number : instance number, from 1; decides the SOP Instance UID.
        """
        side = max(16, math.isqrt(size // 2))
        image = self._base(CTImageStorage, "CT", series, number)
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.FrameOfReferenceUID = uid(self.seed, "frame of reference", series)
        image.PositionReferenceIndicator = ""
        image.ImagePositionPatient = [-side / 2, -side / 2, float(number)]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing = [1, 1]
        image.SliceThickness = 1
        image.KVP = 120
        image.AcquisitionNumber = 1
        image.RescaleIntercept = -1024
        image.RescaleSlope = 1
        image.WindowCenter = 40
        image.WindowWidth = 400
        self._pixels(image, side, 1)
        return image

    def multiframe(self, number: int, *, series: int = 2, size: int = MULTIFRAME_SIZE) -> Dataset:
        """Make a multi-frame object (Grayscale Word SC, PS3.3 A.8.4) with about ``size`` bytes of pixels."""
        side = 512
        image = self._base(MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "OT", series, number)
        image.ImageType = ["DERIVED", "SECONDARY"]
        image.ConversionType = "SYN"
        image.BurnedInAnnotation = "NO"
        image.PresentationLUTShape = "IDENTITY"
        image.RescaleIntercept = 0
        image.RescaleSlope = 1
        image.RescaleType = "US"
        image.NumberOfFrames = max(1, size // (side * side * 2))
        image.FrameIncrementPointer = 0x00181065
        image.FrameTimeVector = [100] * int(image.NumberOfFrames)
        self._pixels(image, side, int(image.NumberOfFrames))
        return image

    def _base(self, sop_class: UID, modality: str, series: int, number: int) -> Dataset:
        image = Dataset()
        image.SpecificCharacterSet = "ISO_IR 192"
        image.SOPClassUID = sop_class
        image.SOPInstanceUID = uid(self.seed, "instance", series, number)
        image.StudyDate = image.SeriesDate = image.ContentDate = "20200101"
        image.StudyTime = image.SeriesTime = image.ContentTime = "120000"
        image.AccessionNumber = "ORTHWEB"
        image.Modality = modality
        image.Manufacturer = "Orthweb"
        image.ReferringPhysicianName = ""
        image.StudyDescription = self.description
        image.SeriesDescription = "Synthetic phantom"
        image.PatientName = self.patient_name
        image.PatientID = self.patient_id
        image.PatientBirthDate = "19000101"
        image.PatientSex = "O"
        image.StudyInstanceUID = self.study_uid
        image.SeriesInstanceUID = self.series_uid(series)
        image.StudyID = "1"
        image.SeriesNumber = series
        image.InstanceNumber = number
        image.PatientOrientation = ""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = sop_class
        meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta = meta
        return image

    def _pixels(self, image: Dataset, side: int, frames: int) -> None:
        image.SamplesPerPixel = 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.Rows = image.Columns = side
        image.BitsAllocated = 16
        image.BitsStored = 12 if frames == 1 else 16
        image.HighBit = image.BitsStored - 1
        image.PixelRepresentation = 0
        image.PixelData = _disc(side, frames, str(image.SOPInstanceUID))


def _disc(side: int, frames: int, seed: str) -> bytes:
    """Draw a noisy disc: 16-bit little-endian pixels of all frames."""
    source = random.Random(seed)  # noqa: S311 - reproducible noise is wanted
    noise = array("H", (_TISSUE + value % 64 for value in source.randbytes(4 * side)))
    air = array("H", [_AIR]) * side
    tissue_bytes, air_bytes = _little_endian(noise), _little_endian(air)
    rows = []
    centre, radius = side / 2, side * 0.45
    offsets = [source.randrange(3 * side) for _ in range(side * frames)]
    half_widths = [int(math.sqrt(max(0.0, radius**2 - (y + 0.5 - centre) ** 2))) for y in range(side)]
    for line, offset in enumerate(offsets):
        half = half_widths[line % side]
        left = side // 2 - half
        rows.append(air_bytes[: 2 * left])
        rows.append(tissue_bytes[2 * offset : 2 * (offset + 2 * half)])
        rows.append(air_bytes[: 2 * (side - left - 2 * half)])
    return b"".join(rows)


def _little_endian(values: array[int]) -> bytes:
    copy = array("H", values)
    if sys.byteorder == "big":
        copy.byteswap()
    return copy.tobytes()


def encode(dataset: Dataset) -> bytes:
    """Give the DICOM file (PS3.10, Explicit VR Little Endian) of a data set."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def write(folder: Path, dataset: Dataset) -> Path:
    """Write a data set as ``<folder>/<SOP Instance UID>.dcm``; give the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    path.write_bytes(encode(dataset))
    return path

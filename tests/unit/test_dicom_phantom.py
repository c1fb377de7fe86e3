"""Synthetic images."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread
from pydicom.uid import UID

from orthweb.dicom import phantom


def test_slice_when_made_twice_from_one_seed_then_same_bytes() -> None:
    one, two = (phantom.encode(phantom.PhantomStudy("seed").slice(3)) for _ in range(2))
    assert one == two
    assert one != phantom.encode(phantom.PhantomStudy("seed").slice(4))
    assert one != phantom.encode(phantom.PhantomStudy("other").slice(3))


def test_slice_when_default_then_half_a_megabyte_that_reads_back() -> None:
    image = dcmread(BytesIO(phantom.encode(phantom.PhantomStudy("s").slice(1))))
    assert len(image.PixelData) == phantom.SLICE_SIZE == image.Rows * image.Columns * 2
    assert image.PatientID == phantom.PATIENT_ID
    assert UID(image.SOPInstanceUID).is_valid
    assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID


def test_slice_when_smaller_then_about_that_size() -> None:
    image = phantom.PhantomStudy("s").slice(1, size=20_000)
    assert 19_000 < len(image.PixelData) <= 20_000


def test_multiframe_when_default_then_twenty_megabytes_of_frames() -> None:
    image = phantom.PhantomStudy("s").multiframe(1)
    assert len(image.PixelData) == phantom.MULTIFRAME_SIZE == image.NumberOfFrames * image.Rows * image.Columns * 2


def test_slice_pixels_when_drawn_then_disc_in_air() -> None:
    image = phantom.PhantomStudy("s").slice(1)
    pixels = memoryview(image.PixelData).cast("H")
    side = image.Rows
    assert pixels[0] + image.RescaleIntercept == -1000
    assert 0 <= pixels[side // 2 * side + side // 2] + image.RescaleIntercept <= 200
    assert max(pixels) < 2**image.BitsStored

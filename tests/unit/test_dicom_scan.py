"""Finding DICOM by content."""

from __future__ import annotations

import os
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from orthweb.dicom import phantom
from orthweb.dicom.instance import Instance
from orthweb.dicom.scan import Kind, Skipped, scan
from orthweb.errors import UsageError

STUDY = phantom.PhantomStudy("scan")
CONTENT = phantom.encode(STUDY.slice(1, size=2048))


def kinds(*paths: Path) -> dict[str, Kind | None]:
    """Base name -> why it is skipped, None for an instance."""
    found = {}
    for thing in scan(list(paths)):
        name = thing.name if isinstance(thing, Skipped) else str(thing.source)
        found[name.rpartition("/")[2]] = thing.kind if isinstance(thing, Skipped) else None
    return found


def data_set(content: bytes) -> bytes:
    """Everything after the File Meta Information."""
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def test_scan_when_folder_holds_all_sorts_then_content_decides_not_names(tmp_path: Path) -> None:
    (tmp_path / "image.txt").write_bytes(CONTENT)
    (tmp_path / "IM0001").write_bytes(phantom.encode(STUDY.slice(2, size=2048)))
    (tmp_path / "notes.dcm").write_text("just text, longer than a preamble" * 10)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "meta-only").write_bytes(CONTENT[: -len(data_set(CONTENT))])
    (tmp_path / "cut-in-meta").write_bytes(CONTENT[:200])
    assert kinds(tmp_path) == {
        "image.txt": None,
        "IM0001": None,
        "notes.dcm": Kind.NOT_DICOM,
        "empty.dcm": Kind.DAMAGED,
        "empty": Kind.NOT_DICOM,
        "meta-only": Kind.DAMAGED,
        "cut-in-meta": Kind.DAMAGED,
    }


def test_scan_when_instance_is_found_then_uids_and_offset_are_right(tmp_path: Path) -> None:
    path = phantom.write(tmp_path, STUDY.slice(1, size=2048))
    (found,) = scan([path])
    assert isinstance(found, Instance)
    image = STUDY.slice(1, size=2048)
    assert found.sop_class == image.SOPClassUID
    assert found.sop_instance == image.SOPInstanceUID
    assert found.transfer_syntax == image.file_meta.TransferSyntaxUID
    assert path.read_bytes()[found.offset :] == data_set(CONTENT)
    assert found.complete


def test_scan_when_preamble_is_missing_then_still_an_instance(tmp_path: Path) -> None:
    (tmp_path / "bare").write_bytes(data_set(CONTENT))
    (tmp_path / "meta-no-preamble").write_bytes(CONTENT[132:])
    bare, meta = scan([tmp_path])
    assert isinstance(bare, Instance)
    assert isinstance(meta, Instance)
    assert (bare.offset, bare.complete) == (0, False)
    assert bare.transfer_syntax == meta.transfer_syntax == "1.2.840.10008.1.2.1"
    assert bare.sop_instance == meta.sop_instance == STUDY.slice(1, size=2048).SOPInstanceUID
    assert meta.length == len(data_set(CONTENT))


def test_scan_when_meta_lacks_uids_then_the_data_set_gives_them(tmp_path: Path) -> None:
    image = STUDY.slice(1, size=2048)
    del image.file_meta.MediaStorageSOPInstanceUID
    del image.file_meta.MediaStorageSOPClassUID
    from pydicom import dcmwrite

    buffer = BytesIO()
    dcmwrite(buffer, image, enforce_file_format=False)
    (tmp_path / "x").write_bytes(buffer.getvalue())
    (found,) = scan([tmp_path])
    assert isinstance(found, Instance)
    assert found.sop_instance == image.SOPInstanceUID


def test_scan_when_dicomdir_then_skipped_as_such() -> None:
    path = get_testdata_file("DICOMDIR")
    assert path is not None
    (found,) = scan([Path(str(path))])
    assert isinstance(found, Skipped)
    assert found.kind is Kind.DIRECTORY


def test_scan_when_links_loop_or_dangle_and_devices_lie_about_then_it_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real").write_bytes(CONTENT)
    (tmp_path / "same").symlink_to(tmp_path / "real")
    found = kinds(tmp_path)
    assert found == {"dangling": Kind.UNREADABLE, "pipe": Kind.NOT_DICOM, "real": None}


def test_scan_when_arguments_overlap_then_each_file_once(tmp_path: Path) -> None:
    path = phantom.write(tmp_path / "a", STUDY.slice(1, size=2048))
    assert len(list(scan([tmp_path, tmp_path / "a", path]))) == 1


def test_scan_when_path_does_not_exist_then_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        list(scan([tmp_path / "nowhere"]))


def test_scan_when_zip_in_a_folder_then_members_are_instances(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.dat", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1", CONTENT)
        archive.writestr("readme", "text")
        archive.writestr("nested.zip", b"PK\x03\x04" + b"0" * 100)
    found = {t.name if isinstance(t, Skipped) else str(t.source): t for t in scan([tmp_path])}
    instance = found[f"{tmp_path}/export.dat!a/1"]
    assert isinstance(instance, Instance)
    assert instance.source.size == len(CONTENT)
    with instance.source.open() as file:
        assert file.read() == CONTENT
    nested = found[f"{tmp_path}/export.dat!nested.zip"]
    assert isinstance(nested, Skipped)
    assert "unpack it first" in nested.reason


def test_scan_when_zip_member_is_a_bomb_then_refused_without_unpacking(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", CONTENT + b"\0" * (80 * 1024 * 1024))
    (found,) = scan([tmp_path])
    assert isinstance(found, Skipped)
    assert found.kind is Kind.UNREADABLE
    assert "bomb" in found.reason


def test_scan_when_zip_is_damaged_or_encrypted_then_unreadable(tmp_path: Path) -> None:
    good = BytesIO()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("a", CONTENT)
    (tmp_path / "cut.zip").write_bytes(good.getvalue()[:-30])
    raw = bytearray(good.getvalue())
    raw[6] |= 1  # the encryption flag, in the local header and in the central directory
    raw[raw.rfind(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(raw)
    found = {t.name.rpartition("/")[2]: t for t in scan([tmp_path]) if isinstance(t, Skipped)}
    assert found["cut.zip"].kind is Kind.UNREADABLE
    assert "encrypted" in found["secret.zip!a"].reason


def test_scan_when_file_cannot_be_read_then_unreadable() -> None:
    # Opens for everyone, root too, and gives an I/O error at its start.
    (found,) = scan([Path("/proc/self/mem")])
    assert isinstance(found, Skipped)
    assert found.kind is Kind.UNREADABLE

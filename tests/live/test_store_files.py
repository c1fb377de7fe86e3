"""The plugin's folder of files beside Orthanc's own: whichever wrote a file, the other reads and deletes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live.bare_orthanc import BareOrthanc, bare_orthanc
from orthweb.dicom.phantom import SLICE_SIZE, PhantomStudy, encode

OWN = [encode(PhantomStudy(f"orthanc's own {number}").multiframe(1, size=3 * SLICE_SIZE)) for number in range(2)]
PLUGIN = encode(PhantomStudy("plugin").multiframe(1, size=3 * SLICE_SIZE))
NOTE = b"somebody's own attachment"
FIRST_OF_PEOPLE = 1024
"""The smallest type that people may give to attachments of their own."""


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def orthanc(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BareOrthanc]:
    with bare_orthanc(tmp_path, orthweb={"Store": "filesystem"}, StorageCompression=request.param) as made:
        yield made


def store(orthanc: BareOrthanc, file: bytes) -> str:
    """Store an instance and a note beside it; give Orthanc's name for it."""
    with orthanc.client() as http:
        stored = http.post("/instances", content=file).raise_for_status().json()
        assert stored["Status"] == "Success"
        name = str(stored["ID"])
        http.put(f"/instances/{name}/attachments/{FIRST_OF_PEOPLE}", content=NOTE).raise_for_status()
    return name


def restart(orthanc: BareOrthanc, *, files: bool) -> None:
    """Start again, with the plugin's folder or with Orthanc's own."""
    orthanc.stop()
    orthanc.change(Files=files)
    orthanc.start()


def read(orthanc: BareOrthanc, name: str, file: bytes) -> None:
    """Read all there is of an instance: file, note, tags, one frame, metadata."""
    with orthanc.client() as http:
        assert http.get(f"/instances/{name}/file").content == file
        assert http.get(f"/instances/{name}/attachments/{FIRST_OF_PEOPLE}/data").content == NOTE
        tags = http.get(f"/instances/{name}/simplified-tags").raise_for_status().json()
        assert tags["NumberOfFrames"] == "3"
        assert http.get(f"/instances/{name}/frames/2/raw").content == file[-SLICE_SIZE:]
        [metadata] = http.get(f"/dicom-web/studies/{tags['StudyInstanceUID']}/metadata").raise_for_status().json()
        assert metadata["00080018"]["Value"] == [tags["SOPInstanceUID"]]
        for attachment in http.get(f"/instances/{name}/attachments").raise_for_status().json():
            http.post(f"/instances/{name}/attachments/{attachment}/verify-md5").raise_for_status()


def delete(orthanc: BareOrthanc, name: str) -> None:
    """Delete an instance."""
    with orthanc.client() as http:
        http.delete(f"/instances/{name}").raise_for_status()


def test_instance_when_the_plugins_folder_is_switched_on_and_off_then_both_read_and_delete_what_either_wrote(
    orthanc: BareOrthanc,
) -> None:
    kept, deleted = store(orthanc, OWN[0]), store(orthanc, OWN[1])
    restart(orthanc, files=True)
    read(orthanc, kept, OWN[0])
    delete(orthanc, deleted)
    written = store(orthanc, PLUGIN)
    restart(orthanc, files=False)
    read(orthanc, kept, OWN[0])
    read(orthanc, written, PLUGIN)
    delete(orthanc, kept)
    delete(orthanc, written)
    assert [path for path in (orthanc.folder / "files").rglob("*") if path.is_file()] == []

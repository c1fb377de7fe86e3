"""Telling whole data sets from truncated and garbled ones."""

from __future__ import annotations

import os
import warnings
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthweb.dicom import phantom
from orthweb.dicom.instance import ChangedError, Instance
from orthweb.dicom.integrity import GARBLED, IN_MEMORY, TRUNCATED, DamagedError, damage, whole
from orthweb.dicom.scan import scan

EXPLICIT = "1.2.840.10008.1.2.1"
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
KNOWN_DAMAGED = {"MR_truncated.dcm", "rtplan_truncated.dcm", "SC_rgb_jpeg.dcm"}
"""The first two as their names say; the third is Implicit VR under a transfer syntax with Explicit VR."""

CONTENT = phantom.encode(phantom.PhantomStudy("integrity").slice(1, size=1024))
DATA_SET = CONTENT[144 + int.from_bytes(CONTENT[140:144], "little") :]


def boundaries() -> set[int]:
    """Offsets in DATA_SET at which one top-level element ends."""
    found, position = {0}, 0
    while position < len(DATA_SET):
        vr = DATA_SET[position + 4 : position + 6]
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            length = int.from_bytes(DATA_SET[position + 8 : position + 12], "little") + 12
        else:
            length = int.from_bytes(DATA_SET[position + 6 : position + 8], "little") + 8
        position += length
        found.add(position)
    return found


@pytest.mark.parametrize("name", sorted(p.name for p in BUNDLED.iterdir() if p.suffix == ".dcm"))
def test_whole_when_real_file_then_only_the_damaged_are_refused(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [thing for thing in scan([BUNDLED / name]) if isinstance(thing, Instance)]
    for instance in found:
        if name in KNOWN_DAMAGED:
            with pytest.raises(DamagedError), whole(instance):
                pass
        else:
            with whole(instance) as file:
                assert file.read() == (BUNDLED / name).read_bytes()[instance.offset :]


@given(st.integers(min_value=1, max_value=len(DATA_SET) - 1))
def test_damage_when_cut_anywhere_but_between_elements_then_truncated(length: int) -> None:
    expected = None if length in boundaries() else TRUNCATED
    assert damage(DATA_SET[:length], length, EXPLICIT) == expected
    assert damage(BytesIO(DATA_SET[:length]), length, EXPLICIT) == expected


@given(st.binary(min_size=1, max_size=4096), st.sampled_from([EXPLICIT, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"]))
@settings(max_examples=300)
def test_damage_when_any_bytes_then_an_answer_and_no_exception(content: bytes, syntax: str) -> None:
    found = damage(content, len(content), syntax)
    assert found in (None, TRUNCATED, GARBLED)
    assert damage(BytesIO(content), len(content), syntax) == found


def test_damage_when_sequences_nest_too_deep_then_garbled_not_a_stack_overflow() -> None:
    level = bytes.fromhex("08004011 5351 0000 ffffffff feff00e0 ffffffff")
    assert damage(BytesIO(level * 5000), len(level) * 5000, EXPLICIT) == GARBLED


def test_whole_when_larger_than_memory_is_spent_on_then_streamed_and_judged_too(tmp_path: Path) -> None:
    path = phantom.write(tmp_path, phantom.PhantomStudy("x").multiframe(1, size=IN_MEMORY + 600_000))
    (instance,) = scan([path])
    assert isinstance(instance, Instance)
    with whole(instance) as file:
        assert file.read() == path.read_bytes()[instance.offset :]
    os.truncate(path, path.stat().st_size - 1)
    (instance,) = scan([path])
    assert isinstance(instance, Instance)
    with pytest.raises(DamagedError, match="truncated"), whole(instance):
        pass


def test_whole_when_file_changes_after_it_was_found_then_said_so(tmp_path: Path) -> None:
    path = phantom.write(tmp_path, phantom.PhantomStudy("x").slice(1, size=1024))
    (instance,) = scan([path])
    assert isinstance(instance, Instance)
    os.truncate(path, 600)
    with pytest.raises(ChangedError, match="changed"), whole(instance):
        pass

"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orthweb.files import write_whole


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_write_whole_when_a_link_lies_under_the_temporary_name_then_it_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".settings.part").symlink_to(victim)
    write_whole(tmp_path / "settings", b"new")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "settings").is_symlink()
    assert (tmp_path / "settings").read_bytes() == b"new"


def test_write_whole_when_the_name_itself_is_a_link_then_the_link_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "settings").symlink_to(victim)
    write_whole(tmp_path / "settings", b"new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "settings").read_bytes() == b"new"


def test_write_whole_when_another_name_of_a_left_over_part_exists_then_that_file_keeps_its_content(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".settings.part").hardlink_to(victim)
    write_whole(tmp_path / "settings", b"new")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("failing", ["fsync", "fchmod"])
def test_write_whole_when_it_fails_half_way_then_the_old_content_stays_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "settings"
    write_whole(path, b"old")

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings"]


def test_write_whole_when_the_process_dies_before_the_file_has_its_name_then_the_old_content_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings"
    write_whole(path, b"old")
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "fsync", lambda _descriptor: os._exit(9))
        write_whole(path, b"half")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings"]


@pytest.mark.parametrize("wanted", [0o600, 0o640, 0o644])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_write_whole_whatever_the_umask_then_the_mode_is_the_one_asked_for(
    tmp_path: Path, mask: int, wanted: int
) -> None:
    with umask(mask):
        write_whole(tmp_path / "settings", b"", wanted)
    assert mode(tmp_path / "settings") == wanted


def test_write_whole_while_it_writes_then_nobody_else_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = os.fchmod

    def look(descriptor: int, wanted: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor, wanted)

    monkeypatch.setattr(os, "fchmod", look)
    with umask(0):
        write_whole(tmp_path / "settings", b"secret", 0o644)
    assert seen == [0o600]

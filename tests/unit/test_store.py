"""A store outside the state folder: whose it is, and what is deleted of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orthweb.errors import SiteFileError
from orthweb.targets.host import store
from orthweb.targets.host.store import MARK

SITE, OTHER = "0" * 32, "f" * 32


def test_store_that_does_not_exist_then_it_may_be_made(tmp_path: Path) -> None:
    assert store.problem(tmp_path / "new" / "store", "", "") is None


def test_store_that_is_empty_then_it_may_be_claimed(tmp_path: Path) -> None:
    assert store.problem(tmp_path, "", "") is None
    assert store.problem(tmp_path, SITE, "") is None


@pytest.mark.parametrize("name", ["lost+found", f".{MARK}.part"])
def test_store_with_what_an_empty_disk_or_a_killed_call_leaves_then_it_may_be_claimed(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    assert store.problem(tmp_path, SITE, "") is None


@pytest.mark.parametrize("name", ["patients.xlsx", "00", ".hidden"])
@pytest.mark.parametrize("site", ["", SITE])
def test_store_with_something_in_it_then_it_is_refused(tmp_path: Path, name: str, site: str) -> None:
    (tmp_path / name).touch()
    assert "is not empty" in (store.problem(tmp_path, site, "") or "")


def test_store_that_is_a_file_then_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.touch()
    assert store.problem(path, SITE, "") == f"{path}: Not a directory"


def test_store_that_was_claimed_then_its_site_alone_may_use_it(tmp_path: Path) -> None:
    store.claim(tmp_path, SITE)
    (tmp_path / "ab").mkdir()
    assert store.problem(tmp_path, SITE, str(tmp_path)) is None
    assert store.problem(tmp_path, SITE, "") is None
    for stranger in (OTHER, ""):
        assert "is the store of another site" in (store.problem(tmp_path, stranger, "") or "")


def test_store_without_its_mark_when_it_was_claimed_then_it_asks_whether_the_disk_is_mounted(tmp_path: Path) -> None:
    assert "is its disk mounted?" in (store.problem(tmp_path, SITE, str(tmp_path)) or "")
    assert "is its disk mounted?" in (store.problem(tmp_path / "gone", SITE, str(tmp_path / "gone")) or "")


def test_store_that_is_to_be_elsewhere_then_the_old_place_and_the_mark_are_named(tmp_path: Path) -> None:
    found = store.problem(tmp_path / "new", SITE, str(tmp_path / "old")) or ""
    assert str(tmp_path / "old") in found
    assert MARK in found


def test_store_that_was_moved_with_its_mark_then_it_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    store.claim(tmp_path / "old", SITE)
    (tmp_path / "old").rename(tmp_path / "new")
    assert store.problem(tmp_path / "new", SITE, str(tmp_path / "old")) is None


def test_check_when_the_folder_is_refused_then_the_error_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(SiteFileError, match=r"^store\.path: .*: is not empty"):
        store.check(tmp_path, SITE, "")


@pytest.mark.timeout(10)
def test_mark_that_is_a_pipe_then_nobody_waits_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MARK)
    assert store.problem(tmp_path, SITE, str(tmp_path)) is not None


def test_mark_that_is_a_link_then_it_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(SITE)
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / MARK).symlink_to(tmp_path / "elsewhere")
    assert "is not empty" in (store.problem(folder, SITE, "") or "")
    assert not store.delete(folder, SITE)
    store.claim(folder, OTHER)
    assert (tmp_path / "elsewhere").read_text() == SITE


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_make_whatever_the_umask_then_the_store_is_closed_and_nobody_else_may_change_what_is_above(
    tmp_path: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        store.make(tmp_path / "srv" / "images" / "dicom")
    finally:
        os.umask(before)
    names = ("srv", "srv/images", "srv/images/dicom")
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names] == [0o755, 0o755, 0o700 & ~mask]


def _filled(path: Path) -> Path:
    """Make a store with files of Orthanc's and of somebody else's."""
    for name in ("0a/ff", "e3/00", "lost+found", "notes", "abc"):
        (path / name).mkdir(parents=True)
        (path / name / "file").write_text("x")
    (path / "readme.txt").write_text("x")
    return path


def test_delete_then_what_orthanc_made_is_gone_and_everything_else_stays(tmp_path: Path) -> None:
    _filled(tmp_path)
    store.claim(tmp_path, SITE)
    assert store.delete(tmp_path, SITE)
    assert {entry.name for entry in tmp_path.iterdir()} == {"lost+found", "notes", "abc", "readme.txt"}
    assert (tmp_path / "notes" / "file").exists()


@pytest.mark.parametrize("mark", [None, OTHER])
def test_delete_when_the_mark_is_not_this_sites_then_nothing_is_deleted(tmp_path: Path, mark: str | None) -> None:
    _filled(tmp_path)
    if mark:
        store.claim(tmp_path, mark)
    before = sorted(tmp_path.rglob("*"))
    assert not store.delete(tmp_path, SITE)
    assert sorted(tmp_path.rglob("*")) == before


def test_delete_when_the_site_has_no_identity_then_an_unmarked_folder_stays(tmp_path: Path) -> None:
    _filled(tmp_path)
    assert not store.delete(tmp_path, "")
    assert (tmp_path / "0a" / "ff" / "file").exists()


def test_delete_when_a_link_has_the_name_of_orthancs_folder_then_what_it_points_to_stays(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    _filled(victim)
    folder = tmp_path / "store"
    folder.mkdir()
    store.claim(folder, SITE)
    (folder / "ab").symlink_to(victim)
    assert store.delete(folder, SITE)
    assert (victim / "0a" / "ff" / "file").exists()


def test_delete_of_a_store_with_nothing_else_in_it_then_the_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    (folder / "00" / "11").mkdir(parents=True)
    store.claim(folder, SITE)
    assert store.delete(folder, SITE)
    assert not folder.exists()


def test_delete_of_a_store_that_is_gone_then_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert store.delete(tmp_path / "gone", SITE)


def test_holds_files_when_orthanc_stored_something_then_true(tmp_path: Path) -> None:
    assert not store.holds_files(tmp_path / "gone")
    store.claim(tmp_path, SITE)
    assert not store.holds_files(tmp_path)
    (tmp_path / "0f").mkdir()
    assert store.holds_files(tmp_path)


def test_store_outside_whose_disk_is_not_mounted_then_it_may_hold_files(tmp_path: Path) -> None:
    store.claim(tmp_path, SITE)
    assert not store.may_hold_files(tmp_path, SITE, outside=True)
    assert store.may_hold_files(tmp_path / "away", SITE, outside=True)
    assert not store.may_hold_files(tmp_path / "never made", SITE, outside=False)
    (tmp_path / "0a").mkdir()
    assert store.may_hold_files(tmp_path, SITE, outside=True)

"""The folder with Orthanc's files, as the plugin keeps it."""

from __future__ import annotations

import importlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

UUID = "285da0d6-472e-4488-9dd8-493175ca48dd"


@pytest.fixture
def files() -> Any:
    return importlib.import_module("files")


@pytest.fixture
def folder(files: Any, tmp_path: Path) -> Any:
    return files.Folder(tmp_path)


def test_file_when_written_then_lies_where_orthanc_looks_for_it(folder: Any, tmp_path: Path) -> None:
    folder.create(UUID, 1, b"content")
    assert (tmp_path / "28" / "5d" / UUID).read_bytes() == b"content"
    assert folder.read(UUID, 1) == b"content"


def test_file_when_removed_then_its_empty_folders_go_too_and_others_stay(folder: Any, tmp_path: Path) -> None:
    other = "28" + UUID[2:].replace("5d", "6e", 1)
    folder.create(UUID, 1, b"")
    folder.create(other, 1, b"")
    folder.remove(UUID, 1)
    assert [path.name for path in (tmp_path / "28").iterdir()] == ["6e"]
    folder.remove(other, 1)
    folder.remove(other, 1)
    assert list(tmp_path.iterdir()) == []


def test_file_when_the_disk_is_full_then_nothing_of_it_stays(
    folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.create(UUID, 1, b"content")
    assert not folder.path(UUID).exists()


def test_file_when_it_is_gone_then_the_error_is_one_line_that_names_it(files: Any, folder: Any) -> None:
    with pytest.raises(OSError, match=f"^read {UUID}: No such file or directory$") as raised:
        files.plainly(folder.read)(UUID, 1)
    assert raised.value.__context__ is None


def test_file_when_there_is_one_of_that_name_then_it_is_not_touched(folder: Any) -> None:
    folder.create(UUID, 1, b"first")
    with pytest.raises(FileExistsError):
        folder.create(UUID, 1, b"second")
    assert folder.read(UUID, 1) == b"first"


def test_store_when_it_is_gone_then_said_and_not_made_anew(folder: Any, tmp_path: Path) -> None:
    tmp_path.rmdir()
    with pytest.raises(FileNotFoundError, match="the store is gone"):
        folder.create(UUID, 1, b"")
    assert not tmp_path.exists()


def test_files_when_written_and_removed_in_one_folder_at_once_then_none_is_lost(folder: Any) -> None:
    names = [f"{UUID[:-2]}{number:02d}" for number in range(40)]
    errors: list[BaseException] = []

    def work(mine: list[str]) -> None:
        try:
            for _ in range(20):
                for name in mine:
                    folder.create(name, 1, b"x")
                    folder.remove(name, 1)
            folder.create(mine[0], 1, b"kept")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(names[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [folder.read(name, 1) for name in names[:4]] == [b"kept"] * 4


def test_folder_when_it_is_a_link_that_leads_nowhere_then_said(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "28").symlink_to(tmp_path / "unmounted" / "28")
    with pytest.raises(FileNotFoundError, match="leads nowhere"):
        folder.create(UUID, 1, b"")

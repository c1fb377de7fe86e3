"""The store in a folder: Orthanc's layout, whole files, and no link that is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthweb.store.attachment import Attachment, Source, StoreError
from orthweb.store.filesystem import FilesystemStore

NAME = "0a1b2c3d-0000-4000-8000-000000000001"


def put(store: FilesystemStore, name: str = NAME, body: bytes = b"content") -> None:
    attachment = Attachment(name, 1, len(body), "")
    store.write(attachment, Source(store, attachment, "", len(body), body))


def test_file_that_is_written_then_it_lies_where_orthanc_looks_and_is_its_owners_alone(tmp_path: Path) -> None:
    put(FilesystemStore(tmp_path))
    path = tmp_path / "0a" / "1b" / NAME
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_writing_that_fails_then_nothing_is_left_and_the_old_file_is_as_it_was(tmp_path: Path) -> None:
    class Broken(FilesystemStore):
        def read(self, uuid: str, file_type: int) -> Iterator[bytes]:
            yield b"half"
            raise OSError(5, "Input/output error")

    store = Broken(tmp_path)
    put(store)
    attachment = Attachment(NAME, 1, 8, "")
    with pytest.raises(StoreError, match="cannot be written: Input/output error"):
        store.write(attachment, Source(store, attachment, "", 8, None))
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"content"]


def test_things_of_other_names_then_they_are_counted_and_not_listed(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store)
    for strange in (".orthweb-store", "lost+found", "notes.txt", f"0a/{NAME}", f"0a/1b/{NAME}.dcm", "0a/1b/readme"):
        (tmp_path / strange).write_bytes(b"x")
    misplaced = tmp_path / "ff" / "ff" / NAME
    misplaced.parent.mkdir(parents=True)
    misplaced.write_bytes(b"x")
    assert [item.uuid for item in store.listing()] == [NAME]
    assert store.foreign == 5


@pytest.mark.parametrize("where", ["file", "second", "first"])
def test_link_in_a_place_of_ours_then_it_is_neither_listed_read_written_nor_removed(tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    (outside / "1b").mkdir(parents=True)
    secret = outside / "1b" / NAME
    secret.write_bytes(b"secret")
    folder = tmp_path / "store"
    store = FilesystemStore(folder)
    link = {"file": folder / "0a" / "1b" / NAME, "second": folder / "0a" / "1b", "first": folder / "0a"}[where]
    link.parent.mkdir(parents=True)
    link.symlink_to({"file": secret, "second": outside / "1b", "first": outside}[where])
    assert list(store.listing()) == []
    with pytest.raises((OSError, StoreError)):
        list(store.read(NAME, 1))
    assert store.size(NAME, 1) is None
    if where == "file":
        put(store)  # replaces the link itself
        assert not link.is_symlink()
        store.remove(NAME, 1)
    else:
        with pytest.raises(StoreError):
            put(store)
        with pytest.raises(OSError):
            store.remove(NAME, 1)
    assert secret.read_bytes() == b"secret"


def test_prune_then_empty_folders_and_half_files_go_and_everything_else_stays(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store)
    other = "ffffffff-0000-4000-8000-000000000001"
    put(store, other)
    (tmp_path / "ff" / "ff" / f".{other}.part").write_bytes(b"half")
    (tmp_path / "ff" / "ff" / "notes").write_bytes(b"somebody's")
    store.remove(NAME, 1)
    store.prune()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        f"ff/ff/{other}",
        "ff/ff/notes",
    ]
    assert not (tmp_path / "0a").exists()


def test_folder_that_is_gone_then_the_message_asks_for_its_disk(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is the store's disk mounted"):
        list(FilesystemStore(tmp_path / "away").listing())


@pytest.mark.usefixtures("as_root")
def test_root_that_writes_then_the_files_belong_to_the_stores_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    put(FilesystemStore(tmp_path))
    for path in (tmp_path / "0a", tmp_path / "0a" / "1b", tmp_path / "0a" / "1b" / NAME):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)

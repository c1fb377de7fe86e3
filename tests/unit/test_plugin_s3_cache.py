"""The cache of the S3 store: whatever happens to its files, it gives the right content or none."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_store.cache import BLOCK, LEFT_OVER, SHARE, Cache

SIZE = 64 * BLOCK


class Kept:
    """A cache in a folder, and what it said."""

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.cache = Cache(folder, size, self.said.append)

    def put(self, key: str, content: bytes) -> None:
        self.cache.put(key, content, hashlib.sha256(content).hexdigest())

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "cache")


def _content(number: int) -> bytes:
    return bytes([number % 256]) * 2 * BLOCK


def test_get_when_an_object_was_put_then_it_is_given_also_after_a_restart(kept: Kept) -> None:
    kept.put("images/a.dcm", b"content")
    kept.put("images/empty.unk", b"")
    for cache in (kept.cache, Kept(kept.folder).cache):
        assert cache.get("images/a.dcm") == b"content"
        assert cache.get("images/empty.unk") == b""
        assert cache.get("images/b.dcm") is None


def test_put_when_the_cache_is_full_then_what_was_used_longest_ago_goes(kept: Kept) -> None:
    for number in range(15):
        kept.put(str(number), _content(number))
        assert kept.cache.get("0") == _content(0)
    for number in range(15, 40):
        kept.put(str(number), _content(number))
        assert kept.cache.get("0") == _content(0)
    assert kept.cache.get("1") is None
    assert kept.cache.get("39") == _content(39)
    assert sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in kept.files()) == kept.cache.used <= SIZE


def test_start_when_the_folder_holds_more_than_it_may_then_the_oldest_files_go(kept: Kept) -> None:
    for number in range(20):
        kept.put(str(number), _content(number))
        os.utime(max(kept.files(), key=lambda path: path.stat().st_ctime_ns), (number, number))
    smaller = Kept(kept.folder, 8 * SHARE * BLOCK // 4)
    assert smaller.cache.used <= 16 * BLOCK
    assert smaller.cache.get("19") == _content(19)
    assert smaller.cache.get("0") is None


def test_put_when_an_object_is_too_large_then_it_is_not_kept(kept: Kept) -> None:
    kept.put("small", b"1")
    kept.put("large", bytes(SIZE // SHARE))
    assert kept.cache.get("large") is None
    assert kept.cache.get("small") == b"1"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "zeros"])
def test_get_when_the_file_is_damaged_then_it_is_dropped(kept: Kept, damage: str) -> None:
    kept.put("a", bytes(range(200)))
    (file,) = kept.files()
    whole = file.read_bytes()
    changed = {
        "flip": whole[:-1] + bytes([whole[-1] ^ 1]),
        "cut": whole[:-7],
        "empty": b"",
        "zeros": bytes(len(whole)),
    }
    file.write_bytes(changed[damage])
    assert kept.cache.get("a") is None
    assert not kept.files()
    assert kept.cache.used == 0


def test_get_when_the_file_is_gone_then_there_is_none(kept: Kept) -> None:
    kept.put("a", b"content")
    kept.files()[0].unlink()
    assert kept.cache.get("a") is None
    assert kept.cache.used == 0


def test_drop_when_an_object_was_put_then_it_is_gone_from_the_disk(kept: Kept) -> None:
    kept.put("a", b"content")
    kept.cache.drop("a")
    kept.cache.drop("a")
    assert not kept.files()
    assert kept.cache.used == 0


def test_start_when_a_process_died_while_it_wrote_then_its_unfinished_file_goes_in_time(kept: Kept) -> None:
    old, new = (kept.folder / "00" / f"{name}.part" for name in ("1-0", "1-1"))
    for path in (old, new):
        path.write_bytes(b"half")
    past = time.time() - 2 * LEFT_OVER
    os.utime(old, (past, past))
    Kept(kept.folder)
    assert kept.files() == [new], "a process that lives may be writing the younger one"


def test_put_when_the_disk_is_full_then_it_says_so_once_and_goes_on(kept: Kept) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses to write further than this, in the middle of a file, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for number in range(3):
            kept.put(str(number), _content(number))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not kept.files()
    assert len(kept.said) == 1
    kept.put("a", b"content")
    assert kept.cache.get("a") == b"content"
    assert len(kept.said) == 2


def test_start_when_the_folder_cannot_be_made_then_it_works_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file" / "cache")
    kept.put("a", b"content")
    assert kept.cache.get("a") is None
    assert len(kept.said) == 1


def test_folder_when_it_is_made_then_nobody_else_can_read_it(kept: Kept) -> None:
    kept.put("a", b"content")
    assert kept.files()[0].parent.stat().st_mode & 0o077 == 0


def test_two_caches_when_they_share_a_folder_and_threads_use_both_then_no_content_is_wrong(kept: Kept) -> None:
    caches = [kept, Kept(kept.folder)]
    start = threading.Barrier(8)

    def work(worker: int) -> int:
        start.wait()
        found = 0
        mine = caches[worker % 2]
        for turn in range(150):
            number = (worker * 7 + turn) % 50
            content = mine.cache.get(str(number))
            if content is None:
                mine.put(str(number), _content(number))
            else:
                assert content == _content(number)
                found += 1
            if turn % 20 == 0:
                mine.cache.drop(str(number))
        return found

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) > 0
    assert not kept.said
    assert sum(path.stat().st_size for path in kept.files()) <= 2 * SIZE
    assert not [path for path in kept.files() if path.suffix == ".part"]

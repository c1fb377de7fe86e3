"""The store is full or read-only, or the whole disk is full: refusals are plain, and nothing acknowledged is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from live.bare_orthanc import bare_orthanc
from live.counting import Sample, account, answers, client, eventually, samples, sending
from live.sites import LiveSite, live_site
from orthweb.dicom.phantom import SLICE_SIZE

pytestmark = pytest.mark.usefixtures("as_root")
"""Mounting is for root."""

MEBIBYTE = 1024**2


class Disk:
    """A small disk (tmpfs) at a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def change(self, *options: str) -> None:
        subprocess.run(["mount", "-o", ",".join(("remount", *options)), self.folder], check=True)


@contextmanager
def disk(folder: Path, mebibytes: int) -> Iterator[Disk]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0755", "tmpfs", folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return samples(tmp_path_factory.mktemp("slices"), 60, seed="store", size=SLICE_SIZE)


@pytest.fixture
def small_store() -> Iterator[tuple[LiveSite, Disk]]:
    """A site whose store is a disk of its own, with room for about forty slices."""
    with live_site(up=False) as made, disk(made.folder / "small", 22) as store:
        made.write(store={"path": "small/store"})
        made.orthweb("up")
        yield made, store
        made.orthweb("down")


def test_full_store_during_a_send_then_the_rest_is_refused_and_what_was_acknowledged_is_there(
    small_store: tuple[LiveSite, Disk], slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    site, store = small_store
    with sending(site, slices, patience=0) as send:
        pass
    assert 20 < len(send.acknowledged) < 44, str(send)
    # 0xA7xx, "Refused: Out of resources" (PS3.4 B.2.3): a sender may try again later.
    assert {status & 0xFF00 for status in send.statuses} == {0, 0xA700}, str(send)
    assert send.lost_associations == 0
    found = account(site, slices, send.acknowledged)
    record_property("account", f"store full: {send}; {found}")
    assert found.kept, str(found)
    assert found.unacknowledged_found == 0

    said = site.orthweb("dicom", "send", "--retry-for", "2", str(slices[0].path.parent), check=False, timeout=60)
    assert said.returncode == 1
    assert "lack of resources" in said.stderr
    assert _over_http(site, slices[-1]) == (503, 503)
    site.orthweb("up")

    store.change("size=200m")
    with sending(site, slices, patience=0) as again:
        pass
    assert len(again.acknowledged) == len(slices), str(again)
    assert account(site, slices, again.acknowledged).kept


def test_disk_that_is_full_before_a_file_is_whole_then_it_is_refused_and_nothing_of_it_stays(tmp_path: Path) -> None:
    large = samples(tmp_path / "large", 1, seed="does not fit", size=6 * MEBIBYTE)
    fits = samples(tmp_path / "fits", 1, seed="fits", size=2 * MEBIBYTE)
    # "elsewhere": nobody looks after a reserve, so that the disk fills up in the middle of the file.
    with bare_orthanc(tmp_path, start=False, orthweb={"Store": "elsewhere", "Files": True}) as orthanc:
        store = orthanc.folder / "files"
        with disk(store, 3):
            orthanc.start()
            with sending(orthanc.peer, large, patience=0) as refused:
                pass
            assert [status & 0xFF00 for status in refused.statuses] == [0xA700], str(refused)
            assert not [path for path in store.rglob("*") if path.is_file()]
            assert ": No space left on device" in orthanc.said()
            with sending(orthanc.peer, fits, patience=0) as taken:
                pass
            assert len(taken.acknowledged) == 1, str(taken)


def test_read_only_store_during_a_send_then_the_rest_is_refused_and_nothing_is_lost(
    small_store: tuple[LiveSite, Disk], slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    site, store = small_store
    with sending(site, slices, patience=0) as send:
        send.wait_for(5)
        eventually(lambda: _remount(store, "ro"), 10, "the store is always busy")
    assert 5 <= len(send.acknowledged) < 40, str(send)
    assert {status & 0xFF00 for status in send.statuses} == {0, 0xA700}, str(send)
    said = site.orthweb("up", check=False)
    assert said.returncode == 2
    assert f"store.path: {store.folder / 'store'}: Read-only file system" in said.stderr
    assert answers(site), "a running site that cannot be changed goes on"
    assert _over_http(site, slices[-1]) == (503, 503)
    found = account(site, slices, send.acknowledged)
    record_property("account", f"store read-only: {send}; {found}")
    assert found.kept, str(found)
    store.change("rw")
    with sending(site, slices[:10], patience=0) as again:
        pass
    assert len(again.acknowledged) == 10, str(again)


def _over_http(site: LiveSite, sample: Sample) -> tuple[int, int]:
    """Give the answers to an upload and a STOW-RS; both must tell the client when to try again."""
    body = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + sample.content + b"\r\n--cut--\r\n"
    kind = {"content-type": 'multipart/related; type="application/dicom"; boundary=cut'}
    with client(site.access) as http:
        upload = http.post("/instances", content=sample.content)
        stow = http.post("/dicom-web/studies", content=body, headers=kind)
    assert int(upload.headers["retry-after"]) == int(stow.headers["retry-after"]) > 0
    return upload.status_code, stow.status_code


def _remount(store: Disk, option: str) -> bool:
    try:
        store.change(option)
    except subprocess.CalledProcessError:
        return False
    return True


def test_up_on_a_read_only_store_when_the_site_is_new_then_it_names_the_key_and_leaves_nothing_running() -> None:
    with live_site(up=False) as site, disk(site.folder / "small", 4) as store:
        site.write(store={"path": "small/store"})
        store.change("ro")
        said = site.orthweb("up", check=False)
        assert said.returncode == 2
        assert "store.path:" in said.stderr
        assert not site.target.running()


def test_full_disk_of_the_whole_site_during_a_send_then_it_goes_on_when_there_is_room_and_nothing_is_lost(
    slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    with live_site(up=False) as site, disk(site.folder, 400) as whole:
        # tmpfs hides what lay there.
        site.write()
        site.orthweb("up")
        _fill(whole, leave=12 * MEBIBYTE)
        with sending(site, slices, patience=0) as send:
            pass
        assert len(send.acknowledged) < len(slices), str(send)
        whole.change("size=800m")
        site.orthweb("up")
        eventually(lambda: answers(site), 60, "the site does not answer again")
        found = account(site, slices, send.acknowledged)
        record_property("account", f"whole disk full: {send}; {found}")
        assert found.kept, str(found)
        with sending(site, slices, patience=30) as again:
            pass
        assert len(again.acknowledged) == len(slices), str(again)
        site.orthweb("down")


def test_up_on_a_full_disk_when_the_site_is_new_then_it_says_so_and_works_when_there_is_room() -> None:
    with live_site(up=False) as site, disk(site.folder, 20) as whole:
        site.write()
        said = site.orthweb("up", check=False)
        assert said.returncode in (1, 2)
        assert "No space left on device" in said.stderr or "free" in said.stderr, said.stderr
        assert not site.target.running()
        whole.change("size=400m")
        site.orthweb("up")
        site.orthweb("down")


def _fill(disk: Disk, *, leave: int) -> None:
    import shutil

    with (disk.folder / "filler").open("wb") as file:
        file.write(b"\0" * max(0, shutil.disk_usage(disk.folder).free - leave))

"""The store in a folder that the site file names: one site's own, known again, never taken over or lost by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live.counting import account, answers, samples, sending
from live.sites import LiveSite, live_site
from orthweb.targets.host.store import MARK


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveSite]:
    """A stopped site whose store is a folder of its own, which looked like an empty disk before."""
    with live_site(up=False) as made:
        (made.folder / "images" / "lost+found").mkdir(parents=True)
        made.write(store={"path": "images"})
        made.orthweb("up")
        made.orthweb("down")
        yield made


def refused(site: LiveSite, words: str) -> None:
    """See that plan and up refuse the site file with one line."""
    for verb in ("plan", "up"):
        said = site.orthweb(verb, check=False)
        assert said.returncode == 2, said.stdout
        lines = [line for line in said.stderr.splitlines() if line.startswith("error:")]
        assert len(lines) == 1
        assert lines[0].startswith("error: store.path: ")
        assert words in lines[0]
    assert not site.target.running()


def test_store_that_is_somebodys_folder_then_plan_and_up_refuse_and_nothing_is_made(new_site: LiveSite) -> None:
    folder = new_site.folder / "research"
    folder.mkdir(mode=0o755)
    (folder / "results.csv").write_text("precious")
    before = (folder.stat().st_uid, folder.stat().st_mode)
    new_site.write(store={"path": "research"})
    refused(new_site, f"{folder}: is not empty")
    assert (folder.stat().st_uid, folder.stat().st_mode) == before
    assert [path.name for path in folder.iterdir()] == ["results.csv"]
    assert not (new_site.folder / ".orthweb").exists()


@pytest.mark.parametrize("kind", ["the store", "the site's own folder"])
def test_store_of_another_site_then_plan_and_up_refuse(new_site: LiveSite, shared: LiveSite, kind: str) -> None:
    path = shared.folder / "images" if kind == "the store" else shared.folder
    owner = path.stat().st_uid
    new_site.write(store={"path": str(path)})
    refused(new_site, "is the store of another site" if kind == "the store" else "is not empty")
    assert path.stat().st_uid == owner
    assert not (new_site.folder / ".orthweb").exists()


def test_store_whose_disk_is_not_mounted_then_up_refuses_and_writes_nothing_there(shared: LiveSite) -> None:
    images = shared.folder / "images"
    disk = images.rename(shared.folder / "disk")
    images.mkdir()  # the mount point
    try:
        refused(shared, "is its disk mounted?")
        assert list(images.iterdir()) == []
    finally:
        images.rmdir()
        refused(shared, "is its disk mounted?")
        disk.rename(images)
    assert "start" in shared.orthweb("plan").stdout


def test_store_key_that_is_gone_then_up_refuses_and_names_where_the_files_are(shared: LiveSite) -> None:
    shared.write()
    try:
        refused(shared, f"is gone; this site's files are in {shared.folder / 'images'}")
    finally:
        shared.write(store={"path": "images"})


def test_store_that_is_to_move_then_up_refuses_until_it_was_moved_with_its_mark(
    shared: LiveSite, tmp_path: Path
) -> None:
    shared.orthweb("up")
    sent = samples(tmp_path, 3, seed="moved")
    with sending(shared, sent, associations=1) as send:
        pass
    assert len(send.acknowledged) == 3
    shared.orthweb("down")
    shared.write(store={"path": "elsewhere"})
    refused(shared, f"files are in {shared.folder / 'images'}; move them with the file {MARK}")
    (shared.folder / "images").rename(shared.folder / "elsewhere")
    shared.orthweb("up")
    assert account(shared, sent, send.acknowledged).kept
    # The other way round for the tests that follow.
    shared.orthweb("down")
    (shared.folder / "elsewhere").rename(shared.folder / "images")
    shared.write(store={"path": "images"})


def test_state_file_that_was_lost_then_the_site_knows_its_store_again(shared: LiveSite) -> None:
    (shared.state / "state.json").unlink()
    shared.orthweb("up")
    assert answers(shared)
    shared.orthweb("down")


def test_default_store_with_files_when_the_site_file_names_another_then_up_refuses_until_it_was_moved(
    own_site: LiveSite, tmp_path: Path
) -> None:
    sent = samples(tmp_path, 2, seed="default")
    with sending(own_site, sent, associations=1) as send:
        pass
    own_site.write(store={"path": "images"})
    for verb in ("plan", "up"):
        said = own_site.orthweb(verb, check=False)
        assert said.returncode == 2
        assert f"this site's files are in {own_site.state / 'store'}" in said.stderr
    assert own_site.target.running(), "the site goes on as it was"
    own_site.orthweb("down")
    (own_site.state / "store").rename(own_site.folder / "images")
    own_site.orthweb("up")
    assert account(own_site, sent, send.acknowledged).kept


@pytest.mark.parametrize("marked", [True, False], ids=["with its mark", "without its mark"])
def test_destroy_with_data_then_only_what_orthanc_stored_in_this_sites_own_store_is_deleted(
    new_site: LiveSite, tmp_path: Path, marked: bool
) -> None:
    images = new_site.folder / "images"
    (images / "lost+found").mkdir(parents=True)
    new_site.write(store={"path": "images"})
    new_site.orthweb("up")
    with sending(new_site, samples(tmp_path, 2, seed=f"destroyed {marked}"), associations=1) as send:
        pass
    assert len(send.acknowledged) == 2
    stored = {path for path in images.rglob("*") if path.is_file() and path.name != MARK}
    assert len(stored) >= 2
    (images / "readme.txt").write_text("somebody's")
    if not marked:
        (images / MARK).unlink()
    said = new_site.orthweb("destroy", "--data", "--yes")
    assert not (new_site.folder / ".orthweb").exists()
    assert (images / "readme.txt").read_text() == "somebody's"
    if marked:
        assert {path.name for path in images.iterdir()} == {"lost+found", "readme.txt"}
    else:
        assert f"{images}: left alone" in said.stderr
        assert all(path.exists() for path in stored)

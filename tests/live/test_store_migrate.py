"""Images moved between the kinds of store: while the site runs, killed on the way, refused, and bit by bit the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.counting import account, answers, client, eventually, samples, sending
from live.s3_server import S3Server
from live.sites import LiveSite, live_site
from live.stores import bucket, digests, kill, read_until, stored_files, unfinished
from orthweb.errors import OrthwebError
from orthweb.store.migration import JOURNAL, Wish, migrate


@pytest.fixture
def own_bucket(s3: S3Server) -> S3Server:
    """The server with an empty bucket."""
    s3.empty()
    s3.latency = 0
    return s3


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveSite]:
    """A site whose images are in the file system, until the last test."""
    with live_site() as made:
        yield made


def images(site: LiveSite) -> Path:
    return site.state / "store"


def test_call_that_makes_no_sense_then_one_line_says_what_to_do(shared: LiveSite) -> None:
    for words, said in (
        (("--to", "tape"), "--to: tape: should be filesystem, s3 or database"),
        (("--to", "s3"), 'store.kind: is filesystem; set it to "s3" first'),
    ):
        refused = shared.orthweb("store", "migrate", *words, check=False)
        assert refused.returncode == 2
        assert said in refused.stderr
    refused = shared.orthweb("store", "migrate", "--to", "filesystem", check=False)
    assert refused.returncode == 2
    assert "nothing to move" in refused.stderr


def test_files_to_s3_and_back_killed_twice_then_every_instance_is_bit_identical(
    shared: LiveSite, own_bucket: S3Server, tmp_path: Path
) -> None:
    site, s3 = shared, own_bucket
    sent = samples(tmp_path / "before", 60, seed="moved to s3")
    large = samples(tmp_path / "large", 1, seed="moved to s3, large", size=40_000_000)
    with sending(site, sent + large) as first:
        pass
    assert len(first.acknowledged) == 61
    before = digests(site, sent + large)
    first_files = len(stored_files(images(site)))

    site.write(store={"kind": "s3"}, s3=bucket(s3))
    refused = site.orthweb("up", check=False)
    assert refused.returncode == 2
    assert "orthweb store migrate --to s3" in refused.stderr

    # Killed while it copies, and the site goes on taking images in.
    s3.latency = 0.05
    process = site.start("store", "migrate", "--to", "s3")
    eventually(lambda: len(s3.images()) >= 10, 60, "nothing is copied")
    kill(process)
    there = len(s3.images())
    assert there < first_files, "it was killed too late to mean anything"
    told = unfinished(site)
    assert told is not None
    assert (told["to"], told["at_work"]) == ("s3", False)
    assert told["verified"] <= there
    later = samples(tmp_path / "meanwhile", 10, seed="moved to s3, meanwhile")
    with sending(site, later) as second:
        pass
    assert len(second.acknowledged) == 10
    before |= digests(site, later)
    files = len(stored_files(images(site)))  # Orthanc may keep an instance's header in a file of its own

    # Killed once more when the archive has been stopped.
    s3.latency = 0
    process = site.start("store", "migrate", "--to", "s3")
    read_until(process.stderr, "stopping the archive")
    kill(process)
    assert json.loads((site.state / "state.json").read_text())["store_kind"] == "filesystem"
    told = unfinished(site)
    assert told is not None
    assert told["verified"] >= there, "said also while the archive is stopped"

    done = json.loads(site.orthweb("store", "migrate", "--to", "s3", "--json").stdout)
    assert done["switched"]
    assert done["verified"] == files
    assert done["copied"] < files, "what was copied before was copied again"
    everything = [*sent, *large, *later]
    puts = [seen.key for seen in s3.requests if seen.method == "PUT" and seen.status == 200 and not seen.query]
    assert len(puts) < 2 * files
    assert digests(site, everything) == before
    assert unfinished(site) is None, "the source is kept, and nothing is left to be copied"
    keys = s3.images()
    assert len(keys) == files
    assert all(key.endswith((".dcm", ".dcm.head")) for key in keys)
    assert len([key for key in keys if key.endswith(".dcm")]) == len(everything)
    assert len(stored_files(images(site))) == files, "the source is kept"
    assert json.loads(site.orthweb("store", "check", "--contents", "--json").stdout)["hashed"] == files

    # New ones go to the bucket; the old files are deleted when somebody says so, and nothing else that lies there.
    new = samples(tmp_path / "after", 3, seed="moved to s3, after")
    with sending(site, new) as third:
        pass
    assert len(third.acknowledged) == 3
    before |= digests(site, new)
    orphan = images(site) / "ab" / "cd" / "abcd0000-0000-4000-8000-000000000000"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"never copied")
    done = json.loads(site.orthweb("store", "migrate", "--to", "s3", "--delete-source", "--json").stdout)
    assert (done["deleted"], done["left"]) == (files, 1)
    assert stored_files(images(site)) == [orphan]
    orphan.unlink()

    # And back.
    site.write(s3=bucket(s3))
    done = json.loads(site.orthweb("store", "migrate", "--to", "filesystem", "--delete-source", "--json").stdout)
    assert done["switched"]
    assert done["left"] == 0
    assert s3.images() == []
    assert not (site.state / JOURNAL).exists()
    assert not list(site.state.glob("*/s3")), "the bucket's credentials are still there"
    assert digests(site, [*everything, *new]) == before
    assert account(site, new, third.acknowledged).kept
    for path in stored_files(images(site)):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (images(site).stat().st_uid, 0o600)


def test_files_to_the_database_and_back_then_orthanc_reads_and_deletes_what_was_copied(
    shared: LiveSite, tmp_path: Path
) -> None:
    sent = samples(tmp_path / "some", 12, seed="moved to the database")
    large = samples(tmp_path / "large", 1, seed="moved to the database, large", size=20_000_000)
    with sending(shared, sent + large) as first:
        pass
    assert len(first.acknowledged) == 13
    before = digests(shared, sent + large)
    shared.write(store={"kind": "database"})
    done = json.loads(shared.orthweb("store", "migrate", "--to", "database", "--delete-source", "--json").stdout)
    assert done["deleted"] == done["verified"] >= 13
    assert stored_files(images(shared)) == []
    assert digests(shared, sent + large) == before
    with client(shared.access) as http:
        its_files = len(http.get(f"/instances/{sent[0].archive_id}/attachments").json())
        assert http.delete(f"/instances/{sent[0].archive_id}").status_code == 200
    checked = json.loads(shared.orthweb("store", "check", "--contents", "--json").stdout)
    assert checked["stored"] == checked["indexed"] == done["verified"] - its_files

    # Back while the site is down, which it stays.
    shared.orthweb("down")
    shared.write()
    back = json.loads(shared.orthweb("store", "migrate", "--to", "filesystem", "--json").stdout)
    assert back["switched"]
    assert back["verified"] == checked["stored"]
    assert not shared.target.running()
    shared.orthweb("up")
    assert digests(shared, [*sent[1:], *large]) == {uid: seen for uid, seen in before.items() if uid != sent[0].uid}


def test_store_that_fails_when_the_archive_is_stopped_then_the_site_goes_on_as_it_was(
    shared: LiveSite, own_bucket: S3Server, tmp_path: Path
) -> None:
    sent = samples(tmp_path, 5, seed="goes on")
    with sending(shared, sent) as first:
        pass
    shared.write(store={"kind": "s3"}, s3=bucket(own_bucket))
    faults = []

    def report(line: str) -> None:
        if line == "stopping the archive":
            faults.append(own_bucket.fault(status=403, code="AccessDenied"))
            faults[0].__enter__()

    with pytest.raises(OrthwebError, match="403"):
        migrate(shared.target, Wish("s3"), report)
    faults[0].__exit__(None, None, None)
    eventually(lambda: answers(shared), 30, "the site does not answer")
    assert account(shared, sent, first.acknowledged).kept
    assert json.loads((shared.state / "state.json").read_text())["store_kind"] == "filesystem"
    shared.write()


def test_source_with_lost_files_then_nothing_is_switched_until_that_is_accepted(
    shared: LiveSite, own_bucket: S3Server, tmp_path: Path
) -> None:
    sent = samples(tmp_path, 4, seed="lost")
    known = set(stored_files(images(shared)))
    with sending(shared, sent) as first:
        pass
    assert len(first.acknowledged) == 4
    gone, broken, *_ = sorted(set(stored_files(images(shared))) - known)
    gone.unlink()
    kept = broken.read_bytes()
    broken.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    shared.write(store={"kind": "s3"}, s3=bucket(own_bucket))
    refused = shared.orthweb("store", "migrate", "--to", "s3", check=False)
    assert refused.returncode == 1
    assert "1 files are missing and 1 are damaged" in refused.stderr
    assert "--accept-losses" in refused.stderr
    assert answers(shared)
    # Restored in the source, it is copied anew.
    broken.write_bytes(kept)
    done = json.loads(shared.orthweb("store", "migrate", "--to", "s3", "--accept-losses", "--json").stdout)
    assert done["switched"]
    assert (done["losses"]["missing"], done["losses"]["damaged"]) == (1, 0)
    assert [item["uuid"] for item in done["losses"]["examples"]] == [gone.name]
    assert all(item["study"] for item in done["losses"]["studies"])
    assert answers(shared)

"""Index and store compared: each kind of damage is found with its study, orphans are removed and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live.counting import Sample, account, samples, sending
from live.s3_server import S3Server
from live.sites import LiveSite, live_site
from live.stores import bucket, stored_files
from orthweb.site import S3
from orthweb.store.attachment import Attachment, Backend, ObjectMissingError, Source, StoreError
from orthweb.store.check import Check, Options, Result
from orthweb.store.database import DatabaseStore
from orthweb.store.filesystem import FilesystemStore
from orthweb.store.index import Index
from orthweb.store.orphans import Orphans, remove
from orthweb.store.s3 import ObjectStore, bucket_of
from orthweb.store.site import index_facts

OLD = 3 * 3600


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveSite]:
    """A site with two studies in the file system, whole before and after each test."""
    with live_site() as made:
        yield made


@pytest.fixture(scope="module")
def sent(shared: LiveSite, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("sent")
    found = samples(folder / "one", 6, seed="checked one") + samples(folder / "two", 6, seed="checked two")
    with sending(shared, found) as send:
        pass
    assert len(send.acknowledged) == 12
    return found


def checked(site: LiveSite, *words: str, code: int = 0) -> dict[str, Any]:
    said = site.orthweb("store", "check", "--json", *words, check=False)
    assert said.returncode == code, said.stdout + said.stderr
    return dict(json.loads(said.stdout))


def study_of(path: Path) -> str:
    from pydicom import dcmread

    return str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def test_damage_of_each_kind_then_it_is_found_with_the_study_it_belongs_to(
    shared: LiveSite, sent: list[Sample], restored: Path
) -> None:
    files = stored_files(restored)
    gone, short, changed = files[0], files[4], files[8]
    studies = {path.name: study_of(path) for path in files}
    gone.unlink()
    short.write_bytes(short.read_bytes()[:100])
    content = changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = checked(shared, "--contents", code=1)
    assert not found["intact"]
    assert (found["indexed"], found["stored"]) == (len(files), len(files) - 1)
    assert {(item["kind"], item["uuid"]): item["study"] for item in found["findings"]} == {
        (kind, path.name): studies[path.name] for kind, path in (("missing", gone), ("size", short), ("hash", changed))
    }
    assert sum(item["files"] for item in found["studies"]) == 3
    # Without --contents the sizes alone are compared, and a person reads the same.
    said = shared.orthweb("store", "check", check=False)
    assert said.returncode == 1
    assert studies[gone.name] in said.stdout
    assert changed.name not in said.stdout
    assert "NOT INTACT" in said.stdout
    assert "PHANTOM" not in (said.stdout + said.stderr).upper()


def test_things_that_belong_to_nothing_then_repair_removes_old_orphans_after_asking_and_nothing_else(
    shared: LiveSite, sent: list[Sample], restored: Path
) -> None:
    whole = stored_files(restored)

    def put(name: str, age: float) -> Path:
        path = restored / name[:2] / name[2:4] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"belongs to nothing")
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    old = put("ffee0000-0000-4000-8000-000000000001", OLD)
    young = put("ffee0000-0000-4000-8000-000000000002", 0)
    strange = restored / "ff" / "ee" / "notes.txt"
    strange.write_text("somebody's")
    (restored / "results").mkdir()
    found = checked(shared)
    assert found["intact"]
    assert (found["orphaned"], found["young"], found["foreign"]) == (1, 1, 2)
    said = shared.orthweb("store", "check", "--repair")
    assert "Nothing was removed" in said.stderr
    assert old.exists()
    found = checked(shared, "--repair", "--yes")
    assert found["removed"] == {"count": 1, "bytes": len(b"belongs to nothing"), "kept": 0}
    assert not old.exists()
    assert young.exists()
    assert strange.exists()
    assert checked(shared)["orphaned"] == 0
    assert set(stored_files(restored)) == {*whole, young}


def test_site_that_takes_in_and_deletes_meanwhile_then_nothing_is_called_missing_or_orphaned(
    shared: LiveSite, tmp_path: Path
) -> None:
    moving = samples(tmp_path, 60, seed="checked while it moves")
    with sending(shared, moving, associations=2) as send:
        send.wait_for(20)
        rounds = 0
        while len(send.acknowledged) < len(moving) or rounds < 3:
            found = checked(shared)
            assert (found["intact"], found["orphaned"]) == (True, 0)
            rounds += 1
    from live.counting import client

    with client(shared.access) as http:
        study = http.get(f"/instances/{moving[0].archive_id}/study").json()["ID"]
        checking = shared.start("store", "check", "--contents", "--json")
        http.delete(f"/studies/{study}").raise_for_status()
    said, _ = checking.communicate(timeout=60)
    found = json.loads(said)
    assert (found["intact"], found["orphaned"]) == (True, 0)


def test_site_that_is_down_then_check_says_so(own_site: LiveSite) -> None:
    own_site.orthweb("down")
    said = own_site.orthweb("store", "check", check=False)
    assert said.returncode == 1
    assert "the index does not answer" in said.stderr
    assert "orthweb up" in said.stderr


@pytest.fixture
def restored(shared: LiveSite, sent: list[Sample]) -> Iterator[Path]:
    """The store's folder; what is broken in it is whole again afterwards."""
    folder = shared.state / "store"
    before = {path: path.read_bytes() for path in stored_files(folder)}
    assert len(before) >= len(sent)
    owner = folder.stat()
    yield folder
    for path in folder.rglob("*"):
        if path.is_file() and path not in before and not path.name.startswith("."):
            path.unlink()
    if (folder / "results").exists():
        (folder / "results").rmdir()
    for path, content in before.items():
        path.write_bytes(content)
        os.chown(path, owner.st_uid, owner.st_gid)
    assert checked(shared, "--contents")["intact"]


@pytest.fixture(params=["filesystem", "s3", "s3 under a root", "database"])
def backend(request: pytest.FixtureRequest, shared: LiveSite, tmp_path: Path, s3: S3Server) -> Iterator[Backend]:
    """Each kind of store, empty."""
    made: Backend
    if request.param == "filesystem":
        made = FilesystemStore(tmp_path)
    elif request.param == "database":
        made = DatabaseStore(index_facts(shared.target))
    else:
        s3.empty()
        s3.write("report.pdf", b"somebody's")
        s3.write("images/deeper/0.dcm", b"somebody's")
        made = bucket_of(S3.model_validate(bucket(s3, root="images/" if "root" in request.param else "")))
    try:
        yield made
        for item in list(made.listing()):
            made.remove(item.uuid, item.type or 0)
    finally:
        made.close()


class Content:
    """A file to store, which lies nowhere."""

    def __init__(self, body: bytes, file_type: int = 1, name: str | None = None) -> None:
        self.body = body
        self.attachment = Attachment(
            name or str(uuid.uuid4()), file_type, len(body), hashlib.md5(body, usedforsecurity=False).hexdigest()
        )

    @property
    def name(self) -> tuple[str, int]:
        return self.attachment.uuid, self.attachment.type

    def put(self, backend: Backend, source: Backend | None = None) -> None:
        """Store it; from another store, as large files are."""
        digest = hashlib.sha256(self.body).hexdigest()
        content = None if source is not None else self.body
        backend.write(self.attachment, Source(source or backend, self.attachment, digest, len(self.body), content))


def test_each_kind_of_store_when_files_are_written_then_they_are_listed_in_order_read_and_removed(
    backend: Backend, tmp_path: Path
) -> None:
    kinds = (1,) if isinstance(backend, FilesystemStore) else (1, 2, 3, 0)
    files = [Content(os.urandom(1000 + number), kinds[number % len(kinds)]) for number in range(10)]
    files.append(Content(b""))
    elsewhere = FilesystemStore(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    large = Content(os.urandom(1000) * 20_000)
    large.put(elsewhere)
    large.put(backend, elsewhere)
    for each in files:
        each.put(backend)
        each.put(backend)  # once more changes nothing
    files.append(large)
    listed = list(backend.listing())
    assert [(item.uuid, item.size) for item in listed] == sorted(
        (each.attachment.uuid, len(each.body)) for each in files
    )
    if not isinstance(backend, FilesystemStore):
        assert {item.uuid: item.type for item in listed} == dict(each.name for each in files)
    for each in files:
        assert backend.size(*each.name) == len(each.body)
        assert b"".join(backend.read(*each.name)) == each.body
    for each in files:
        backend.remove(*each.name)
        backend.remove(*each.name)
        assert backend.size(*each.name) is None
        with pytest.raises(ObjectMissingError):
            list(backend.read(*each.name))
    backend.prune()
    assert list(backend.listing()) == []
    if isinstance(backend, ObjectStore):
        assert backend.foreign == (1 if backend.place.endswith("images/") else 2)


def test_each_kind_of_store_when_it_is_damaged_then_the_check_finds_it_and_repair_removes_the_orphan(
    backend: Backend, shared: LiveSite, sent: list[Sample]
) -> None:
    site = FilesystemStore(shared.state / "store")
    index = Index(index_facts(shared.target))
    try:
        with index.snapshot() as snapshot:
            attachments = list(snapshot)
        assert len(attachments) >= len(sent)
        bodies = {each.uuid: b"".join(site.read(each.uuid, each.type)) for each in attachments}
        gone, short, changed, *whole = attachments
        for each in whole:
            Content(bodies[each.uuid], each.type, each.uuid).put(backend)
        Content(bodies[short.uuid][:50], short.type, short.uuid).put(backend)
        Content(bodies[changed.uuid][:-1] + b"x", changed.type, changed.uuid).put(backend)
        orphan = Content(b"belongs to nothing")
        orphan.put(backend)

        def check(orphans: Callable[[Any], None] | None = None) -> Result:
            return Check(index, backend, Options(contents=True, minimum_age=0, settle=0.1), orphans).run()

        with Orphans() as orphans:
            found = check(orphans.add)
            assert {(item.kind, item.uuid) for item in found.findings} == {
                ("missing", gone.uuid),
                ("size", short.uuid),
                ("hash", changed.uuid),
                ("orphan", orphan.attachment.uuid),
            }
            assert not found.intact
            assert remove(orphans, index, backend).count == 1
        assert check().counts["orphan"] == 0
        assert backend.size(*orphan.name) is None
    finally:
        index.close()


def test_bucket_that_cannot_be_listed_then_check_says_which_and_why(shared: LiveSite, s3: S3Server) -> None:
    backend = bucket_of(S3.model_validate(bucket(s3)))
    with s3.fault(status=403, code="AccessDenied"), pytest.raises(StoreError, match="the bucket pacs-images: cannot"):
        list(backend.listing())
    assert account(shared, [], set()).kept

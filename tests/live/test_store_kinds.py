"""A site whose files are in a bucket or in the index: all checks pass, and each file is where and what it should be."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from live.counting import Sample, eventually, samples
from live.s3_server import S3Server
from live.sites import LiveSite, live_site
from live.stores import bucket
from orthweb.checks.subject import dataset_bytes
from orthweb.dicom.send import ATTEMPTS
from orthweb.store.index import connect
from orthweb.store.site import index_facts
from orthweb.verification import client_context

pytestmark = pytest.mark.live

KMS_KEY = "alias/pacs-images"


@pytest.fixture(scope="module")
def in_bucket(s3: S3Server) -> Iterator[LiveSite]:
    table = bucket(s3, root="pacs/images/", encryption="kms", kms_key=KMS_KEY, storage_class="STANDARD_IA")
    with live_site(store={"kind": "s3"}, s3=table) as made:
        yield made


@pytest.fixture(scope="module")
def in_index() -> Iterator[LiveSite]:
    with live_site(store={"kind": "database"}) as made:
        yield made


def send(site: LiveSite, folder: Path, count: int, seed: str) -> list[Sample]:
    made = samples(folder, count, seed=seed)
    site.orthweb("dicom", "send", str(folder))
    return made


def https(site: LiveSite) -> httpx.Client:
    found = site.access
    login = httpx.BasicAuth(found.credentials.user, found.credentials.password)
    return httpx.Client(base_url=found.url, verify=client_context(found.ca), auth=login, trust_env=False, timeout=30)


def statuses(site: LiveSite) -> dict[str, str]:
    document = json.loads(site.orthweb("validate", "--json", check=False).stdout)
    return {item["id"]: item["status"] for item in document["checks"]}


def test_validate_when_the_store_is_a_bucket_then_all_but_the_folders_mode_pass(in_bucket: LiveSite) -> None:
    found = statuses(in_bucket)
    assert {name: status for name, status in found.items() if status != "pass"} == {"store.mode": "n/a"}


def test_object_when_its_instance_was_acknowledged_then_the_same_file_under_the_plugins_key(
    in_bucket: LiveSite, s3: S3Server, tmp_path: Path
) -> None:
    [sample] = send(in_bucket, tmp_path / "one", 1, "kind-key")
    with https(in_bucket) as client:
        told = client.get(f"/instances/{sample.archive_id}/attachments/dicom/info").raise_for_status().json()
        content = client.get(f"/instances/{sample.archive_id}/file").raise_for_status().content
    key = f"pacs/images/{told['Uuid']}.dcm"
    assert hashlib.sha256(s3.read(key)).digest() == hashlib.sha256(content).digest()
    assert dataset_bytes(content) == dataset_bytes(sample.content)
    assert {name.partition(".")[2] for name in s3.images("pacs/images/")} <= {"dcm", "dcm.head", "json", "unk"}


def test_object_when_encryption_and_class_are_asked_for_then_the_server_sees_both(
    in_bucket: LiveSite, s3: S3Server, tmp_path: Path
) -> None:
    before = len(s3.requests)
    send(in_bucket, tmp_path / "one", 1, "kind-headers")
    stored = [request for request in s3.requests[before:] if request.method == "PUT"]
    assert stored
    for request in stored:
        assert request.headers["x-amz-server-side-encryption"] == "aws:kms"
        assert request.headers["x-amz-server-side-encryption-aws-kms-key-id"] == KMS_KEY
        assert request.headers["x-amz-storage-class"] == "STANDARD_IA"
        assert "x-amz-checksum-sha256" in request.headers


def test_object_when_nobody_signs_for_it_then_refused(in_bucket: LiveSite, s3: S3Server, tmp_path: Path) -> None:
    send(in_bucket, tmp_path / "one", 1, "kind-anonymous")
    key = s3.keys("pacs/images/")[0]
    with httpx.Client(verify=client_context(s3.ca) if s3.ca else True, trust_env=False) as client:
        assert client.get(f"{s3.endpoint}/{s3.bucket}/{key}").status_code == 403


def test_credentials_when_renewed_and_brought_by_up_then_used_without_a_restart(
    in_bucket: LiveSite, s3: S3Server, tmp_path: Path
) -> None:
    pids = {service.name: service.pid for service in in_bucket.target.status().services}
    s3.renew_credentials()
    in_bucket.orthweb("up")
    send(in_bucket, tmp_path / "one", 1, "kind-renewed")
    assert {service.name: service.pid for service in in_bucket.target.status().services} == pids


def test_site_when_the_bucket_has_its_files_then_no_key_or_token_is_in_configuration_logs_or_processes(
    in_bucket: LiveSite, s3: S3Server
) -> None:
    values = [line.partition(" = ")[2] for line in s3.credentials.read_text().splitlines() if " = " in line]
    assert len(values) == 3
    holders = {folder / "s3" / "credentials" for folder in in_bucket.state.iterdir()}
    looked_at = 0
    for path in in_bucket.state.rglob("*"):
        if path.is_file() and path not in holders and path.stat().st_size < 8 * 1024**2:
            looked_at += 1
            content = path.read_bytes()
            assert not [value for value in values if value.encode() in content], path
    assert looked_at > 30
    for service in in_bucket.target.status().services:
        for name in ("cmdline", "environ"):
            said = Path(f"/proc/{service.pid}/{name}").read_bytes()
            assert not [value for value in values if value.encode() in said]


def test_store_check_when_the_store_is_a_bucket_then_nothing_is_missing(in_bucket: LiveSite) -> None:
    said = json.loads(in_bucket.orthweb("store", "check", "--hash", "--json").stdout)
    assert said["missing"] == said["wrong_size"] == said["wrong_hash"] == 0, said


def test_stow_when_the_bucket_fails_under_way_then_an_error_and_not_an_empty_success(
    in_bucket: LiveSite, s3: S3Server, tmp_path: Path
) -> None:
    [sample] = samples(tmp_path / "one", 1, seed="kind-stow")
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + sample.content + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    headers = {"content-type": kind, "accept": "application/dicom+json"}
    with https(in_bucket) as client:
        with s3.fault(status=403, code="AccessDenied", methods={"PUT"}, key=lambda key: key.endswith(".dcm")):
            refused = client.post("/dicom-web/studies", content=part, headers=headers)
        # The DICOMweb plugin 1.20 says by itself which instances failed (FailedSOPSequence).
        told = refused.status_code == 400 and bool(refused.json()["00081198"]["Value"])
        assert refused.status_code == 503 or told, refused.text
        assert client.get(f"/instances/{sample.archive_id}").status_code == 404
        # Uploads are refused for some seconds without a try.
        taken = refused
        until = time.monotonic() + 30
        while taken.status_code != 200 and time.monotonic() < until:
            time.sleep(0.5)
            taken = client.post("/dicom-web/studies", content=part, headers=headers)
        assert "00081199" in taken.text
        assert client.get(f"/instances/{sample.archive_id}").status_code == 200


def test_upload_and_stow_when_the_bucket_takes_nothing_then_503_with_the_time_of_the_next_try(
    in_bucket: LiveSite, s3: S3Server, tmp_path: Path
) -> None:
    [sample] = samples(tmp_path / "one", 1, seed="kind-gate")
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + sample.content + b"\r\n--b--\r\n"
    kind = {"content-type": 'multipart/related; type="application/dicom"; boundary=b'}
    study = "/dicom-web/studies/1.2.3"
    with https(in_bucket) as client, s3.fault(status=403, code="AccessDenied", methods={"PUT"}):
        closed(client, sample)
        refused = [
            client.post("/instances", content=sample.content),
            *(client.post(path, content=part, headers=kind) for path in ("/dicom-web/studies", study, f"{study}/")),
        ]
        other = client.post("/instances", content=sample.content, headers={"sec-fetch-site": "cross-site"})
    assert [answer.status_code for answer in refused] == [503] * 4
    for answer in refused:
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "text/plain"
        assert answer.text == "The archive takes no instances now. Try again later.\n"
    assert (other.status_code, "retry-after" in other.headers) == (403, False), "never to be tried again"


def closed(client: httpx.Client, sample: Sample) -> None:
    """Wait until the archive knows that the bucket takes nothing: for a second it believes what it knew before."""
    eventually(lambda: client.post("/instances", content=sample.content).status_code == 503, 10, "never refused")


def test_dicom_send_via_stow_when_the_bucket_takes_nothing_for_a_while_then_all_arrive_and_none_is_given_up(
    in_bucket: LiveSite, s3: S3Server, tmp_path: Path
) -> None:
    made = samples(tmp_path / "some", 5, seed="kind-stow-again")
    with https(in_bucket) as client, s3.fault(status=403, code="AccessDenied", methods={"PUT"}) as fault:
        closed(client, made[0])
        process = in_bucket.start("dicom", "send", "--via", "stow", "--json", str(tmp_path / "some"))
        before = fault.hits
        eventually(lambda: fault.hits > before + 1, 30, "nothing is tried again")
    output, _ = process.communicate(timeout=60)
    said = json.loads(output)
    assert (process.returncode, said["sent"], said["refused"], said["problem"]) == (0, len(made), {}, None)
    assert said["retries"] >= ATTEMPTS


def test_up_when_the_kind_of_store_was_changed_then_refused_with_the_way_to_move(in_bucket: LiveSite) -> None:
    before = in_bucket.file.read_text()
    in_bucket.file.write_text(before.replace('kind = "s3"', 'kind = "filesystem"'))
    try:
        for verb in ("up", "plan"):
            done = in_bucket.orthweb(verb, check=False)
            assert done.returncode == 2
            assert "store.kind: is filesystem, and this site's images are in the store s3" in done.stderr
            assert "orthweb store migrate --to filesystem" in done.stderr
    finally:
        in_bucket.file.write_text(before)
    assert in_bucket.target.status().answers


def test_up_when_the_bucket_was_changed_then_refused_because_the_images_are_elsewhere(in_bucket: LiveSite) -> None:
    before = in_bucket.file.read_text()
    in_bucket.file.write_text(before.replace("pacs/images/", "pacs/other/"))
    try:
        done = in_bucket.orthweb("up", check=False)
    finally:
        in_bucket.file.write_text(before)
    assert done.returncode == 2
    assert "s3: names another place than s3 https://localhost" in done.stderr
    assert in_bucket.target.status().answers


def test_migration_when_the_site_file_names_another_bucket_then_refused(in_bucket: LiveSite) -> None:
    before = in_bucket.file.read_text()
    other = before.replace("pacs/images/", "pacs/other/").replace('kind = "s3"', 'kind = "filesystem"')
    in_bucket.file.write_text(other)
    try:
        done = in_bucket.orthweb("store", "migrate", "--to", "filesystem", "--accept-losses", check=False)
    finally:
        in_bucket.file.write_text(before)
    assert done.returncode == 2
    assert "s3: names another place than s3 https://localhost" in done.stderr
    assert in_bucket.target.status().answers


def test_up_when_the_sites_bucket_takes_no_objects_then_it_comes_up_and_says_so(
    in_bucket: LiveSite, s3: S3Server
) -> None:
    with s3.fault(status=403, code="InvalidAccessKeyId", methods={"PUT"}):
        done = in_bucket.orthweb("up")
    assert "s3: the bucket pacs-images under pacs/images/: takes no objects" in done.stderr
    assert "InvalidAccessKeyId" in done.stderr


def test_first_up_when_the_bucket_is_mistyped_then_refused_and_another_may_be_named(s3: S3Server) -> None:
    with live_site(up=False, store={"kind": "s3"}, s3=bucket(s3, bucket="mistyped")) as site:
        done = site.orthweb("up", check=False)
        assert done.returncode == 2
        assert "s3: the bucket mistyped: takes no objects: the server answers 404 NoSuchBucket" in done.stderr
        site.write(store={"kind": "s3"}, s3=bucket(s3))
        site.orthweb("plan")
    assert s3.keys("orthweb-probe") == []


def test_retrieval_when_the_writer_has_just_stored_then_the_reader_takes_it_from_the_common_cache(
    in_bucket: LiveSite, s3: S3Server, tmp_path: Path
) -> None:
    [sample] = send(in_bucket, tmp_path / "one", 1, "kind-cache")
    before = len(s3.seen("GET"))
    with https(in_bucket) as client:
        client.get(f"/instances/{sample.archive_id}/file").raise_for_status()
    assert len(s3.seen("GET")) == before


def test_validate_when_the_store_is_the_index_then_all_that_apply_pass(in_index: LiveSite, tmp_path: Path) -> None:
    [sample] = send(in_index, tmp_path / "one", 1, "kind-index")
    found = statuses(in_index)
    elsewhere = {"store.mode", "store.strangers", "store.encryption"}
    assert {name: status for name, status in found.items() if status != "pass"} == dict.fromkeys(elsewhere, "n/a")
    with https(in_index) as client:
        content = client.get(f"/instances/{sample.archive_id}/file").raise_for_status().content
    assert dataset_bytes(content) == dataset_bytes(sample.content)
    assert not (in_index.state / "store").exists()


def test_file_when_its_instance_is_in_the_index_then_the_database_keeps_it_until_the_instance_is_deleted(
    in_index: LiveSite, tmp_path: Path
) -> None:
    [sample] = send(in_index, tmp_path / "kept", 1, "kept")
    with https(in_index) as http, connect(index_facts(in_index.target), read_only=False) as database:
        told = http.get(f"/instances/{sample.archive_id}/attachments/dicom/info").raise_for_status().json()

        def objects() -> int:
            query = (
                "SELECT count(*) FROM storagearea s JOIN pg_largeobject_metadata m ON m.oid = s.content WHERE uuid = %s"
            )
            [[count]] = database.execute(query, (told["Uuid"],)).fetchall()
            return int(count)

        with pytest.raises(psycopg.errors.RestrictViolation, match=f"kept: {told['Uuid']}"):
            database.execute("DELETE FROM storagearea WHERE uuid = %s", (told["Uuid"],))
        assert objects() == 1
        assert http.get(f"/instances/{sample.archive_id}/file").status_code == 200
        http.delete(f"/instances/{sample.archive_id}").raise_for_status()
        assert objects() == 0


def test_file_when_the_index_is_committing_its_row_then_the_database_keeps_it(
    in_index: LiveSite, tmp_path: Path
) -> None:
    [sample] = send(in_index, tmp_path / "committing", 1, "committing")
    facts, uuid = index_facts(in_index.target), str(uuid4())
    columns = "compressedsize, uncompressedsize, compressiontype, uncompressedhash, compressedhash"
    removal = "DELETE FROM storagearea WHERE uuid = %s"
    with (
        connect(facts, read_only=False) as index,
        connect(facts, read_only=False) as store,
        https(in_index) as http,
    ):
        told = http.get(f"/instances/{sample.archive_id}/attachments/dicom/info").raise_for_status().json()
        store.execute("INSERT INTO storagearea (uuid, content, type) VALUES (%s, lo_create(0), 1)", (uuid,))
        with index.transaction(force_rollback=True):
            index.execute(
                f"INSERT INTO attachedfiles (id, filetype, uuid, {columns})"
                f" SELECT id, 1030, %s, {columns} FROM attachedfiles WHERE uuid = %s",
                (uuid, told["Uuid"]),
            )
            with pytest.raises(psycopg.errors.RestrictViolation, match="kept"):
                store.execute(removal, (uuid,))
        assert store.execute(removal, (uuid,)).rowcount == 1

"""The S3 store in a bare Orthanc, against a server that speaks S3: what lies in the bucket, and who may read it."""

from __future__ import annotations

import configparser
import hashlib
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from s3_store.bucket import MULTIPART, Bucket
from s3_store.failures import DamagedObjectError, MissingObjectError, StoreError
from s3_store.settings import Settings

from live.bare_orthanc import BareOrthanc, bare_orthanc, s3_section
from live.counting import Sample, account, data_set, eventually, samples, sending
from live.s3_server import S3Server, s3_server

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def orthanc(folder: Path, s3: S3Server) -> Iterator[BareOrthanc]:
    section = s3_section(s3, folder / "cache", Root="images/", Encryption="s3")
    with bare_orthanc(folder, orthweb={"Store": "s3", "S3": section}) as made:
        yield made


@pytest.fixture
def stored(orthanc: BareOrthanc, s3: S3Server, tmp_path: Path) -> Iterator[list[Sample]]:
    """Four instances that were sent to Orthanc; it is empty afterwards."""
    s3.requests.clear()
    slices = samples(tmp_path / "slices", 4, seed=tmp_path.name)
    with sending(orthanc.peer, slices, patience=0) as send:
        pass
    assert len(send.acknowledged) == 4, str(send)
    yield slices
    with orthanc.client() as http:
        for patient in http.get("/patients").json():
            assert http.delete(f"/patients/{patient}").is_success


def _settings(s3: S3Server, **changes: Any) -> Settings:
    known = {"endpoint": s3.endpoint, "region": s3.region, "ca": s3.ca, "credentials": s3.credentials, "deadline": 4.0}
    return Settings(s3.bucket, **(known | changes))


def test_c_store_when_acknowledged_then_the_files_lie_in_the_bucket_as_they_are(
    orthanc: BareOrthanc, s3: S3Server, stored: list[Sample]
) -> None:
    keys = s3.keys()
    assert all(re.fullmatch(rf"images/{UUID}\.dcm(\.head)?", key) for key in keys), keys
    assert [key.endswith(".head") for key in sorted(keys, key=len)] == [False] * 4 + [True] * 4
    with orthanc.client() as http:
        files = [http.get(f"/instances/{sample.archive_id}/file").content for sample in stored]
    assert not (orthanc.folder / "files").exists() or not list((orthanc.folder / "files").rglob("*-*"))
    found = {hashlib.sha256(s3.read(key)).hexdigest() for key in keys if key.endswith(".dcm")}
    assert found == {hashlib.sha256(file).hexdigest() for file in files}
    assert {data_set(file) for file in files} == {data_set(sample.content) for sample in stored}


def test_write_when_it_reaches_the_server_then_it_is_signed_checksummed_and_encrypted(
    s3: S3Server, stored: list[Sample]
) -> None:
    puts = s3.seen("PUT", "images/")
    assert len(puts) == 8
    for put in puts:
        assert put.headers["x-amz-server-side-encryption"] == "AES256"
        # The server has compared them with the body, and the signature covers them.
        assert "x-amz-checksum-sha256" in put.headers
        assert "x-amz-checksum-sha256" in put.headers["authorization"]
        assert len(put.headers["x-amz-content-sha256"]) == 64
    assert s3.head(puts[0].key)["ServerSideEncryption"] == "AES256"


def test_object_when_asked_for_anonymously_then_it_is_refused(s3: S3Server, stored: list[Sample]) -> None:
    trust = ssl.create_default_context(cafile=s3.ca)
    keys = s3.keys()
    for key in keys:
        answer = httpx.get(f"{s3.endpoint}/{s3.bucket}/{key}", verify=trust, trust_env=False)
        assert answer.status_code == 403
        assert b"DICM" not in answer.content


def test_deletion_when_orthanc_forgets_a_patient_then_its_objects_are_gone(
    orthanc: BareOrthanc, s3: S3Server, stored: list[Sample]
) -> None:
    with orthanc.client() as http:
        (patient,) = http.get("/patients").json()
        assert http.delete(f"/patients/{patient}").is_success
    assert s3.keys() == []


def test_retrieval_when_the_cache_is_warm_then_the_bucket_is_not_asked(
    orthanc: BareOrthanc, s3: S3Server, stored: list[Sample]
) -> None:
    before = orthanc.metrics()
    s3.requests.clear()
    found = account(orthanc.client(), stored, {sample.uid for sample in stored})
    assert found.kept, str(found)
    assert not s3.seen("GET")
    after = orthanc.metrics()
    assert after["orthweb_s3_cache_hits_total"] >= before.get("orthweb_s3_cache_hits_total", 0) + 4
    assert after["orthweb_s3_create_total"] >= 8
    assert after["orthweb_s3_create_bytes_total"] > 4 * len(stored[0].content)
    assert after["orthweb_s3_create_seconds_total"] > 0


def test_retrieval_when_another_program_wrote_the_objects_then_they_are_read(
    orthanc: BareOrthanc, s3: S3Server, stored: list[Sample], folder: Path
) -> None:
    keys = s3.keys()
    for key in keys:
        s3.write(key, s3.read(key))
        assert not s3.head(key)["Metadata"]
    _forget(folder / "cache")
    assert account(orthanc.client(), stored, {sample.uid for sample in stored}).kept


def _forget(cache: Path) -> None:
    for path in cache.rglob("*"):
        if path.is_file():
            path.unlink()


def test_process_when_it_runs_then_no_secret_is_in_its_log_environment_or_configuration(
    orthanc: BareOrthanc, s3: S3Server, stored: list[Sample]
) -> None:
    file = configparser.ConfigParser(interpolation=None)
    file.read(s3.credentials)
    assert orthanc.process is not None
    process = Path("/proc") / str(orthanc.process.pid)
    shown = [orthanc.said().encode(), *((process / name).read_bytes() for name in ("environ", "cmdline"))]
    shown.append((orthanc.folder / "orthanc.json").read_bytes())
    for name in ("aws_secret_access_key", "aws_session_token"):
        secret = file["default"][name].encode()
        assert not [text for text in shown if secret in text]
    assert stored[0].uid not in orthanc.said()


def test_start_when_a_setting_is_wrong_then_orthanc_does_not_start_and_keeps_nothing_in_a_folder(
    s3: S3Server, folder: Path
) -> None:
    for change, said in (
        ({"Bucket": ""}, "Orthweb.S3.Bucket: is missing"),
        ({"CaFile": "/nonexistent.pem"}, "Orthweb.S3.CaFile: /nonexistent.pem: No such file"),
        ({"Speed": 3}, "Orthweb.S3.Speed: is not known"),
    ):
        with bare_orthanc(folder, start=False, orthweb={"Store": "s3", "S3": s3_section(s3, **change)}) as broken:
            broken.start(wait=False)
            assert broken.process is not None
            assert broken.process.wait(20) != 0
            assert said in broken.said()


def test_start_when_there_is_no_bucket_then_orthanc_says_so_refuses_and_works_when_there_is_one(
    tmp_path: Path,
) -> None:
    (sample,) = samples(tmp_path / "slices", 1, seed="no bucket")
    with (
        s3_server(tmp_path, create=False) as s3,
        bare_orthanc(tmp_path, orthweb={"Store": "s3", "S3": s3_section(s3)}) as orthanc,
    ):
        said = "the bucket takes no more objects: write orthweb-probe: the server answers 404 NoSuchBucket"
        eventually(lambda: said in orthanc.said(), 10, "it does not say that there is no bucket")
        with sending(orthanc.peer, [sample], patience=0) as send:
            pass
        assert {status & 0xFF00 for status in send.statuses} == {0xA700}, str(send)
        assert not _uploads(orthanc, sample)
        s3.client().create_bucket(Bucket=s3.bucket, CreateBucketConfiguration={"LocationConstraint": s3.region})
        with sending(orthanc.peer, [sample], patience=0) as send:
            pass
        assert account(orthanc.client(), [sample], send.acknowledged).kept
        assert len(send.acknowledged) == 1
        assert "the bucket takes objects again" in orthanc.said()


def _uploads(orthanc: BareOrthanc, sample: Sample) -> bool:
    """Tell whether upload or STOW-RS answers anything that a client could take for success."""
    body = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + sample.content + b"\r\n--cut--\r\n"
    kind = {"content-type": 'multipart/related; type="application/dicom"; boundary=cut'}
    with orthanc.client() as http:
        upload = http.post("/instances", content=sample.content)
        stow = http.post("/dicom-web/studies", content=body, headers=kind)
    return upload.is_success or stow.is_success


# --- without Orthanc -------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(s3: S3Server) -> Iterator[S3Server]:
    s3.requests.clear()
    yield s3
    for key in s3.keys("alone/"):
        s3.delete(key)


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {"x-amz-server-side-encryption": None, "x-amz-storage-class": None}),
        ({"encryption": "s3"}, {"x-amz-server-side-encryption": "AES256"}),
        ({"encryption": "kms"}, {"x-amz-server-side-encryption": "aws:kms"}),
        (
            {"encryption": "kms", "kms_key": "alias/images", "storage_class": "STANDARD_IA"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "alias/images",
                "x-amz-storage-class": "STANDARD_IA",
            },
        ),
    ],
)
def test_put_when_encryption_and_storage_class_are_asked_for_then_the_server_sees_it(
    empty: S3Server, settings: dict[str, str], headers: dict[str, str | None]
) -> None:
    bucket = Bucket(_settings(empty, **settings))
    for content in (b"small", bytes(MULTIPART + 1)):
        empty.requests.clear()
        bucket.put("alone/one.dcm", content)
        first = empty.requests[0]
        assert first.query == ("uploads=" if len(content) > 5 else "")
        assert {name: first.headers.get(name) for name in headers} == headers
        assert bucket.get("alone/one.dcm") == (content, hashlib.sha256(content).hexdigest())


def test_put_when_the_object_is_large_then_each_part_has_a_checksum_and_a_failure_leaves_no_part(
    empty: S3Server,
) -> None:
    bucket = Bucket(_settings(empty, deadline=1))
    bucket.put("alone/large.dcm", bytes(MULTIPART + 1))
    parts = [put for put in empty.seen("PUT") if "partNumber" in put.query]
    assert len(parts) == 3
    assert all("x-amz-checksum-sha256" in part.headers for part in parts)
    with empty.fault(500, "InternalError", methods={"PUT"}), pytest.raises(StoreError, match="500 InternalError"):
        bucket.put("alone/failed.dcm", bytes(MULTIPART))
    assert empty.keys("alone/") == ["alone/large.dcm"]
    assert not empty.client().list_multipart_uploads(Bucket=empty.bucket).get("Uploads")


def test_get_when_the_object_is_damaged_or_missing_then_it_says_so(empty: S3Server) -> None:
    bucket = Bucket(_settings(empty))
    bucket.put("alone/one.dcm", bytes(1000))
    empty.corrupt("alone/one.dcm")
    with pytest.raises(DamagedObjectError, match="SHA-256"):
        bucket.get("alone/one.dcm")
    with pytest.raises(MissingObjectError, match="there is no such object"):
        bucket.get("alone/two.dcm")


def test_get_when_a_bit_is_wrong_on_the_way_then_it_is_read_again(empty: S3Server) -> None:
    bucket = Bucket(_settings(empty))
    bucket.put("alone/one.dcm", bytes(1000))
    with empty.fault(harm="flip", times=1) as fault:
        assert bucket.get("alone/one.dcm")[0] == bytes(1000)
    assert fault.hits == 1


def test_remove_when_the_object_is_gone_or_the_line_is_cut_then_it_is_no_error(empty: S3Server) -> None:
    bucket = Bucket(_settings(empty))
    bucket.put("alone/one.dcm", b"1")
    with empty.fault(harm="cut request", times=1):
        bucket.remove("alone/one.dcm")
    bucket.remove("alone/one.dcm")
    assert empty.keys("alone/") == []


def test_probe_when_writing_is_forbidden_then_it_says_so_and_it_never_writes(empty: S3Server) -> None:
    bucket = Bucket(_settings(empty, root="alone/"))
    bucket.probe()
    with empty.fault(403, "AccessDenied", methods={"PUT"}), pytest.raises(StoreError, match="may not do this"):
        bucket.probe()
    assert empty.keys("alone/") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ca": None}, "certificate is not trusted"),
        ({"endpoint": "https://localhost:1"}, "Connection refused"),
        ({"endpoint": "https://s3.invalid"}, "failed to lookup address"),
        ({"credentials": Path("/nonexistent")}, "/nonexistent: No such file or directory"),
    ],
)
def test_put_when_the_server_cannot_be_reached_then_the_message_says_why(
    empty: S3Server, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(StoreError, match=said):
        Bucket(_settings(empty, deadline=0.5, **change)).put("alone/one.dcm", b"1")


def test_put_when_addressing_is_virtual_then_the_bucket_is_in_the_host_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tmp_path, tls=False) as s3:
        # No name server knows the host: the test's server takes the request as a proxy would.
        monkeypatch.setenv("http_proxy", s3.endpoint)
        settings = _settings(s3, endpoint="http://s3.example.org", addressing="virtual")
        Bucket(settings).put("alone/one.dcm", b"1")
        assert s3.requests[0].headers["host"] == f"{s3.bucket}.s3.example.org"
        assert s3.keys() == ["alone/one.dcm"]


def test_credentials_when_there_is_no_file_then_the_default_chain_of_aws_is_used(
    empty: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = configparser.ConfigParser(interpolation=None)
    file.read(empty.credentials)
    for name, value in file["default"].items():
        monkeypatch.setenv(name.upper(), value)
    Bucket(_settings(empty, credentials=None)).put("alone/one.dcm", b"1")
    assert empty.keys("alone/") == ["alone/one.dcm"]

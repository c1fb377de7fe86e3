"""The parts of the S3 store that need no server: names, settings, credentials, messages, counts and the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from s3_store.credentials import CredentialsError, CredentialsFile
from s3_store.failures import MissingObjectError, StoreError, failure
from s3_store.gate import Gate
from s3_store.layout import key
from s3_store.metrics import Metrics
from s3_store.report import Reporter
from s3_store.settings import Settings, SettingsError

UUID = "1b2f8a04-2d3d-4f3c-9d0a-2c8f4f1f0a11"


@pytest.mark.parametrize(
    ("content_type", "extension"), [(0, ".unk"), (1, ".dcm"), (2, ".json"), (3, ".dcm.head"), (1024, ".unk")]
)
def test_key_when_given_each_content_type_then_it_is_the_official_plugins(content_type: int, extension: str) -> None:
    assert key("", UUID, content_type) == UUID + extension
    assert key("pacs/images/", UUID, content_type) == f"pacs/images/{UUID}{extension}"


def test_settings_when_only_a_bucket_is_given_then_the_rest_is_that_of_aws() -> None:
    found = Settings.read({"Bucket": "images", "Endpoint": "", "CaFile": "", "CredentialsFile": ""})
    assert found == Settings("images")
    assert found.virtual


@pytest.mark.parametrize(
    ("bucket", "endpoint", "addressing", "virtual"),
    [
        ("images", "", "auto", True),
        ("images.example.org", "", "auto", False),
        ("images", "https://s3.example.org", "auto", False),
        ("images", "https://s3.example.org", "virtual", True),
        ("images", "", "path", False),
    ],
)
def test_settings_when_addressing_is_chosen_or_not_then_the_bucket_is_where_certificates_fit(
    bucket: str, endpoint: str, addressing: str, virtual: bool
) -> None:
    assert Settings(bucket, endpoint=endpoint, addressing=addressing).virtual == virtual


def test_settings_when_all_are_given_then_they_are_read() -> None:
    found = Settings.read(
        {
            "Bucket": "images",
            "Root": "a/",
            "Region": "eu-central-1",
            "Endpoint": "https://s3.example.org:9000/",
            "Addressing": "auto",
            "CaFile": "/etc/ca.pem",
            "CredentialsFile": "/run/credentials",
            "Encryption": "kms",
            "KmsKey": "alias/x",
            "StorageClass": "STANDARD_IA",
            "Deadline": 30,
            "CacheSize": 1000,
            "CacheFolder": "/var/cache",
        }
    )
    assert found.endpoint == "https://s3.example.org:9000"
    assert not found.virtual
    assert (found.ca, found.cache_folder) == (Path("/etc/ca.pem"), Path("/var/cache"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Bucket": ""}, "Bucket"),
        ({"Bucket": 3}, "Bucket"),
        ({"Root": "images"}, "Root"),
        ({"Root": "/images/"}, "Root"),
        ({"Addressing": "host"}, "Addressing"),
        ({"Encryption": "none"}, "Encryption"),
        ({"Deadline": 0}, "Deadline"),
        ({"Deadline": "soon"}, "Deadline"),
        ({"CacheSize": -1}, "CacheSize"),
        ({"CacheSize": 5}, "CacheFolder"),
        ({"Bukcet": "images"}, "Bukcet"),
    ],
)
def test_settings_when_one_is_wrong_then_the_message_names_it(change: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=rf"Orthweb\.S3\.{named}"):
        Settings.read({"Bucket": "images"} | change)


def test_settings_when_there_is_no_bucket_then_the_message_names_it() -> None:
    with pytest.raises(SettingsError, match=r"Orthweb\.S3\.Bucket: is missing"):
        Settings.read({})


def _write(path: Path, access_key: str, *, token: str = "") -> None:
    new = path.with_suffix(".new")
    more = f"aws_session_token = {token}\n" if token else ""
    new.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = s%cret\n{more}[other]\n")
    new.replace(path)


def test_credentials_when_the_file_is_renewed_then_the_new_ones_are_given(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    _write(file, "AKIAOLD")
    provider = CredentialsFile(file)
    first = provider()
    assert (first["access_key_id"], first["secret_access_key"], first.get("token")) == ("AKIAOLD", "s%cret", None)
    _write(file, "AKIANEW", token="session")
    second = provider()
    assert (second["access_key_id"], second.get("token")) == ("AKIANEW", "session")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[other]\naws_access_key_id = TOPSECRET\n",
        "[default]\naws_access_key_id = TOPSECRET\n",
        "TOPSECRET",
        "[default]\naws_secret_access_key = TOPSECRET\n",
    ],
)
def test_credentials_when_the_file_is_wrong_then_the_message_names_it_and_quotes_nothing(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "credentials"
    file.write_text(content)
    with pytest.raises(CredentialsError) as caught:
        CredentialsFile(file)()
    assert str(file) in str(caught.value)
    assert "TOPSECRET" not in str(caught.value)


def test_credentials_when_the_file_is_gone_then_the_message_names_it(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="gone: No such file"):
        CredentialsFile(tmp_path / "gone")()


ANSWER = "Error performing PUT https://s3/x in 1ms - Server returned non-2xx status code: {}: <Error><Code>{}</Code>"


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [
        (ANSWER.format("403 Forbidden", "AccessDenied"), "403 AccessDenied (the credentials may not", 403),
        (ANSWER.format("404 Not Found", "NoSuchBucket"), "the bucket does not exist", 404),
        (ANSWER.format("403 Forbidden", "RequestTimeTooSkewed"), "clock is wrong", 403),
        (ANSWER.format("503 Service Unavailable", "SlowDown"), "the server answers 503 SlowDown", 503),
        ('error: Os { code: 104, message: "Connection reset by peer" }', "no answer: Connection reset by peer", 0),
        ("kind: Other, error: InvalidCertificate(\n  UnknownIssuer,\n)", "not trusted (UnknownIssuer)", 0),
        ("HttpError {\n kind: Timeout,", "no answer in time", 0),
        ("first line\n\nDebug source:\nGeneric {", "first line", 0),
    ],
)
def test_failure_when_obstore_tells_a_story_then_one_line_remains(text: str, said: str, status: int) -> None:
    found = failure("write", "a.dcm", ValueError(text))
    assert str(found).startswith("write a.dcm: ")
    assert said in str(found)
    assert "\n" not in str(found)
    assert found.status == status
    assert not isinstance(found, MissingObjectError)


def test_failure_when_there_is_no_such_object_then_it_is_of_that_kind() -> None:
    missing = failure("read", "a.dcm", FileNotFoundError(ANSWER.format("404 Not Found", "NoSuchKey")))
    assert isinstance(missing, MissingObjectError)


def test_metrics_when_operations_succeed_and_fail_then_each_is_counted() -> None:
    metrics = Metrics()
    with metrics.operation("create", 10):
        pass
    with pytest.raises(StoreError), metrics.operation("create", 10):
        raise StoreError("no")
    metrics.add("cache_hits_total", 1)
    published = metrics.all()
    assert published["orthweb_s3_create_total"] == 2
    assert published["orthweb_s3_create_errors_total"] == 1
    assert published["orthweb_s3_create_bytes_total"] == 10
    assert published["orthweb_s3_create_seconds_total"] > 0
    assert published["orthweb_s3_cache_hits_total"] == 1
    assert published["orthweb_s3_remove_errors_total"] == 0


def test_report_when_figures_change_then_they_are_in_the_file_and_those_that_changed_are_published(
    tmp_path: Path,
) -> None:
    published: dict[str, float] = {}
    metrics = Metrics()
    reporter = Reporter(metrics, str(tmp_path), published.__setitem__)
    reporter.report()
    assert published.pop("orthweb_s3_create_total") == 0
    published.clear()
    metrics.add("cache_hits_total", 3)
    reporter.report()
    assert published == {"orthweb_s3_cache_hits_total": 3}
    lines = (tmp_path / "s3.prom").read_text().splitlines()
    assert "orthweb_s3_cache_hits_total 3" in lines
    assert "orthweb_s3_remove_errors_total 0" in lines


def test_report_when_the_folder_is_gone_then_it_says_nothing_and_writes_when_it_is_back(tmp_path: Path) -> None:
    metrics = Metrics()
    reporter = Reporter(metrics, str(tmp_path / "work"), None)
    reporter.report()
    (tmp_path / "work").mkdir()
    reporter.report()
    assert (tmp_path / "work" / "s3.prom").exists()


def test_gate_when_writes_fail_and_succeed_then_it_closes_opens_and_logs_each_change_once() -> None:
    said: list[str] = []
    probes: list[str] = []

    def probe() -> None:
        probes.append("probe")

    gate = Gate(probe, said.append)
    assert gate.admits("/tools/find")
    assert not probes, "what brings no instance needs no probe"
    assert gate.admits("/dicom-web/studies")
    for _ in range(2):
        with pytest.raises(StoreError), gate.writing():
            raise StoreError("write a.dcm: the server answers 403")
        assert not gate.admits("/instances")
    with gate.writing():
        pass
    assert gate.admits("/dicom-web/studies/1.2.3")
    assert said == [
        "the bucket takes no more objects: write a.dcm: the server answers 403",
        "the bucket takes objects again",
    ]
    assert len(probes) == 1, "a write says as much as a probe"


def test_gate_when_an_idle_bucket_is_gone_then_the_first_upload_is_refused() -> None:
    def probe() -> None:
        raise StoreError("no answer")

    gate = Gate(probe, lambda _: None)
    assert not gate.admits("/instances")
    assert gate.admits("/studies")

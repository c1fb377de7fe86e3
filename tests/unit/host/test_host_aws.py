"""What a host reads from its account and writes there, against moto in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from moto import mock_aws

from orthweb.errors import OrthwebError, UsageError
from orthweb.host import authorities, parameters, rds, rotation, settings, vault
from orthweb.host.account import AwsAccount, AwsError
from orthweb.host.settings import HostSettings
from orthweb.host.status import HEARTBEAT, LONGEST, ROOM, StatusParameter, document, one_line
from orthweb.host.vault import Vault, Version

REGION = "eu-central-1"
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsAccount]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield AwsAccount(HostSettings("pacs", REGION, "/orthweb/pacs"))


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


def put(name: str, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    client("ssm").put_parameter(Name=f"/orthweb/pacs/{name}", Value=text, Type="String")


# --- settings ---------------------------------------------------------------------------------------------------


def test_settings_are_what_the_user_data_wrote(tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    file.write_text('{"name": "pacs", "region": "eu-central-1", "prefix": "/orthweb/pacs", "ops_image": "x"}')
    found = settings.read(file)
    assert found.secret("index") == "orthweb/pacs/index"
    assert found.parameter("hosts/i-1") == "/orthweb/pacs/hosts/i-1"


def test_machine_that_is_no_host_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no host of a site"):
        settings.read(tmp_path / "host.json")


# --- parameters -------------------------------------------------------------------------------------------------


def test_parameters_are_read_over_all_pages(account: AwsAccount) -> None:
    put("site", "# All defaults.\n")
    put("images", {"archive": "a:1", "edge": "e:1", "ops": "o:1"})
    put(
        "deployment",
        {
            "region": REGION,
            "topology": "ha",
            "bucket": "b",
            "ports": {"https": 443, "health": 8444},
            "log_groups": {"containers": "/orthweb/pacs/containers"},
            "lifecycle_hook": None,
            "new": 1,
        },
    )
    for number in range(12):  # AWS gives ten at a time
        put(f"files/ca-{number}.pem", f"certificate {number}")
    put("hosts/i-2", {"state": "failed", "at": "2026-11-23T09:00:00+00:00", "message": "x", "applied": "d"})
    found = parameters.read(account)
    assert len(found.files) == 12
    assert found.images["edge"] == "e:1"
    assert found.deployment.highly_available
    assert found.deployment.ports.health == 8444
    assert found.deployment.ports.dicom == 11112
    assert found.deployment.log_group == "/orthweb/pacs/containers"
    assert found.deployment.lifecycle_hook == ""
    assert found.others["i-2"].state == "failed"


def test_what_a_host_says_of_itself_is_no_change_of_the_site() -> None:
    texts = {"images": "{}", "deployment": "{}", "site": "x"}
    with_host = texts | {"hosts/i-1": '{"state": "ready"}'}
    one, other = parameters.parse(texts, "/p"), parameters.parse(with_host, "/p")
    assert one.digest == other.digest
    assert one.digest != parameters.parse(texts | {"site": "y"}, "/p").digest


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"images": "{}"}, "/p/deployment: there is no such parameter"),
        ({"images": "[]", "deployment": "{}"}, "/p/images: should be a JSON object"),
        ({"images": "{}", "deployment": '{"ports": {"smtp": 25}}'}, "/p/deployment: ports"),
    ],
)
def test_wrong_parameter_is_named(texts: dict[str, str], words: str) -> None:
    with pytest.raises(OrthwebError, match=words):
        parameters.parse(texts, "/p")


def test_nonsense_of_another_host_is_ignored() -> None:
    found = parameters.parse({"images": "{}", "deployment": "{}", "hosts/i-1": "nonsense"}, "/p")
    assert found.others["i-1"].state == ""


# --- secrets ----------------------------------------------------------------------------------------------------


def test_empty_secret_is_filled_once(account: AwsAccount) -> None:
    client("secretsmanager").create_secret(Name="orthweb/pacs/admin")
    store = Vault(account)
    assert store.read(vault.ADMIN) is None
    assert store.fill(vault.ADMIN, {"username": "admin", "password": "one"}).values["password"] == "one"
    assert store.fill(vault.ADMIN, {"username": "admin", "password": "two"}).values["password"] == "one"


def test_secret_that_is_no_json_is_named_and_not_shown(account: AwsAccount) -> None:
    client("secretsmanager").create_secret(Name="orthweb/pacs/admin", SecretString="hunter2")
    with pytest.raises(OrthwebError, match="orthweb/pacs/admin: should be a JSON object") as raised:
        Vault(account).read(vault.ADMIN)
    assert "hunter2" not in str(raised.value)


def test_version_shows_no_value() -> None:
    assert "hunter2" not in repr(Version("v", {"password": "hunter2"}, NOW))


def test_missing_permission_is_one_line_with_the_next_step(
    account: AwsAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    error = {
        "Error": {"Code": "AccessDeniedException", "Message": "not authorized to perform:\n ssm:GetParametersByPath"}
    }

    class Refusing:
        def get_paginator(self, _name: str) -> Any:
            raise ClientError(error, "GetParametersByPath")

    monkeypatch.setattr(account, "client", lambda _service: Refusing())
    with pytest.raises(AwsError) as raised:
        parameters.read(account)
    assert raised.value.code == "AccessDenied"
    assert str(raised.value) == (
        "parameters /orthweb/pacs: AWS says AccessDenied: not authorized to perform: ssm:GetParametersByPath "
        "(the role of the instance lacks this permission: orthweb up (or terraform apply) puts it back)"
    )


@pytest.mark.parametrize(
    ("age", "pending", "days", "expected"),
    [
        (29, None, 30, False),
        (30, None, 30, True),
        (300, None, 0, False),
        (1, "other", 30, True),
        (1, "current", 30, False),
    ],
)
def test_rotation_is_due_when_the_password_is_old_or_one_was_begun(
    age: int, pending: str | None, days: int, expected: bool
) -> None:
    current = Version("current", {}, NOW - timedelta(days=age))
    waiting = Version(pending, {}, NOW) if pending else None
    assert rotation.due(current, waiting, days, NOW) is expected


@pytest.mark.parametrize("which", [vault.ADMIN, vault.INDEX, vault.SITE, vault.TLS, vault.CERTIFICATE])
def test_secret_that_holds_an_empty_object_is_empty(account: AwsAccount, which: str) -> None:
    """Terraform writes it where a person did not give what they said they would."""
    client("secretsmanager").create_secret(Name=f"orthweb/pacs/{which}", SecretString="{}")
    assert Vault(account).read(which) is None
    assert Vault(account).fill(which, {"password": "made"}).values == {"password": "made"}


def test_secret_that_was_emptied_gets_back_what_it_had(account: AwsAccount) -> None:
    client("secretsmanager").create_secret(Name="orthweb/pacs/admin", SecretString='{"password": "good"}')
    client("secretsmanager").put_secret_value(SecretId="orthweb/pacs/admin", SecretString="{}")
    assert Vault(account).fill(vault.ADMIN, {"password": "made"}).values == {"password": "good"}


def test_polled_secret_is_read_again_when_it_has_another_version_alone(
    account: AwsAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    client("secretsmanager").create_secret(Name="orthweb/pacs/index")
    store, read = Vault(account), list[str]()
    former = store.read_named

    def counting(name: str, stage: vault.Stage = "AWSCURRENT") -> Version | None:
        read.append(stage)
        return former(name, stage)

    monkeypatch.setattr(store, "read_named", counting)
    assert store.poll(vault.INDEX, "AWSCURRENT", "AWSPENDING") == [None, None]
    store.put(vault.INDEX, {"password": "one"})
    for _ in range(3):
        current, pending = store.poll(vault.INDEX, "AWSCURRENT", "AWSPENDING")
        assert current is not None
        assert (current.values["password"], pending) == ("one", None)
    store.put(vault.INDEX, {"password": "two"}, "AWSPENDING")
    current, pending = store.poll(vault.INDEX, "AWSCURRENT", "AWSPENDING")
    assert pending is not None
    assert pending.values["password"] == "two"
    store.promote(vault.INDEX, pending)
    del read[2:]
    current, pending = store.poll(vault.INDEX, "AWSCURRENT", "AWSPENDING")
    assert current is not None
    assert (current.values["password"], pending) == ("two", None)
    assert read == ["AWSCURRENT", "AWSPENDING"], "each version once"


# --- credentials ------------------------------------------------------------------------------------------------


def test_account_without_credentials_for_a_moment_has_them_in_the_next_round(
    account: AwsAccount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name in keys:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(AwsError) as raised:
        account.client("ssm")
    assert raised.value.code == "NoCredentials"
    assert "tried again by itself" in str(raised.value)
    for name in keys:
        monkeypatch.setenv(name, "testing")
    assert account.client("ssm") is account.client("ssm")
    assert account.client("ssm").get_parameters_by_path(Path="/orthweb/pacs")["Parameters"] == []


def test_metadata_service_may_be_slow_at_times(account: AwsAccount) -> None:
    source = account._signed_in()._session
    assert source.get_config_variable("metadata_service_num_attempts") == 5
    assert source.get_config_variable("metadata_service_timeout") == 3


# --- status -----------------------------------------------------------------------------------------------------


def status_text() -> dict[str, Any]:
    found = client("ssm").get_parameter(Name="/orthweb/pacs/hosts/i-1")["Parameter"]["Value"]
    return dict(json.loads(found))


def test_status_is_written_when_it_changes_and_as_a_sign_of_life(account: AwsAccount) -> None:
    now = NOW
    status = StatusParameter(account, "i-1", lambda: now)
    status.tell("pulling", "archive", images={"archive": "a:1"}, site="s", applied="d", agent="o:1")
    assert status_text() == {
        "state": "pulling", "at": "2026-11-23T09:00:00+00:00", "message": "archive", "images": {"archive": "a:1"},
        "site": "s", "applied": "d", "agent": "o:1",
    }  # fmt: skip
    now = NOW + HEARTBEAT / 2
    status.tell("pulling", "archive", images={"archive": "a:1"}, site="s", applied="d", agent="o:1")
    assert status_text()["at"] == "2026-11-23T09:00:00+00:00"
    now = NOW + HEARTBEAT
    status.tell("pulling", "archive", images={"archive": "a:1"}, site="s", applied="d", agent="o:1")
    assert status_text()["at"] == "2026-11-23T09:01:00+00:00"
    status.tell("ready", "serving")
    assert status_text()["state"] == "ready"


def test_status_hides_secrets_and_fits_with_the_newest_lines() -> None:
    lines = [f"line {number} hunter2 {'x' * 400}" for number in range(50)]
    text = document("failed", "no\nsign-in as hunter2", NOW, lines=lines, hidden=["hunter2", ""])
    found = json.loads(text)
    assert len(text) <= ROOM
    assert "hunter2" not in text
    assert found["message"] == "no sign-in as [hidden]"
    assert found["lines"][-1].startswith("line 49 [hidden]")
    assert all(len(line) <= LONGEST for line in found["lines"])


def test_line_has_no_line_breaks() -> None:
    assert one_line("a\n  b\tc") == "a b c"


# --- database ---------------------------------------------------------------------------------------------------


def test_database_that_is_not_there_is_waited_for(account: AwsAccount) -> None:
    assert rds.find(account, "pacs-index") == "database pacs-index: is not there yet"


def test_database_is_found_with_its_masters_secret(account: AwsAccount) -> None:
    client("rds").create_db_instance(
        DBInstanceIdentifier="pacs-index", DBInstanceClass="db.t4g.medium", Engine="postgres", Port=5432,
        MasterUsername="orthweb_master", ManageMasterUserPassword=True, AllocatedStorage=50,
    )  # fmt: skip
    found = rds.find(account, "pacs-index")
    assert isinstance(found, rds.Rds)
    assert found.port == 5432
    assert found.master_secret.startswith("arn:aws:secretsmanager:")


@pytest.mark.parametrize("state", ["creating", "stopped", "incompatible-network"])
def test_database_that_does_not_serve_is_waited_for(
    account: AwsAccount, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    class Answering:
        def describe_db_instances(self, **_words: str) -> Any:
            return {"DBInstances": [{"DBInstanceStatus": state, "Endpoint": {"Address": "a", "Port": 1}}]}

    monkeypatch.setattr(account, "client", lambda _service: Answering())
    assert rds.find(account, "pacs-index") == f"database pacs-index: {state}"


def test_shipped_roots_are_those_of_the_region_self_signed_and_valid_for_decades() -> None:
    found = x509.load_pem_x509_certificates(authorities.shipped("eu-central-1"))
    assert len(found) == 3
    for each in found:
        each.verify_directly_issued_by(each)
        assert each.not_valid_after_utc.year >= 2061
        assert "eu-central-1" in each.subject.rfc4514_string()


def test_region_without_shipped_roots_names_what_to_do() -> None:
    with pytest.raises(OrthwebError, match="let hosts reach that address"):
        authorities.roots("xx-new-1", "http://127.0.0.1:1/{region}", timeout=1)

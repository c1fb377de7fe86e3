from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from orthweb import pki
from orthweb.errors import OrthwebError
from orthweb.host import lifecycle, registry, shared, vault
from orthweb.host.account import AwsAccount
from orthweb.host.journal import Journal
from orthweb.host.loop import WaitError
from orthweb.host.parameters import Deployment
from orthweb.host.settings import HostSettings
from orthweb.host.vault import Vault, Version
from orthweb.site import Site

REGION = "eu-central-1"
ECR = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsAccount]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        for name in ("admin", "index", "site", "tls", "certificate"):
            boto3.client("secretsmanager", region_name=REGION).create_secret(Name=f"orthweb/pacs/{name}")
        yield AwsAccount(HostSettings("pacs", REGION, "/orthweb/pacs"))


def version(**values: str) -> Version:
    return Version("1", values, datetime.now(UTC))


def test_empty_secrets_are_filled_and_given_ones_kept(account: AwsAccount) -> None:
    store = Vault(account)
    store.put(vault.ADMIN, {"username": "admin", "password": "given"})
    shared.fill(store)
    before = {name: store.read(name) for name in (vault.ADMIN, vault.INDEX, vault.SITE)}
    shared.fill(store)
    assert before == {name: store.read(name) for name in (vault.ADMIN, vault.INDEX, vault.SITE)}
    admin, index, site = before.values()
    assert admin is not None
    assert admin.values["password"] == "given"
    assert index is not None
    assert index.values["username"] == "orthanc"
    assert len(index.values["password"]) == 32
    assert site is not None
    assert len(site.values["check_aet"]) == 16


def test_another_administrators_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrthwebError, match="names root"):
        shared.write_passwords(tmp_path, version(username="root", password="x"), version(check_aet="OW"))


def test_hosts_show_the_same_certificates_and_keep_their_inner_ones(tmp_path: Path) -> None:
    site, one, two = Site(), tmp_path / "one", tmp_path / "two"
    pki.ensure(one, site, tmp_path)
    given = shared.certificates(one)
    assert "internal-ca.key" not in given
    assert shared.write_certificates(two, version(**given))
    assert not shared.write_certificates(two, version(**given))
    pki.ensure(two, site, tmp_path)
    assert shared.certificates(two) == given
    assert (one / "internal-ca.key").read_bytes() != (two / "internal-ca.key").read_bytes()
    assert all(path.stat().st_mode & 0o077 == 0 for path in two.glob("*.key"))


def test_secret_without_the_authoritys_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrthwebError, match="lacks the site's CA"):
        shared.write_certificates(tmp_path, version(**{"site-ca.pem": "x"}))


class Engine:
    """An engine that has some images, and cannot pull others."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.said: list[tuple[str, ...]] = []

    def image(self, reference: str) -> object | None:
        return object() if reference in self.known else None

    def run(self, *words: str) -> str:
        self.said.append(words)
        if words[0] == "pull" and "lost" in words[-1]:
            raise OrthwebError("docker pull: manifest unknown")
        return "orthweb 0.2.0\n"


def test_missing_images_are_pulled_with_a_token_for_their_registry(
    account: AwsAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    engine: Any = Engine(f"{ECR}/pacs/edge:1")
    registry.pull(account, engine, [f"{ECR}/pacs/edge:1", f"{ECR}/pacs/archive:1"], tmp_path / "docker", print)
    assert engine.said == [("pull", "--quiet", f"{ECR}/pacs/archive:1")]
    config = tmp_path / "docker" / "config.json"
    assert set(json.loads(config.read_text())["auths"]) == {ECR}
    assert config.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("DOCKER_CONFIG")


def test_image_that_is_not_there_yet_is_waited_for(
    account: AwsAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "")
    engine: Any = Engine()
    with pytest.raises(WaitError, match=r"waiting for registry.example.org/lost:1") as raised:
        registry.pull(account, engine, ["registry.example.org/lost:1"], tmp_path / "docker", print)
    assert raised.value.state == "pulling"


OF_BEFORE = """\
{repository}/archive 2 sha256:a2
{repository}/archive 1 sha256:a1
{repository}/archive 0 sha256:a0
{repository}/ops 1 sha256:o1
registry.example.org/edge <none> sha256:e1
registry.example.org/edge <none> sha256:e2
debian trixie sha256:d1
<none> <none> <none>
"""


class Disk:
    """An engine whose disk is full until images were removed; a container runs with one of before."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.removed: list[str] = []
        self.pulled: list[str] = []

    def image(self, _reference: str) -> None:
        return None

    def run(self, *words: str) -> str:
        if words[0] == "ps":
            return f"{ECR}/pacs/archive:1\n"
        if words[:2] == ("image", "ls"):
            return OF_BEFORE.format(repository=f"{ECR}/pacs")
        if words[:2] == ("image", "rm"):
            self.removed.append(words[2])
            self.full = False
        if words[0] == "pull":
            if self.full:
                raise OrthwebError("docker pull: write /var/lib/docker/tmp: no space left on device")
            self.pulled.append(words[-1])
        return ""


WANTED = (f"{ECR}/pacs/archive:2", "registry.example.org/edge@sha256:e2", f"{ECR}/pacs/ops:1")


def test_images_of_former_versions_that_nothing_runs_are_removed_and_no_others() -> None:
    disk: Any = Disk()
    removed = [f"{ECR}/pacs/archive:0", "registry.example.org/edge@sha256:e1"]
    assert registry.prune(disk, WANTED, lambda _line: None) == removed
    assert disk.removed == removed


def test_full_disk_loses_what_nothing_needs_and_takes_the_new_image(account: AwsAccount, tmp_path: Path) -> None:
    disk: Any = Disk(full=True)
    registry.pull(account, disk, WANTED[:1], tmp_path / "docker", lambda _line: None)
    assert disk.pulled == [WANTED[0]]


def test_full_disk_with_nothing_to_lose_is_a_failure_with_the_next_step(account: AwsAccount, tmp_path: Path) -> None:
    disk: Any = Disk(full=True)
    with pytest.raises(OrthwebError, match="does not fit on the disk") as raised:
        registry.pull(account, disk, ["debian:trixie"], tmp_path / "docker", lambda _line: None)
    assert not isinstance(raised.value, WaitError)
    assert "disk_size" in str(raised.value)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("registry.example.org:5000/pacs/ops:1", "registry.example.org:5000/pacs/ops"),
        ("registry.example.org:5000/pacs/ops", "registry.example.org:5000/pacs/ops"),
        ("pacs/ops@sha256:ab", "pacs/ops"),
        ("ops:1@sha256:ab", "ops"),
    ],
)
def test_repository_of_a_reference(reference: str, expected: str) -> None:
    assert registry.repository(reference) == expected


def test_secret_that_lacks_a_value_says_what_to_put(tmp_path: Path) -> None:
    with pytest.raises(OrthwebError, match="secret of the administrator lacks password") as raised:
        shared.write_passwords(tmp_path, version(username="admin"), version(check_aet="OW"))
    assert 'put {"username": "admin", "password": ...}' in str(raised.value)


def test_host_that_waits_tells_its_group(account: AwsAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[dict[str, str]]()

    class Group:
        def record_lifecycle_action_heartbeat(self, **words: str) -> None:
            said.append(words)

    monkeypatch.setattr(account, "client", lambda _service: Group())
    lifecycle.beat(account, Deployment(), "i-1")
    lifecycle.beat(account, Deployment(autoscaling_group="pacs", lifecycle_hook="pacs-ready"), "i-1")
    assert said == [{"AutoScalingGroupName": "pacs", "LifecycleHookName": "pacs-ready", "InstanceId": "i-1"}]


def test_journal_sends_what_was_said_and_keeps_what_it_cannot_send(account: AwsAccount) -> None:
    logs = boto3.client("logs", region_name=REGION)
    journal = Journal(account, "/orthweb/pacs/host", "i-1")
    journal.add("one")
    journal.send()  # there is no such group yet
    logs.create_log_group(logGroupName="/orthweb/pacs/host")
    journal.add("two")
    journal.send()
    journal.send()
    found = logs.get_log_events(logGroupName="/orthweb/pacs/host", logStreamName="i-1", startFromHead=True)
    said = [json.loads(each["message"]) for each in found["events"]]
    assert said == [{"level": "info", "message": "one"}, {"level": "info", "message": "two"}]


def test_journal_sends_in_the_order_of_time_though_the_clock_was_set_back(
    account: AwsAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, sent = iter([30.0, 10.0, 20.0]), list[Any]()

    class Logs:
        def create_log_stream(self, **_words: str) -> None:
            pass

        def put_log_events(self, *, logEvents: list[Any], **_words: str) -> None:  # noqa: N803
            sent.extend(logEvents)

    monkeypatch.setattr(account, "client", lambda _service: Logs())
    journal = Journal(account, "/orthweb/pacs/host", "i-1", lambda: next(times))
    for line in ("one", "two", "three"):
        journal.add(line)
    journal.send()
    assert [each["timestamp"] for each in sent] == [10_000, 20_000, 30_000]


def test_host_of_no_group_completes_nothing(account: AwsAccount) -> None:
    assert not lifecycle.complete(account, Deployment(), "i-1")

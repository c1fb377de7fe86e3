"""Waiting for the hosts of a site, and starting and stopping them, against moto in this process."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from orthweb import secrets
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.aws import cautions, hosts, planning, power, reaching
from orthweb.targets.aws.hosts import Waiting
from orthweb.targets.aws.logs import CloudWatchLogs
from orthweb.targets.aws.place import Memory, Place
from orthweb.targets.base import quiet

REGION = "eu-central-1"
IMAGES = {"archive": "r/archive:1", "edge": "r/edge:1", "ops": "r/ops:1"}
SITE = 'name = "pacs"\n'
DIGEST = hashlib.sha256(SITE.encode()).hexdigest()


@cache
def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")


class Shared(Session):
    """A session whose clients the tests share: botocore takes a second for one of EC2."""

    def __init__(self) -> None:
        self.region = REGION

    def client(self, service: str) -> Any:
        return client(service)


@pytest.fixture
def session() -> Iterator[Session]:
    with mock_aws():
        put("site", SITE)
        put("images", json.dumps(IMAGES))
        yield Shared()


def put(name: str, value: str) -> None:
    client("ssm").put_parameter(Name=f"/orthweb/pacs/{name}", Value=value, Type="String", Overwrite=True)


def instance() -> str:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "orthweb:site", "Value": "pacs"}]}]
    made = client("ec2").run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=tags)
    return str(made["Instances"][0]["InstanceId"])


def says(identity: str, state: str, message: str = "", **more: object) -> None:
    document = {"state": state, "at": datetime.now(UTC).isoformat(), "message": message, "site": DIGEST}
    put(f"hosts/{identity}", json.dumps({**document, "images": IMAGES, **more}))


def waiting(
    session: Session, steps: Sequence[Callable[[], None]], lines: list[str], *, patience: float = 90.0
) -> list[str]:
    """Wait; each time the clock goes on, the next thing happens."""
    now, left = [0.0], list(steps)

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if left:
            left.pop(0)()

    return Waiting(
        session, "pacs", "", lines.append, clock=lambda: now[0], sleep=sleep, patience=patience, deadline=600.0
    ).run()


def test_waiting_when_the_host_goes_its_way_then_says_each_state_once_and_ends(session: Session) -> None:
    one = instance()
    lines: list[str] = []
    found = waiting(
        session,
        [
            lambda: says(one, "waiting-for-database", "database pacs-index: creating"),
            lambda: says(one, "pulling"),
            lambda: says(one, "ready", "serving"),
        ],
        lines,
    )
    assert found == [one]
    told = [line for line in lines if line.startswith("host ")]
    assert told == [
        f"host {one}: waiting-for-database, database pacs-index: creating",
        f"host {one}: pulling",
        f"host {one}: ready, serving",
    ]
    assert f"waiting for {one}: booting" in lines


@pytest.mark.parametrize("old", [{"site": "0" * 64}, {"images": {**IMAGES, "edge": "r/edge:0"}}])
def test_waiting_when_the_host_serves_what_it_did_before_then_goes_on(session: Session, old: dict[str, object]) -> None:
    one = instance()
    says(one, "ready", "serving", **old)
    steps = [lambda: says(one, "draining"), lambda: says(one, "ready", "serving")]
    lines: list[str] = []
    assert waiting(session, steps, lines) == [one]
    assert any("draining" in line for line in lines)


def test_waiting_when_a_host_fails_for_good_then_its_last_lines_are_told(session: Session) -> None:
    one = instance()
    says(one, "failed", "no space left", lines=["pulling r/archive:1", "no space left on device"])
    with pytest.raises(OrthwebError, match=f"host {one} failed: no space left") as caught:
        waiting(session, [], [])
    assert caught.value.message.splitlines()[1:] == ["  pulling r/archive:1", "  no space left on device"]


def test_waiting_when_a_host_fails_and_mends_itself_then_goes_on(session: Session) -> None:
    one = instance()
    says(one, "failed", "the registry does not answer")
    assert waiting(session, [lambda: None, lambda: says(one, "ready")], []) == [one]


def test_waiting_when_nothing_comes_then_ends_with_what_is_missing(session: Session) -> None:
    one = instance()
    with pytest.raises(OrthwebError, match=f"not ready after 10 minutes: {one}: booting"):
        waiting(session, [], [])


def test_host_when_it_says_nothing_any_more_then_is_stale(session: Session) -> None:
    one = instance()
    says(one, "ready", at=(datetime.now(UTC) - timedelta(minutes=10)).isoformat())
    assert hosts.read(session, "/orthweb/pacs").reports[one].stale(datetime.now(UTC))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"at": 3}', '{"state": "ready", "images": 3, "lines": "x"}'])
def test_host_when_it_says_nonsense_then_counts_as_not_ready(session: Session, text: str) -> None:
    put("hosts/i-1", text or " ")
    found = hosts.read(session, "/orthweb/pacs")
    assert not hosts.applied(found.reports["i-1"], found.wanted)


@pytest.mark.parametrize("state", ["ready", "failed"])
def test_waiting_when_the_report_is_from_before_the_host_was_started_then_waits_for_another(
    session: Session, state: str
) -> None:
    one = instance()
    says(one, state, "as it was", at=(datetime.now(UTC) - timedelta(minutes=1)).isoformat())
    lines: list[str] = []
    steps = [lambda: None] * 30 + [lambda: says(one, "ready", "serving")]
    assert waiting(session, steps, lines, patience=20.0) == [one]
    assert f"waiting for {one}: booting" in lines
    assert not any("as it was" in line for line in lines)


def test_waiting_when_a_host_falls_silent_then_it_does_not_count_as_ready(session: Session) -> None:
    one = instance()
    started_long_ago(one)
    says(one, "ready", "serving", at=(datetime.now(UTC) - timedelta(minutes=5)).isoformat())
    with pytest.raises(OrthwebError, match=f"{one}: says nothing any more \\(last: ready, serving\\)"):
        waiting(session, [], [])


def started_long_ago(identity: str) -> None:
    from moto.ec2.models import ec2_backends

    backend = ec2_backends["123456789012"][REGION]
    backend.get_instance(identity).launch_time = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)


def test_site_of_others_in_the_account_when_looked_for_then_is_not_ours(session: Session) -> None:
    instance()
    assert hosts.instances(session, "other") == []


def database(status: str = "available") -> None:
    client("rds").create_db_instance(
        DBInstanceIdentifier="pacs-index",
        DBInstanceClass="db.t4g.medium",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="x",
        ManageMasterUserPassword=True,
    )


def test_stop_and_start_when_called_then_host_and_database_stop_and_start(session: Session) -> None:
    one = instance()
    says(one, "ready", "serving")
    database()
    lines: list[str] = []
    assert power.stop(session, "pacs", lines.append)
    assert {each.state for each in hosts.instances(session, "pacs")} <= {"stopping", "stopped"}
    assert any("starts it again after 7 days" in line for line in lines)
    assert not power.stop(session, "pacs", lines.append)
    items = power.start(session, "pacs", lines.append, sleep=lambda _: None)
    assert [item.what for item in items] == ["database", f"host {one}"]
    assert hosts.read(session, "/orthweb/pacs").reports == {}
    assert power.start(session, "pacs", lines.append, sleep=lambda _: None) == []


def group_of_hosts() -> None:
    client("autoscaling").create_launch_configuration(
        LaunchConfigurationName="pacs", ImageId="ami-12c6146b", InstanceType="t3.large"
    )
    tag = {"Key": "orthweb:site", "Value": "pacs", "PropagateAtLaunch": True}
    client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="pacs",
        LaunchConfigurationName="pacs",
        MinSize=2,
        MaxSize=4,
        DesiredCapacity=2,
        AvailabilityZones=[f"{REGION}a"],
        Tags=[tag],
    )


def test_stop_when_hosts_are_a_group_then_it_is_emptied_and_none_is_stopped_to_be_replaced(session: Session) -> None:
    group_of_hosts()
    lines: list[str] = []
    assert power.stop(session, "pacs", lines.append)
    assert lines == ["group of hosts pacs: ends its hosts"]
    assert hosts.group_size(session, "pacs") == 0
    assert not any(each.state in ("stopping", "stopped") for each in hosts.instances(session, "pacs"))
    assert not power.stop(session, "pacs", lines.append)


def alarm(name: str, topic: str) -> None:
    client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        MetricName="x",
        Namespace="x",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[f"arn:aws:sns:{REGION}:123456789012:{topic}"],
    )


def test_stop_and_start_when_called_then_alarms_are_silent_meanwhile_and_others_are_left_alone(
    session: Session,
) -> None:
    instance()
    alarm("pacs-site-silent", "pacs-alarms")
    alarm("pacs-2-site-silent", "pacs-2-alarms")
    lines: list[str] = []
    assert power.stop(session, "pacs", lines.append)
    assert "alarms (1): silent until orthweb up" in lines
    assert power.alarms(session, "pacs") == {"pacs-site-silent": False}
    assert power.alarms(session, "pacs-2") == {"pacs-2-site-silent": True}
    items = power.start(session, "pacs", lines.append, sleep=lambda _: None)
    assert items[-1].what == "alarms (1)"
    assert power.alarms(session, "pacs") == {"pacs-site-silent": True}


def test_start_when_there_is_no_site_yet_then_does_nothing(session: Session) -> None:
    assert power.start(session, "pacs", quiet) == []


def test_reports_when_their_hosts_are_gone_then_are_forgotten(session: Session) -> None:
    one = instance()
    says(one, "ready")
    says("i-0gone", "ready")
    hosts.forget_gone(session, "pacs")
    assert set(hosts.read(session, "/orthweb/pacs").reports) == {one}
    hosts.forget(session, "pacs")
    assert hosts.read(session, "/orthweb/pacs").reports == {}


MEMORY = Memory("pacs", REGION, "111122223333", "10.83.0.0/16", "s3")


def site(text: str = "", name: str = "pacs") -> Any:
    from pathlib import Path

    from orthweb.sitefile import parse

    asked = 'https_from = ["203.0.113.0/24"]\ndicom_from = ["203.0.113.0/24"]\n'
    return parse(f'name = "{name}"\ntarget = "aws"\n[aws]\n{asked}{text}', Path("site.toml"))[0]


def test_site_when_it_is_as_before_then_nothing_is_refused() -> None:
    planning.check_same(site(), MEMORY, REGION, "111122223333")
    planning.check_same(site(name="other"), Memory(), REGION, "111122223333")


@pytest.mark.parametrize(
    ("changed", "region", "says"),
    [
        (site(name="other"), REGION, "name: other: the site on AWS has pacs: its database, bucket and keys"),
        (site(), "eu-west-1", "aws.region: eu-west-1: the site on AWS has eu-central-1"),
        (site('network = "10.90.0.0/16"\n'), REGION, r"aws.network: 10.90.0.0/16: the site on AWS has 10.83.0.0/16"),
        (site('[store]\nkind = "database"\n'), REGION, "store.kind: database: the images of this site are in s3"),
    ],
)
def test_site_when_a_change_would_make_another_of_it_then_refused_with_the_key(
    changed: Any, region: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        planning.check_same(changed, MEMORY, region, "111122223333")


def test_credentials_when_of_another_account_then_refused() -> None:
    with pytest.raises(UsageError, match="credentials for account 999999999999, and the site is in 111122223333"):
        planning.check_same(site(), MEMORY, REGION, "999999999999")


def test_warnings_when_everyone_may_come_and_little_is_protected_then_say_so() -> None:
    open_to_all = 'production = false\n[modalities.ct]\naet = "CT"\nhost = "ct.example.org"\nport = 104\n'
    found = site(open_to_all).model_copy()
    said = {item.what: item.why for item in cautions.warnings(found)}
    assert set(said) == {"aws.production", "aws.topology", "archive.image", "modalities.ct", "aws.state_bucket"}
    everyone = site('[archive]\nimage = "upstream"\n').aws.model_copy(
        update={"https_from": (planning_range(),), "dicom_from": (planning_range(),)}
    )
    both = {item.what for item in cautions.warnings(found.model_copy(update={"aws": everyone}))}
    assert {"aws.https_from", "aws.dicom_from"} <= both


def planning_range() -> Any:
    from ipaddress import IPv4Network

    return IPv4Network(cautions.EVERYONE)


def test_fetch_when_the_site_file_has_another_name_by_now_then_finds_the_site_as_it_was_made(
    session: Session, tmp_path: Path
) -> None:
    place = Place(site(name="other"), tmp_path)
    place.make()
    place.remember(MEMORY)
    for which, values in (
        ("admin", {"username": "admin", "password": "chosen-by-a-host"}),
        ("tls", {"site-ca.pem": "a", "check.pem": "b", "check.key": "c"}),
        ("site", {"check_aet": "OWCHECK"}),
    ):
        client("secretsmanager").create_secret(Name=f"orthweb/pacs/{which}", SecretString=json.dumps(values))
    reaching.fetch(session, place)
    assert secrets.admin_password(place.state.secrets) == "chosen-by-a-host"


def test_logs_when_the_index_is_a_managed_database_then_its_log_is_called_as_everywhere(session: Session) -> None:
    group = "/aws/rds/instance/pacs-index/postgresql"
    client("logs").create_log_group(logGroupName=group)
    client("logs").create_log_stream(logGroupName=group, logStreamName="pacs-index.0")
    event = {"timestamp": int(time.time() * 1000), "message": "connection authorized"}
    client("logs").put_log_events(logGroupName=group, logStreamName="pacs-index.0", logEvents=[event])
    found = CloudWatchLogs(session, {"database": group, "vpc-flow": "/orthweb/pacs/vpc-flow"})
    assert found.names() == ["index"]
    assert found.tail("index", 5).new() == ["pacs-index.0  connection authorized"]

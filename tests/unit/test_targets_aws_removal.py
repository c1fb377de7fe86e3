"""Removing a site from AWS: what protects it, what may be lifted, what stays and how it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from orthweb.aws import errors
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError, UsageError
from orthweb.permissions.policy import KEEPING
from orthweb.sitefile import parse
from orthweb.targets.aws import leftovers, planning, removal, work
from orthweb.targets.aws.place import Memory, Place
from orthweb.targets.base import quiet

REGION = "eu-central-1"
ACCOUNT = "123456789012"
SNAPSHOT = "pacs-final-20261123-081500"
ASKED = 'target = "aws"\n[aws]\nhttps_from = ["203.0.113.0/24"]\ndicom_from = ["203.0.113.0/24"]\n'
Json = dict[str, Any]


@cache
def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")


class Shared(Session):
    """A session whose clients the tests share."""

    def __init__(self, region: str | None = REGION) -> None:
        self.region = region or REGION

    def client(self, service: str) -> Any:
        return client(service)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(removal, "Session", Shared)
    with mock_aws():
        yield Shared()


def place(folder: Path, text: str = "", *, known: bool = True) -> Place:
    site = parse(f'name = "pacs"\n{ASKED}{text}', folder / "site.toml")[0]
    found = Place(site, folder)
    found.make()
    if known:
        found.remember(Memory("pacs", REGION, ACCOUNT, "10.83.0.0/16", "s3"))
    return found


def key(alias: str = "") -> str:
    arn = str(client("kms").create_key()["KeyMetadata"]["Arn"])
    if alias:
        client("kms").create_alias(AliasName=alias, TargetKeyId=arn)
    return arn


def database(arn: str, *, protected: bool = False) -> Json:
    vpc = client("ec2").create_vpc(CidrBlock="10.83.0.0/16")["Vpc"]["VpcId"]
    subnet = client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.83.0.0/24")["Subnet"]["SubnetId"]
    client("rds").create_db_subnet_group(
        DBSubnetGroupName="pacs-index", DBSubnetGroupDescription="x", SubnetIds=[subnet]
    )
    made = client("rds").create_db_instance(
        DBInstanceIdentifier="pacs-index",
        DBInstanceClass="db.t4g.medium",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="x",
        ManageMasterUserPassword=True,
        DBSubnetGroupName="pacs-index",
        StorageEncrypted=True,
        KmsKeyId=arn,
        DeletionProtection=protected,
    )
    return dict(made["DBInstance"])


def state(*resources: tuple[str, Json], deep: bool = True) -> Json:
    found = [{"mode": "managed", "type": type_, "values": values} for type_, values in resources]
    module: Json = {"resources": found}
    return {"values": {"root_module": {"child_modules": [{"child_modules": [module]}]} if deep else module}}


def test_production_when_the_file_says_otherwise_since_then_is_what_was_applied(
    session: Session, tmp_path: Path
) -> None:
    site = place(tmp_path, "production = false\n")
    work.write(site.work, {"production": True}, work.backend("pacs", REGION, None))
    site.plan_json.write_text("{}")
    planning.note_applied(site)
    work.write(site.work, {"production": False}, work.backend("pacs", REGION, None))
    assert removal.is_production(site)


def test_production_when_nothing_is_noted_then_is_asked_of_the_database(session: Session, tmp_path: Path) -> None:
    site = place(tmp_path, "production = false\n")
    assert not removal.is_production(site)
    database(key(), protected=True)
    assert removal.is_production(site)


@pytest.mark.parametrize(
    ("type_", "values", "expected"),
    [
        ("aws_db_instance", {"deletion_protection": True}, True),
        ("aws_lb", {"enable_deletion_protection": True}, True),
        ("aws_s3_bucket", {"force_destroy": False}, True),
        ("aws_ecr_repository", {"force_delete": False}, True),
        ("aws_db_instance", {"deletion_protection": False}, False),
        ("aws_s3_bucket", {"force_destroy": True}, False),
        ("aws_iam_role", {"force_detach_policies": False, "force_destroy": False}, False),
    ],
)
@pytest.mark.parametrize("deep", [True, False])
def test_state_when_something_in_it_is_protected_then_counts_as_production(
    type_: str, values: Json, expected: bool, deep: bool
) -> None:
    assert removal.guarded(state((type_, values), deep=deep)) is expected
    assert not removal.guarded({})


@pytest.mark.parametrize("production", [True, False])
def test_state_when_its_guard_was_made_in_production_then_counts_as_production(production: bool) -> None:
    found = state(("terraform_data", {"output": production}), deep=False)
    found["values"]["root_module"]["resources"][0]["address"] = removal.GUARD
    assert removal.guarded(found) is production


class Terraform:
    """Notes what it is told; its plans are given."""

    def __init__(self, *plans: Sequence[tuple[str, str]]) -> None:
        self.plans = list(plans)
        self.asked: list[Sequence[str]] = []
        self.applied = 0

    def plan(self, _listener: object, _given: object = None, options: Sequence[str] = ()) -> Json:
        self.asked.append(list(options))
        found = self.plans.pop(0)
        return {
            "resource_changes": [
                {
                    "address": address,
                    "mode": "managed",
                    "type": address.split(".")[-2],
                    "change": {"actions": actions.split(), "before": {}, "after": {}},
                }
                for address, actions in found
            ]
        }

    def apply(self, _listener: object, _given: object = None) -> None:
        self.applied += 1


def test_lifting_when_keys_and_secrets_would_change_too_then_they_are_left_alone() -> None:
    terraform = Terraform(
        [
            ("module.database.aws_db_instance.this", "update"),
            ("module.keys.aws_kms_key.data", "update"),
            ('module.secrets.aws_secretsmanager_secret.this["tls"]', "update"),
            ("module.network.aws_subnet.public", "create"),
        ],
        [("module.database.aws_db_instance.this", "update")],
    )
    removal._lift(terraform, quiet)  # type: ignore[arg-type]
    assert terraform.asked == [
        [removal.UNPROTECTED],
        [removal.UNPROTECTED, "-target=module.database.aws_db_instance.this"],
    ]
    assert terraform.applied == 1


@pytest.mark.parametrize("beside", [("module.keys.aws_kms_key.data", "update"), ("module.x.aws_vpc.this", "delete")])
def test_lifting_when_it_would_take_more_along_then_refused(beside: tuple[str, str]) -> None:
    one = ("module.database.aws_db_instance.this", "update")
    terraform = Terraform([one, beside], [one, beside])
    with pytest.raises(OrthwebError, match="cannot be lifted alone"):
        removal._lift(terraform, quiet)  # type: ignore[arg-type]
    assert terraform.applied == 0


def test_lifting_when_nothing_is_protected_then_changes_nothing() -> None:
    terraform = Terraform([("module.keys.aws_kms_key.data", "update")])
    removal._lift(terraform, quiet)  # type: ignore[arg-type]
    assert terraform.applied == 0


def test_snapshot_when_it_is_encrypted_with_the_site_s_key_then_the_commands_and_the_day_are_told(
    session: Session,
) -> None:
    arn = key("alias/pacs-data")
    lines = list(removal.kept(session, "pacs", SNAPSHOT, arn, datetime(2026, 12, 23, tzinfo=UTC)))
    assert lines[0] == "to read the snapshot after 2026-12-23, copy it to another key before that day:"
    assert lines[1] == f"  aws kms cancel-key-deletion --region {REGION} --key-id {arn}"
    assert lines[2] == f"  aws kms enable-key --region {REGION} --key-id {arn}"
    assert f"--source-db-snapshot-identifier {SNAPSHOT} " in lines[3]


def test_snapshot_when_its_key_is_on_its_way_out_then_the_day_is_aws_s(session: Session) -> None:
    arn = key()  # its alias is gone already
    gone = client("kms").schedule_key_deletion(KeyId=arn.rpartition("/")[2], PendingWindowInDays=12)["DeletionDate"]
    lines = list(removal.kept(session, "pacs", SNAPSHOT, arn, datetime(2000, 1, 1, tzinfo=UTC)))
    assert f"after {gone:%Y-%m-%d}" in lines[0]


@pytest.mark.parametrize("alias", ["alias/pacs-data", "alias/other"])
def test_snapshot_when_its_key_is_another_one_then_it_stays_readable(session: Session, alias: str) -> None:
    key(alias)
    [line] = removal.kept(session, "pacs", SNAPSHOT, other := key(), datetime.now(UTC))
    assert other in line
    assert "not the site's" in line


def secret(name: str) -> str:
    tags = [{"Key": "orthweb:site", "Value": "pacs"}]
    return str(client("secretsmanager").create_secret(Name=name, SecretString="x", Tags=tags)["ARN"])


def test_leftovers_when_terraform_removed_them_then_what_aws_still_lists_does_not_count(session: Session) -> None:
    tags = [{"Key": "orthweb:site", "Value": "pacs"}]
    vpc = client("ec2").create_vpc(CidrBlock="10.83.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": tags}])[
        "Vpc"
    ]["VpcId"]
    kept = secret("orthweb/pacs/other")
    assert len(list(leftovers.leftovers(session, "pacs"))) == 2
    removed = removal.identities(state(("aws_vpc", {"id": vpc, "cidr_block": "10.83.0.0/16"})))
    assert list(leftovers.leftovers(session, "pacs", removed)) == [kept]
    client("secretsmanager").delete_secret(SecretId=kept, RecoveryWindowInDays=30)
    assert list(leftovers.leftovers(session, "pacs", removed)) == []


def test_leftovers_when_aws_forgets_them_late_then_are_waited_for(session: Session) -> None:
    arn = secret("orthweb/pacs/other")
    now, lines = [0.0], list[str]()

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 30:
            client("secretsmanager").delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)

    assert leftovers.lasting(session, "pacs", (), lines.append, clock=lambda: now[0], sleep=sleep) == []
    assert lines[0] == f"waiting for AWS to forget {arn}"


def test_leftovers_when_they_stay_then_are_told_after_a_while(session: Session) -> None:
    arn = secret("orthweb/pacs/other")
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert leftovers.lasting(session, "pacs", (), clock=lambda: now[0], sleep=sleep) == [arn]
    assert now[0] == leftovers.PATIENCE


def test_credentials_when_of_another_account_then_nothing_is_removed(session: Session, tmp_path: Path) -> None:
    site = place(tmp_path, known=False)
    site.remember(Memory("pacs", REGION, "999999999999", "10.83.0.0/16", "s3"))
    with pytest.raises(UsageError, match="the site is in 999999999999"):
        removal.destroy(site)


def test_version_of_a_certificate_when_it_is_another_one_then_differs_whoever_hands_it_over() -> None:
    assert planning.version_of("") == 1
    one, other = planning.version_of("ab" * 32), planning.version_of("cd" * 32)
    assert one != other
    assert planning.version_of("ab" * 32) == one
    assert all(1 <= each < 2**31 for each in (one, other, planning.version_of("f" * 64)))


def test_cost_when_another_plan_was_made_since_then_is_that_of_what_was_applied(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "cost_of", lambda _place, document: document["says"])
    site = place(tmp_path)
    work.write(site.work, {}, work.backend("pacs", REGION, None))
    site.plan_json.write_text(json.dumps({"says": "$1"}))
    assert planning.applied_cost(site) == "$1"
    planning.note_applied(site)
    site.plan_json.write_text(json.dumps({"says": "$2"}))
    assert planning.applied_cost(site) == "$1"


def test_refusal_when_the_policy_for_production_leaves_it_out_then_the_other_policy_is_named() -> None:
    for action in KEEPING:
        said = errors.explain_text(f"User: ann is not authorized to perform: {action} on resource: x")
        assert said.words == f"you are not allowed to do {action}"
        assert said.hint is not None
        assert "orthweb policy --no-production" in said.hint


def test_name_when_a_removed_site_s_secrets_wait_for_their_end_then_refused_with_the_day(session: Session) -> None:
    leftovers.check_name(session, "pacs")
    for which in ("admin", "tls"):
        client("secretsmanager").create_secret(Name=f"orthweb/pacs/{which}", SecretString="{}")
    leftovers.check_name(session, "pacs")
    gone = client("secretsmanager").delete_secret(SecretId="orthweb/pacs/admin", RecoveryWindowInDays=30)
    with pytest.raises(UsageError, match=f"until {gone['DeletionDate']:%Y-%m-%d}") as caught:
        leftovers.check_name(session, "pacs")
    assert "for each in admin; do" in (caught.value.hint or "")
    leftovers.check_name(session, "pacs-2")

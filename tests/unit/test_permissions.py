"""The policy of the person who deploys: what it allows, how it is limited, and that AWS would take it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aws.iam import allows, listed
from orthweb.cli import app
from orthweb.permissions import reference
from orthweb.permissions.actions import DATA, LOCAL, VERBS, actions
from orthweb.permissions.policy import (
    AWS_POLICIES,
    KEEPING,
    LIMIT,
    READING,
    WITHOUT_RESOURCE,
    documents,
    statements,
)
from orthweb.permissions.resources import TYPES
from orthweb.permissions.scope import ALARMS, ROLES, TAG, Scope

ROOT = Path(__file__).parents[2]
SCOPE = Scope("clinic", "eu-central-1", "123456789012")


def allowed(scope: Scope, *types: str) -> set[str]:
    return {action for statement in statements(scope, types or None) for action in statement["Action"]}


def of(scope: Scope, action: str) -> list[dict[str, Any]]:
    return [statement for statement in statements(scope) if action in statement["Action"]]


def may(action: str, resource: str, **tags: str) -> bool:
    """Tell whether somebody who deploys the clinic's site may do something to a resource with some tags."""
    context = {"aws:RequestedRegion": "eu-central-1"}
    context |= {f"aws:ResourceTag/{TAG}": tags["site"]} if "site" in tags else {}
    context |= {f"aws:RequestTag/{TAG}": tags["wanted"]} if "wanted" in tags else {}
    context |= {"ec2:CreateAction": tags["made_by"]} if "made_by" in tags else {}
    return allows(statements(SCOPE), action, f"arn:aws:{resource}", context)


def configured(kind: str) -> set[str]:
    text = "".join(file.read_text() for file in (ROOT / "terraform").rglob("*.tf"))
    return set(re.findall(rf'^{kind} "(\w+)"', text, flags=re.MULTILINE))


def test_table_always_has_the_resource_types_of_the_modules_and_no_other() -> None:
    assert configured("resource") - LOCAL == set(TYPES)


def test_table_always_has_the_data_sources_that_ask_aws() -> None:
    computed = {"aws_iam_policy_document", "aws_partition", "aws_region"}
    assert configured("data") - computed == set(DATA)


def test_policy_always_allows_all_of_the_table_but_reading_images() -> None:
    without = {"s3:GetObject", "s3:PutObject", "sts:GetCallerIdentity"}
    assert allowed(SCOPE) == actions() - without


def test_policy_when_for_some_types_allows_nothing_of_the_others() -> None:
    few = allowed(SCOPE, "aws_vpc")
    assert "ec2:CreateVpc" in few
    assert not any(action.startswith(("backup", "route53")) for action in few)


def test_policy_when_in_production_deletes_no_image_and_no_backup() -> None:
    scope = Scope("clinic", "eu-central-1", production=True)
    assert allowed(SCOPE) - allowed(scope) == KEEPING


def test_policy_when_the_state_is_in_a_bucket_allows_that_bucket_alone() -> None:
    scope = Scope("clinic", "eu-central-1", state_bucket="our-states")
    (statement,) = of(scope, "s3:GetObject")
    assert statement["Resource"] == ["arn:aws:s3:::our-states", "arn:aws:s3:::our-states/*"]


@pytest.mark.parametrize("statement", statements(SCOPE), ids=lambda statement: statement["Sid"])
def test_statement_always_names_actions_and_something_that_limits_it(statement: dict[str, Any]) -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+:[A-Za-z0-9]+", action) for action in statement["Action"])
    for resource in listed(statement["Resource"]):
        assert "clinic" in resource or "Condition" in statement or resource.startswith(UNNAMED), resource
    if statement["Resource"] == "*":
        assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": "eu-central-1"}}
        assert set(statement["Action"]) <= WITHOUT_RESOURCE | READING | {
            action for action in actions() if action.startswith("ec2:Describe")
        }


UNNAMED = (
    "arn:aws:acm:eu-central-1:123456789012:certificate/",
    "arn:aws:backup:eu-central-1:123456789012:backup-plan:",
    "arn:aws:ec2:eu-central-1:",
    "arn:aws:kms:eu-central-1:123456789012:key/",
    "arn:aws:rds:eu-central-1:123456789012:og:default:postgres-",
    "arn:aws:route53:::",
    "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-",
)
"""What AWS gives names of its own; nothing that could hold images, nor a database's password to be read."""


EC2 = "ec2:eu-central-1:123456789012"
RDS = "rds:eu-central-1:123456789012"
KEY = "kms:eu-central-1:123456789012:key/11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("ec2:TerminateInstances", f"{EC2}:instance/i-1"),
        ("ec2:ModifyInstanceAttribute", f"{EC2}:instance/i-1"),
        ("ec2:AuthorizeSecurityGroupIngress", f"{EC2}:security-group/sg-1"),
        ("ec2:RevokeSecurityGroupEgress", f"{EC2}:security-group/sg-1"),
        ("ec2:CreateRoute", f"{EC2}:route-table/rtb-1"),
        ("ec2:DeleteRoute", f"{EC2}:route-table/rtb-1"),
        ("ec2:DetachInternetGateway", f"{EC2}:vpc/vpc-1"),
        ("ec2:CreateSubnet", f"{EC2}:vpc/vpc-1"),
        ("ec2:CreateNetworkInterface", f"{EC2}:subnet/subnet-1"),
        ("ec2:RunInstances", f"{EC2}:subnet/subnet-1"),
        ("ec2:CreateVpcEndpoint", f"{EC2}:route-table/rtb-1"),
        ("ec2:DeleteNetworkAclEntry", f"{EC2}:network-acl/acl-1"),
        ("ec2:DeleteTags", f"{EC2}:vpc/vpc-1"),
        ("kms:PutKeyPolicy", KEY),
        ("kms:ScheduleKeyDeletion", KEY),
        ("backup:DeleteBackupPlan", "backup:eu-central-1:123456789012:backup-plan:1"),
        ("backup:DeleteRecoveryPoint", "backup:eu-central-1:123456789012:recovery-point:1"),
        ("backup:DeleteRecoveryPoint", f"{RDS}:snapshot:awsbackup:job-1"),
    ],
)
def test_change_when_of_something_that_is_there_then_only_with_the_sites_tag(action: str, resource: str) -> None:
    assert may(action, resource, site="clinic")
    assert not may(action, resource, site="clinic-2")
    assert not may(action, resource)


@pytest.mark.parametrize("kind", ["instance/i-1", "vpc/vpc-1", "subnet/subnet-1", "volume/vol-1"])
def test_tag_when_put_on_something_of_others_then_is_refused(kind: str) -> None:
    assert not may("ec2:CreateTags", f"{EC2}:{kind}", wanted="clinic")
    assert may("ec2:CreateTags", f"{EC2}:{kind}", site="clinic")
    assert may("ec2:CreateTags", f"{EC2}:{kind}", wanted="clinic", made_by="RunInstances")
    assert not may("kms:TagResource", KEY, site="clinic-2", wanted="clinic")


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iam:PutRolePolicy", "iam::123456789012:role/{}-host"),
        ("iam:PassRole", "iam::123456789012:role/{}-host"),
        ("cloudwatch:DeleteAlarms", "cloudwatch:eu-central-1:123456789012:alarm:{}-host-cpu"),
        ("sns:DeleteTopic", "sns:eu-central-1:123456789012:{}-alarms"),
        (
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:eu-central-1:123456789012:targetgroup/{}-https/1",
        ),
        ("s3:DeleteObject", "s3:::{}-images-123456789012-eu-central-1/x"),
        ("rds:DeleteDBInstance", f"{RDS}:db:{{}}-index"),
        ("rds:DeleteDBParameterGroup", f"{RDS}:pg:{{}}-index-postgres17"),
        ("logs:DeleteLogGroup", "logs:eu-central-1:123456789012:log-group:/orthweb/{}/host"),
        ("ecr:DeleteRepository", "ecr:eu-central-1:123456789012:repository/{}/edge"),
        ("secretsmanager:DeleteSecret", "secretsmanager:eu-central-1:123456789012:secret:orthweb/{}/tls-abcdef"),
        ("ssm:DeleteParameter", "ssm:eu-central-1:123456789012:parameter/orthweb/{}/site"),
        ("kms:DeleteAlias", "kms:eu-central-1:123456789012:alias/{}-data"),
    ],
)
def test_names_when_they_begin_with_the_sites_then_are_another_sites(action: str, resource: str) -> None:
    context = {"iam:PassedToService": "ec2.amazonaws.com"}
    assert allows(statements(SCOPE), action, f"arn:aws:{resource.format('clinic')}", context)
    assert not allows(statements(SCOPE), action, f"arn:aws:{resource.format('clinic-images')}", context)
    assert not allows(statements(SCOPE), action, f"arn:aws:{resource.format('clinic-2')}", context)


def test_buckets_when_the_account_is_not_named_then_are_still_the_sites_own() -> None:
    anywhere = statements(Scope("clinic", "eu-central-1"))
    assert allows(anywhere, "s3:DeleteBucket", "arn:aws:s3:::clinic-images-123456789012-eu-central-1")
    assert not allows(anywhere, "s3:DeleteBucket", "arn:aws:s3:::clinic-images-images-123456789012-eu-central-1")


def test_database_when_looked_up_without_its_identifier_then_all_of_them_may_be_read() -> None:
    """The provider looks it up by the id that RDS gave it (hashicorp/terraform-provider-aws#32732)."""
    assert may("rds:DescribeDBInstances", f"{RDS}:db:*")


def test_database_when_made_then_takes_awss_option_group_and_a_snapshot_that_is_named() -> None:
    assert may("rds:CreateDBInstance", f"{RDS}:og:default:postgres-17")
    assert may("rds:RestoreDBInstanceFromDBSnapshot", f"{RDS}:snapshot:clinic-final-20261123-120000")
    assert not may("rds:RestoreDBInstanceFromDBSnapshot", f"{RDS}:snapshot:our-copy")
    named = statements(Scope("clinic", "eu-central-1", "123456789012", snapshot="our-copy"))
    assert allows(named, "rds:RestoreDBInstanceFromDBSnapshot", f"arn:aws:{RDS}:snapshot:our-copy")
    assert may("secretsmanager:RotateSecret", "secretsmanager:eu-central-1:123456789012:secret:rds!db-1-abcdef")


def test_alarm_when_it_repairs_the_host_then_aws_may_make_the_role_for_it() -> None:
    (statement,) = of(SCOPE, "iam:CreateServiceLinkedRole")
    assert "events.amazonaws.com" in statement["Condition"]["StringEquals"]["iam:AWSServiceName"]
    assert "iam:CreateServiceLinkedRole" in TYPES["aws_cloudwatch_metric_alarm"].all


def test_bucket_when_locked_then_can_be_emptied_outside_production_alone() -> None:
    bypass = {"s3:BypassGovernanceRetention", "s3:PutObjectLegalHold"}
    assert bypass <= allowed(SCOPE, "aws_s3_bucket")
    assert not bypass & allowed(Scope("clinic", "eu-central-1", production=True))


def test_names_of_roles_always_are_those_of_the_modules() -> None:
    text = "".join(file.read_text() for file in (ROOT / "terraform/modules").rglob("*.tf"))
    blocks = re.findall(r'^resource "aws_iam_role" .*?^}', text, re.MULTILINE | re.DOTALL)
    names = [found[1] for block in blocks if (found := re.search(r'^  name +=\s"(.+)"$', block, re.MULTILINE))]
    own = {name.replace("${local.identifier}", "${var.name}-index").removeprefix("${var.name}-") for name in names}
    assert len(names) == len(blocks)
    assert own == set(ROLES)


def test_names_of_alarms_always_are_those_of_the_modules() -> None:
    text = (ROOT / "terraform/modules/observability/alarms.tf").read_text()
    own = set(re.findall(r'^      "?([a-z-]+)(?:\$\{service}")? = \{$', text, re.MULTILINE))
    own |= {f"host-{action}" for action in re.findall(r'action = "(\w+)"', text)}
    services = {f"{alarm}{service}" for alarm in own if alarm.endswith("-") for service in ("https", "dicom")}
    assert {alarm for alarm in own if not alarm.endswith("-")} | services == set(ALARMS)


def test_secrets_when_read_are_the_sites_own() -> None:
    (statement,) = of(SCOPE, "secretsmanager:GetSecretValue")
    assert listed(statement["Resource"]) == ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:orthweb/clinic/*"]


def test_roles_when_passed_are_the_sites_own_and_for_services_only() -> None:
    (statement,) = of(SCOPE, "iam:PassRole")
    assert listed(statement["Resource"]) == [f"arn:aws:iam::123456789012:role/clinic-{role}" for role in ROLES]
    assert all(
        name.endswith(".amazonaws.com") for name in statement["Condition"]["StringEquals"]["iam:PassedToService"]
    )


def test_policies_when_attached_are_those_that_the_modules_attach() -> None:
    text = "".join(file.read_text() for file in (ROOT / "terraform/modules").rglob("*.tf"))
    names = {policy.rpartition("/")[2] for policy in AWS_POLICIES}
    assert all(name in text for name in names)
    attached = set(
        re.findall(
            r"(?:service-role/)?((?:AWSBackup|AmazonRDS|AmazonSSM|CloudWatch)\w*(?:Role|Backup|Restore|Restores))\b",
            text,
        )
    )
    assert attached == names


@pytest.mark.parametrize("state", [None, "a-bucket-with-a-rather-long-name-for-states-of-terraform"])
def test_documents_always_fit_what_aws_takes(state: str | None) -> None:
    scope = Scope(
        "a-rather-long-name-1", "ap-southeast-2", "123456789012", zone="Z0123456789ABCDEFGHIJ", state_bucket=state
    )
    found = documents(scope)
    assert len(found) <= 5
    for document in found:
        assert len(json.dumps(document, separators=(",", ":"))) <= LIMIT
        sids = [statement["Sid"] for statement in document["Statement"]]
        assert len(sids) == len(set(sids))
        assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)


def test_verbs_always_take_what_the_policy_allows() -> None:
    taken = {action for needs in VERBS.values() for action in needs.all}
    assert taken - {"s3:GetObject", "s3:PutObject"} <= allowed(SCOPE)


def test_command_when_called_prints_the_documents_and_writes_them(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('name = "clinic"\n')
    call = ["--site", str(tmp_path / "site.toml"), "policy", "--region", "eu-central-1", "--no-production"]
    printed = json.loads(CliRunner().invoke(app, call).stdout)
    assert printed == documents(Scope("clinic", "eu-central-1"))
    result = CliRunner().invoke(app, [*call, "--output", str(tmp_path / "policies")])
    assert result.exit_code == 0, result.output
    written = sorted((tmp_path / "policies").iterdir())
    assert [json.loads(file.read_text()) for file in written] == printed
    assert written[0].name == "clinic-deploy-1.json"


def test_command_when_a_plan_is_given_allows_only_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "site.toml").touch()
    plan = tmp_path / "plan.json"
    resource = {"address": "aws_vpc.this", "mode": "managed", "type": "aws_vpc", "values": {}}
    plan.write_text(json.dumps({"planned_values": {"root_module": {"resources": [resource]}}}))
    call = ["--site", str(tmp_path / "site.toml"), "policy", "--region", "us-east-1", "--plan", str(plan)]
    printed = json.dumps(json.loads(CliRunner().invoke(app, call).stdout))
    assert "ec2:CreateVpc" in printed
    assert "rds:CreateDBInstance" not in printed
    plan.write_text(plan.read_text().replace("aws_vpc", "aws_eks_cluster"))
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 2
    assert "aws_eks_cluster" in result.stderr


def test_document_always_is_what_the_code_writes() -> None:
    assert (ROOT / "docs/aws-permissions.md").read_text() == reference.markdown(), (
        "run: python -m orthweb.permissions.reference docs/aws-permissions.md"
    )

"""The policy of the person who deploys: what it allows, how it is limited, and that AWS would take it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orthweb.cli import app
from orthweb.permissions import reference
from orthweb.permissions.actions import DATA, LOCAL, VERBS, actions
from orthweb.permissions.policy import AWS_POLICIES, KEEPING, LIMIT, WITHOUT_RESOURCE, Scope, documents, statements
from orthweb.permissions.resources import TYPES

ROOT = Path(__file__).parents[2]
SCOPE = Scope("clinic", "eu-central-1", "123456789012")


def allowed(scope: Scope, *types: str) -> set[str]:
    return {action for statement in statements(scope, types or None) for action in statement["Action"]}


def of(scope: Scope, action: str) -> list[dict[str, Any]]:
    return [statement for statement in statements(scope) if action in statement["Action"]]


def listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


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
        assert set(statement["Action"]) <= WITHOUT_RESOURCE | {
            action for action in actions() if action.startswith("ec2:Describe")
        }


UNNAMED = (
    "arn:aws:acm:eu-central-1:123456789012:certificate/",
    "arn:aws:backup:eu-central-1:123456789012:backup-plan:",
    "arn:aws:backup:eu-central-1:123456789012:recovery-point:",
    "arn:aws:route53:::",
    "arn:aws:ec2:eu-central-1:123456789012:vpc/",
    "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-",
)
"""What AWS gives names of its own; nothing that could hold images, nor a database's password to be read."""


def test_secrets_when_read_are_the_sites_own() -> None:
    (statement,) = of(SCOPE, "secretsmanager:GetSecretValue")
    assert listed(statement["Resource"]) == ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:orthweb/clinic/*"]


def test_roles_when_passed_are_the_sites_own_and_for_services_only() -> None:
    (statement,) = of(SCOPE, "iam:PassRole")
    assert listed(statement["Resource"]) == ["arn:aws:iam::123456789012:role/clinic-*"]
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

"""Who may do what: no wildcards, but where AWS has nothing narrower; each of those says why."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from aws.emulator import ACCOUNT
from aws.lifecycle import Lifecycle
from aws.resources import Statement, of_type, resources, statements

pytestmark = [pytest.mark.timeout(900), pytest.mark.parametrize("life", ["stranger", "single", "ha"], indirect=True)]

NO_RESOURCE = {
    "ecr:GetAuthorizationToken": "a login is for the whole registry",
    "logs:DescribeLogGroups": "a listing",
    "ssmmessages:CreateControlChannel": "Session Manager's channels have no name",
    "ssmmessages:CreateDataChannel": "Session Manager's channels have no name",
    "ssmmessages:OpenControlChannel": "Session Manager's channels have no name",
    "ssmmessages:OpenDataChannel": "Session Manager's channels have no name",
}
"""Actions that AWS defines without a resource (Service Authorization Reference)."""

OWN_RESOURCE = {
    "aws_kms_key": "in a key's policy * is the key itself",
    "aws_vpc_endpoint": "an endpoint's policy grants nothing: it narrows what others may do through the endpoint",
}
"""Types whose policies are about themselves alone."""

MANAGED = {
    "AmazonRDSEnhancedMonitoringRole": "what RDS itself asks for to write its measurements",
    "AWSBackupServiceRolePolicyForBackup": "what AWS Backup itself asks for",
    "AWSBackupServiceRolePolicyForRestores": "what AWS Backup itself asks for",
    "AWSBackupServiceRolePolicyForS3Backup": "what AWS Backup itself asks for",
    "AWSBackupServiceRolePolicyForS3Restore": "what AWS Backup itself asks for",
}
"""Policies of AWS's own that roles of AWS's own services get; hosts get none."""


def allowed(life: Lifecycle) -> list[tuple[str, Statement]]:
    """List every statement that allows something, with the type of the resource that it stands in."""
    found = [(each.type, statement) for each in resources(life.state) for statement in statements(each)]
    assert found
    return [(kind, statement) for kind, statement in found if statement.effect == "Allow"]


def test_policies_when_they_allow_then_name_actions_and_resources(life: Lifecycle) -> None:
    for _, statement in allowed(life):
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement.document), statement


def test_policies_when_they_allow_then_no_action_is_a_wildcard(life: Lifecycle) -> None:
    for kind, statement in allowed(life):
        wild = {action for action in statement.actions if "*" in action}
        if kind == "aws_kms_key" and statement.actions == ("kms:*",):
            # Without it nobody could manage the key (AWS KMS Developer Guide, "Default key policy").
            assert re.fullmatch(r"arn:aws:iam::\d{12}:root", str(statement.document["Principal"]["AWS"])), statement
        elif kind == "aws_vpc_endpoint" and wild:
            assert statement.document["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, statement
        else:
            assert not wild, statement


def test_policies_when_they_allow_then_resources_are_named_or_there_is_a_reason(life: Lifecycle) -> None:
    for kind, statement in allowed(life):
        if kind not in OWN_RESOURCE and "*" in statement.resources:
            assert set(statement.actions) <= set(NO_RESOURCE), statement


def test_policies_when_they_allow_everyone_then_there_is_a_condition(life: Lifecycle) -> None:
    for kind, statement in allowed(life):
        if str(statement.document.get("Principal", "")) in ("*", "{'AWS': '*'}", "{'AWS': ['*']}"):
            # AWS's own buckets, of image layers and of its agent, are read by whoever may pass.
            layers = kind == "aws_vpc_endpoint" and statement.actions == ("s3:GetObject",)
            assert statement.document.get("Condition") or (layers and "*" not in statement.resources), statement


def test_roles_when_made_then_are_for_services_of_aws_alone(life: Lifecycle) -> None:
    for role in of_type(life.state, "aws_iam_role"):
        for statement in statements(role):
            assert statement.actions == ("sts:AssumeRole",), role.address
            assert set(statement.document["Principal"]) == {"Service"}, role.address


def test_managed_policies_when_attached_then_are_those_that_services_need(life: Lifecycle) -> None:
    for found in of_type(life.state, "aws_iam_role_policy_attachment"):
        assert str(found.values["policy_arn"]).rsplit("/", 1)[-1] in MANAGED, found.address
        assert "host" not in found.values["role"], "hosts have their own policy alone"


def test_host_role_when_made_then_reaches_its_own_site_alone(life: Lifecycle) -> None:
    """Of another site in the same account and region a host can neither read nor write anything."""
    name = life.plot.variables.get("name", "orthweb")
    (policy,) = [found for found in of_type(life.state, "aws_iam_role_policy") if ".host" in found.address]
    strange = [
        f"arn:aws:secretsmanager:{life.plot.region}:123456789012:secret:orthweb/{name}2/admin-AbCdEf",
        f"arn:aws:ssm:{life.plot.region}:123456789012:parameter/orthweb/{name}2/site",
        f"arn:aws:s3:::{name}2-images-123456789012-{life.plot.region}/x",
        f"arn:aws:rds:{life.plot.region}:123456789012:db:{name}2-index",
        f"arn:aws:ecr:{life.plot.region}:123456789012:repository/{name}2/archive",
    ]
    for statement in statements(policy):
        for pattern in statement.resources:
            if pattern != "*":
                assert not [arn for arn in strange if fnmatchcase(arn, pattern)], statement

"""The policy of the person who deploys, against what Terraform planned and called in whole deployments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from aws.driven_life import REGION as DRIVEN_REGION
from aws.driven_life import Driven
from aws.emulator import ACCOUNT, Call
from aws.iam import Statement, allows
from aws.lifecycle import Lifecycle
from aws.resources import resources
from aws.restored_life import SNAPSHOT
from orthweb.permissions.actions import DATA, LOCAL, actions
from orthweb.permissions.policy import MAKING, statements
from orthweb.permissions.resources import TYPES
from orthweb.permissions.scope import TAG, Scope

pytestmark = pytest.mark.timeout(900)

LIVES = ("single", "ha")
every = pytest.mark.parametrize("life", LIVES, indirect=True)

SERVICES = {"monitoring": "cloudwatch", "tagging": "tag"}
"""Signing names that are not IAM's name of the service."""

ACTIONS = {
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "s3:DeleteBucketReplication": "s3:PutReplicationConfiguration",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3:GetBucketCors": "s3:GetBucketCORS",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycle": "s3:GetLifecycleConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutBucketReplication": "s3:PutReplicationConfiguration",
    "s3:PutObjectLockConfiguration": "s3:PutBucketObjectLockConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
"""API operations of S3 whose action has another name (AWS's Service Authorization Reference, Amazon S3)."""

NOT_CALLED = {
    "backup:DeleteRecoveryPoint": "the emulated vault has no recovery points",
    "cloudtrail:GetEventSelectors": "the emulator says that trails have no selectors of their own",
    "s3:BypassGovernanceRetention": "what DeleteObjects asks for when objects are locked; no call of its own",
    "s3:DeleteObjectVersion": "what DeleteObjects asks for when it names versions; the call is counted as DeleteObject",
    "s3:PutObjectLegalHold": "what the provider tries when the lock does not let an object go; here it does",
}
"""Actions of the table that these deployments take no call of, and why they are in it."""

UNNAMED = {
    "ec2:DetachNetworkInterface": "AttachmentId",
    "ec2:DisassociateAddress": "AssociationId",
    "ec2:DisassociateRouteTable": "AssociationId",
}
"""Calls that name what they are about by an identifier that no ARN has."""


def action(service: str, operation: str) -> str:
    """Name the IAM action that a call asks for."""
    name = f"{SERVICES.get(service, service)}:{operation}"
    return ACTIONS.get(name, name)


def called(life: Lifecycle) -> set[str]:
    """List the actions that Terraform took in a whole life."""
    assert life.left is not None
    assert life.aws is not None
    return {action(call.service, call.operation) for call in life.aws.calls() if call.terraform}


@every
def test_resource_types_when_planned_then_are_in_the_table(life: Lifecycle) -> None:
    assert {found.type for found in resources(life.planned)} - LOCAL <= set(TYPES)


@every
def test_calls_when_a_site_is_made_changed_and_destroyed_then_are_allowed(life: Lifecycle) -> None:
    types = {found.type for found in resources(life.planned)} - LOCAL
    taken = called(life)
    assert len(taken) > 100
    assert taken - actions(types) == set()


@every
def test_calls_when_judged_by_the_resources_that_they_named_then_are_allowed(life: Lifecycle) -> None:
    """With the tags that each resource had at that moment; what a call makes is judged without a tag."""
    assert life.left is not None
    assert life.aws is not None
    types = {found.type for found in resources(life.planned)} - LOCAL
    scope = Scope(life.plot.variables["name"], life.plot.region, ACCOUNT)
    calls = [call for call in life.aws.calls() if call.terraform]
    assert len(calls) > 1000
    assert judged(calls, statements(scope, types), scope.region) == (set(), set())


@pytest.mark.parametrize("site", ["driven", "restored"])
def test_calls_of_orthweb_when_judged_by_the_resources_that_they_named_then_are_allowed(
    site: str, driven: Driven, restored: Driven
) -> None:
    life = {"driven": driven, "restored": restored}[site]
    assert life.left is not None
    assert life.aws is not None
    policy = statements(Scope(life.name, DRIVEN_REGION, ACCOUNT, snapshot=SNAPSHOT))
    calls = [call for call in life.aws.calls() if call.deployer and not call.terraform]
    assert len(calls) > 25
    assert judged(calls, policy, DRIVEN_REGION) == (set(), set())


def judged(calls: Iterable[Call], policy: Sequence[Statement], region: str) -> tuple[set[str], set[str]]:
    """List what the policy refuses, and the actions of calls that name nothing that it could be judged by."""
    refused, unnamed = set(), set()
    for call in calls:
        name = action(call.service, call.operation)
        assert "unread" not in call.context, name
        context = {"aws:RequestedRegion": region, **call.context}
        if call.service == "sts" or allows(policy, name, "*", context):
            continue
        if not call.resources and name not in MADE:
            unnamed.add(name)
        for arn, tag in call.resources:
            tags = {} if tag is None else {f"aws:ResourceTag/{TAG}": tag}
            if not allows(policy, name, str(arn), {**context, **tags}):
                refused.add(f"{name} {arn} {tags}")
    return refused, unnamed - set(UNNAMED)


MADE = {name for group in MAKING for name in group} | {"backup:CreateBackupPlan", "s3:ListBuckets"}
"""Calls that may name nothing but what they make."""


def test_actions_when_in_the_table_then_were_called_or_have_a_reason(single: Lifecycle, ha: Lifecycle) -> None:
    taken = called(single) | called(ha)
    types = {found.type for life in (single, ha) for found in resources(life.planned)} - LOCAL
    needs = [TYPES[name] for name in types] + list(DATA.values())
    wanted = {name for one in needs for name in (*one.create, *one.read, *one.delete)}
    assert wanted - taken - set(NOT_CALLED) == set()
    assert set(NOT_CALLED) & taken == set(), "these need no excuse any more"

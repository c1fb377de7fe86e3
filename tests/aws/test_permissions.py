"""The policy of the person who deploys, against what Terraform planned and called in whole deployments."""

from __future__ import annotations

import pytest

from aws.lifecycle import Lifecycle
from aws.resources import resources
from orthweb.permissions.actions import DATA, LOCAL, actions
from orthweb.permissions.resources import TYPES

pytestmark = pytest.mark.timeout(900)

LIVES = ("single", "ha")
every = pytest.mark.parametrize("life", LIVES, indirect=True)

SERVICES = {"monitoring": "cloudwatch"}
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
    "s3:DeleteObjectVersion": "what DeleteObjects asks for when it names versions; the call is counted as DeleteObject",
}
"""Actions of the table that these deployments take no call of, and why they are in it."""


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


def test_actions_when_in_the_table_then_were_called_or_have_a_reason(single: Lifecycle, ha: Lifecycle) -> None:
    taken = called(single) | called(ha)
    types = {found.type for life in (single, ha) for found in resources(life.planned)} - LOCAL
    needs = [TYPES[name] for name in types] + list(DATA.values())
    wanted = {name for one in needs for name in (*one.create, *one.read, *one.delete)}
    assert wanted - taken - set(NOT_CALLED) == set()
    assert set(NOT_CALLED) & taken == set(), "these need no excuse any more"

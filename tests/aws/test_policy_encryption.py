"""What lies still is encrypted with the site's own keys, and those keys change by themselves."""

from __future__ import annotations

import pytest

from aws.lifecycle import Json, Lifecycle
from aws.resources import Resource, of_type

pytestmark = [pytest.mark.timeout(900), pytest.mark.parametrize("life", ["stranger", "single", "ha"], indirect=True)]

KEY_ARGUMENTS = {
    "aws_backup_vault": "kms_key_arn",
    "aws_cloudtrail": "kms_key_id",
    "aws_cloudwatch_log_group": "kms_key_id",
    "aws_secretsmanager_secret": "kms_key_id",
    "aws_sns_topic": "kms_master_key_id",
}
"""Where a resource names the key that it is encrypted with."""

S3_OWN_KEYS = {
    "module.storage.aws_s3_bucket.logs": "S3 delivers its access logs to no bucket that a customer's key encrypts",
}
"""Buckets that are encrypted with keys of Amazon S3's (SSE-S3), and why."""


def keys(state: Json) -> set[str]:
    found = {str(key.values["arn"]) for key in of_type(state, "aws_kms_key")}
    assert found
    return found | {arn.rsplit("/", 1)[-1] for arn in found}


def block(found: Resource, name: str) -> Json:
    blocks = found.values[name]
    assert len(blocks) == 1, f"{found.address}.{name}"
    only: Json = blocks[0]
    return only


def test_key_when_made_then_rotates_and_waits_before_it_is_deleted(life: Lifecycle) -> None:
    for key in of_type(life.state, "aws_kms_key"):
        assert key.values["enable_key_rotation"] is True, key.address
        assert 7 <= (key.values["deletion_window_in_days"] or 30) <= 30, key.address


@pytest.mark.parametrize("kind", KEY_ARGUMENTS)
def test_resource_when_made_then_names_a_key_of_the_site(life: Lifecycle, kind: str) -> None:
    for found in of_type(life.state, kind):
        assert found.values[KEY_ARGUMENTS[kind]] in keys(life.state), found.address


def test_database_when_made_then_storage_secret_and_insights_have_a_key_of_the_site(life: Lifecycle) -> None:
    (database,) = of_type(life.state, "aws_db_instance")
    assert database.values["storage_encrypted"] is True
    assert database.values["kms_key_id"] in keys(life.state)
    assert database.values["master_user_secret_kms_key_id"] in keys(life.state)
    if database.values["performance_insights_enabled"]:
        assert database.values["performance_insights_kms_key_id"] in keys(life.state)


def test_buckets_when_made_then_each_encrypts_with_a_key_of_the_site_or_says_why_not(life: Lifecycle) -> None:
    rules = {
        found.values["bucket"]: block(found, "rule")
        for found in of_type(life.state, "aws_s3_bucket_server_side_encryption_configuration")
    }
    for bucket in of_type(life.state, "aws_s3_bucket"):
        rule = rules[bucket.values["bucket"]]
        (default,) = rule["apply_server_side_encryption_by_default"]
        if default["sse_algorithm"] == "aws:kms":
            assert default["kms_master_key_id"] in keys(life.state), bucket.address
            assert rule["bucket_key_enabled"] is True, "without it every object costs a request to KMS"
        else:
            assert default["sse_algorithm"] == "AES256"
            assert bucket.address in S3_OWN_KEYS


def test_repositories_when_made_then_encrypt_with_a_key_of_the_site(life: Lifecycle) -> None:
    for found in of_type(life.state, "aws_ecr_repository"):
        assert block(found, "encryption_configuration")["encryption_type"] == "KMS", found.address
        assert block(found, "encryption_configuration")["kms_key"] in keys(life.state), found.address


def test_disks_of_hosts_when_made_then_are_encrypted_with_a_key_of_the_site(life: Lifecycle) -> None:
    disks = [block(found, "root_block_device") for found in of_type(life.state, "aws_instance")]
    for template in of_type(life.state, "aws_launch_template"):
        disks += [
            block(Resource(template.address, "", each), "ebs") for each in template.values["block_device_mappings"]
        ]
    assert disks
    for disk in disks:
        assert str(disk["encrypted"]).lower() == "true"
        assert disk["kms_key_id"] in keys(life.state)

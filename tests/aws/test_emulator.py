"""The emulator does what the hosts, orthweb and Terraform rely on, where moto alone does not or might change."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws.emulator import ACCOUNT, Emulator, emulator


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Give an account of this module's own."""
    with emulator(tmp_path_factory.mktemp("account")) as running:
        yield running


def refused(call: Any, **arguments: object) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return str(raised.value.response["Error"]["Code"])


def make_database(aws: Emulator, name: str) -> dict[str, Any]:
    made = aws.client("rds").create_db_instance(
        DBInstanceIdentifier=name,
        DBInstanceClass="db.t4g.medium",
        Engine="postgres",
        AllocatedStorage=50,
        MasterUsername="orthweb_master",
        ManageMasterUserPassword=True,
    )
    instance: dict[str, Any] = made["DBInstance"]
    return instance


def described(aws: Emulator, name: str) -> dict[str, Any]:
    (instance,) = aws.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    found: dict[str, Any] = instance
    return found


def test_database_when_the_test_says_where_it_is_then_is_described_there(aws: Emulator) -> None:
    aws.database("here-index", address="127.0.0.1", port=15432, status="creating")
    make_database(aws, "here-index")
    assert described(aws, "here-index")["DBInstanceStatus"] == "creating"
    assert "Endpoint" not in described(aws, "here-index"), "AWS names none before there is one"
    aws.database("here-index", status="available")
    found = described(aws, "here-index")
    assert found["DBInstanceStatus"] == "available"
    assert (found["Endpoint"]["Address"], found["Endpoint"]["Port"]) == ("127.0.0.1", 15432)


def test_database_when_rds_keeps_the_password_then_its_secret_says_user_and_password(aws: Emulator) -> None:
    secrets = aws.client("secretsmanager")
    arns = [make_database(aws, name)["MasterUserSecret"]["SecretArn"] for name in ("one-index", "two-index")]
    values = [json.loads(secrets.get_secret_value(SecretId=arn)["SecretString"]) for arn in arns]
    assert {value["username"] for value in values} == {"orthweb_master"}
    assert len({value["password"] for value in values}) == 2
    tags = {tag["Key"]: tag["Value"] for tag in secrets.describe_secret(SecretId=arns[0])["Tags"]}
    assert tags["aws:rds:primaryDBInstanceArn"] == described(aws, "one-index")["DBInstanceArn"]
    aws.client("rds").delete_db_instance(DBInstanceIdentifier="one-index", SkipFinalSnapshot=True)
    assert refused(secrets.get_secret_value, SecretId=arns[0]) in (
        "ResourceNotFoundException",
        "InvalidRequestException",
    )


def test_secret_when_it_was_made_without_a_value_then_has_none(aws: Emulator) -> None:
    secrets = aws.client("secretsmanager")
    secrets.create_secret(Name="orthweb/empty/admin")
    assert refused(secrets.get_secret_value, SecretId="orthweb/empty/admin") == "ResourceNotFoundException"


def test_secret_when_a_new_version_is_pending_then_the_current_one_stays_until_the_stage_moves(aws: Emulator) -> None:
    """The four steps of a rotation (Secrets Manager User Guide, "Lambda rotation functions")."""
    secrets, name = aws.client("secretsmanager"), "orthweb/rotated/index"
    secrets.create_secret(Name=name)
    first = secrets.put_secret_value(SecretId=name, SecretString="1")["VersionId"]
    second = secrets.put_secret_value(SecretId=name, SecretString="2", VersionStages=["AWSPENDING"])["VersionId"]
    assert secrets.get_secret_value(SecretId=name)["SecretString"] == "1"
    assert secrets.get_secret_value(SecretId=name, VersionStage="AWSPENDING")["SecretString"] == "2"
    stage = {"VersionStage": "AWSCURRENT", "MoveToVersionId": second, "RemoveFromVersionId": first}
    secrets.update_secret_version_stage(SecretId=name, **stage)
    assert secrets.get_secret_value(SecretId=name)["SecretString"] == "2"
    assert secrets.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")["SecretString"] == "1"


def test_parameters_when_asked_by_path_then_come_in_pages_with_what_lies_deeper(aws: Emulator) -> None:
    ssm = aws.client("ssm")
    names = ["/orthweb/paged/site", *(f"/orthweb/paged/files/{number}.pem" for number in range(12))]
    for name in names:
        ssm.put_parameter(Name=name, Value="x", Type="String", Tier="Intelligent-Tiering")
    ssm.put_parameter(Name="/orthweb/paged2/site", Value="x", Type="String")
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/orthweb/paged", Recursive=True)
    assert sorted(each["Name"] for page in pages for each in page["Parameters"]) == sorted(names)


def test_bucket_when_its_policy_denies_under_a_condition_then_is_not_closed_to_all(aws: Emulator) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="conditional")
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::conditional/*"}
    insecure = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    policy = {"Version": "2012-10-17", "Statement": [denied | insecure]}
    s3.put_bucket_policy(Bucket="conditional", Policy=json.dumps(policy))
    s3.put_object(Bucket="conditional", Key="x", Body=b"x")
    s3.put_bucket_policy(Bucket="conditional", Policy=json.dumps({**policy, "Statement": [denied]}))
    assert refused(s3.put_object, Bucket="conditional", Key="x", Body=b"x") == "403"


def test_bucket_when_it_has_objects_then_takes_a_lock_and_gives_locked_ones_to_who_may_bypass_it(aws: Emulator) -> None:
    s3, kind = aws.client("s3"), {"ObjectLockEnabled": "Enabled"}
    s3.create_bucket(Bucket="locked")
    s3.put_bucket_versioning(Bucket="locked", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="locked", Key="before", Body=b"x")
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration={**kind, "Rule": rule})
    version = s3.put_object(Bucket="locked", Key="x", Body=b"x")["VersionId"]
    assert refused(s3.delete_object, Bucket="locked", Key="x", VersionId=version) == "AccessDenied"
    s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=kind)
    s3.delete_object(Bucket="locked", Key="x", VersionId=version, BypassGovernanceRetention=True)


def test_registry_when_the_test_runs_one_then_repositories_and_logins_name_it(aws: Emulator) -> None:
    ecr = aws.client("ecr")
    before = ecr.create_repository(repositoryName="clinic/archive")["repository"]["repositoryUri"]
    assert before == f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/clinic/archive"
    aws.registry("127.0.0.1:5000")
    try:
        (found,) = ecr.describe_repositories(repositoryNames=["clinic/archive"])["repositories"]
        (login,) = ecr.get_authorization_token()["authorizationData"]
    finally:
        aws.registry("")
    assert found["repositoryUri"] == "127.0.0.1:5000/clinic/archive"
    assert login["proxyEndpoint"] == "https://127.0.0.1:5000"
    assert b64decode(login["authorizationToken"]).startswith(b"AWS:")
    assert login["expiresAt"].timestamp() > time.time()


def test_lifecycle_action_when_a_host_completes_it_then_must_name_a_hook_that_there_is(aws: Emulator) -> None:
    scaling, ec2 = aws.client("autoscaling"), aws.client("ec2")
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    ec2.create_launch_template(
        LaunchTemplateName="hosts", LaunchTemplateData={"ImageId": image, "InstanceType": "t3.large"}
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="hosts",
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=["us-east-1a"],
        LaunchTemplate={"LaunchTemplateName": "hosts", "Version": "$Latest"},
    )
    transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    scaling.put_lifecycle_hook(AutoScalingGroupName="hosts", LifecycleHookName="ready", LifecycleTransition=transition)
    wanted = {"AutoScalingGroupName": "hosts", "LifecycleActionResult": "CONTINUE", "InstanceId": "i-0123456789abcdef0"}
    scaling.complete_lifecycle_action(LifecycleHookName="ready", **wanted)
    assert refused(scaling.complete_lifecycle_action, LifecycleHookName="absent", **wanted) == "ValidationError"


def test_logs_when_put_then_are_found_by_a_filter(aws: Emulator) -> None:
    logs, where = aws.client("logs"), {"logGroupName": "/orthweb/clinic/host", "logStreamName": "i-1"}
    logs.create_log_group(logGroupName="/orthweb/clinic/host")
    logs.create_log_stream(**where)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + number, "message": f"line {number}"} for number in range(3)]
    logs.put_log_events(**where, logEvents=events)
    found = logs.filter_log_events(logGroupName="/orthweb/clinic/host", startTime=now)["events"]
    assert [event["message"] for event in found] == ["line 0", "line 1", "line 2"]


def test_calls_when_made_then_are_named_as_aws_names_them(aws: Emulator) -> None:
    before = len(aws.calls())
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="named")
    s3.put_bucket_versioning(Bucket="named", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="named", Key="a/b", Body=b"x")
    s3.list_objects_v2(Bucket="named")
    aws.client("backup").list_backup_vaults()
    aws.client("route53").list_hosted_zones()
    assert refused(aws.client("kms").describe_key, KeyId="absent") == "NotFoundException"
    calls = aws.calls()[before:]
    assert [f"{call.service}:{call.operation}" for call in calls] == [
        "s3:CreateBucket",
        "s3:PutBucketVersioning",
        "s3:PutObject",
        "s3:ListObjectsV2",
        "backup:ListBackupVaults",
        "route53:ListHostedZones",
        "kms:DescribeKey",
    ]
    assert (calls[-1].status, calls[-1].error) == (400, "NotFoundException")


def test_operation_when_moto_lacks_it_then_is_refused_at_once_and_named(tmp_path: Path) -> None:
    with incomplete(tmp_path) as aws:
        code = refused(
            aws.client("ec2").create_client_vpn_endpoint,
            ClientCidrBlock="10.84.0.0/22",
            ServerCertificateArn="x",
            AuthenticationOptions=[],
            ConnectionLogOptions={"Enabled": False},
        )
        assert code == "NotImplemented"
        assert aws.failures() == ["ec2:CreateClientVpnEndpoint (501 NotImplemented)"]


@contextmanager
def incomplete(folder: Path) -> Iterator[Emulator]:
    with pytest.raises(AssertionError, match="lacks these operations"), emulator(folder) as aws:
        yield aws


def test_account_when_new_then_has_nothing_in_it_but_what_comes_with_every_account(aws: Emulator) -> None:
    found = {line.split()[0] for line in aws.resources("eu-west-1")}
    aws_own = {"aws_network_acl", "aws_route_table", "aws_security_group", "aws_subnet", "aws_vpc"}
    everywhere = {"aws_s3_bucket", "aws_iam_role"}
    assert found <= aws_own | everywhere


def test_target_group_when_it_is_deleted_twice_then_nobody_minds(aws: Emulator) -> None:
    vpc = aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    balancing = aws.client("elbv2")
    made = balancing.create_target_group(Name="twice", Protocol="TCP", Port=443, VpcId=vpc)["TargetGroups"][0]
    for _ in range(2):
        balancing.delete_target_group(TargetGroupArn=made["TargetGroupArn"])
    with pytest.raises(balancing.exceptions.TargetGroupNotFoundException):
        balancing.describe_target_groups(Names=["twice"])

"""What an interrupted call made and no state lists is found again, and somebody else's is left alone; AWS is moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from moto import mock_aws

from orthweb.aws.session import Session
from orthweb.targets.aws import adoption, removal

REGION = "eu-central-1"
NAME = "pacs"
TAG = {"Key": "orthweb:site", "Value": NAME}
NAMED = [TAG, {"Key": "Name", "Value": NAME}]
TAGS: dict[str, Any] = {"tags": {"Name": NAME}}


@cache
def shared() -> Session:
    """Give one session: to make a client takes longer than what is tried with it."""
    return Session(REGION)


def client(service: str) -> Any:
    return shared().client(service)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield shared()


def network(block: str = "10.83.0.0/16") -> str:
    tags = [{"ResourceType": "vpc", "Tags": NAMED}]
    return str(client("ec2").create_vpc(CidrBlock=block, TagSpecifications=tags)["Vpc"]["VpcId"])


def database(vpc: str, tags: list[dict[str, str]]) -> str:
    blocks = client("ec2").describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlock"].rpartition(".0.0/")[0]
    subnets = [
        client("ec2").create_subnet(VpcId=vpc, CidrBlock=f"{blocks}.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
        for number, zone in enumerate("ab")
    ]
    rds = client("rds")
    rds.create_db_subnet_group(
        DBSubnetGroupName=f"{NAME}-index",
        DBSubnetGroupDescription="x",
        SubnetIds=[each["Subnet"]["SubnetId"] for each in subnets],
        Tags=tags,
    )
    rds.create_db_instance(
        DBInstanceIdentifier=f"{NAME}-index",
        DBInstanceClass="db.t4g.medium",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="x",
        MasterUserPassword="x" * 12,
        DBSubnetGroupName=f"{NAME}-index",
        Tags=tags,
    )
    return f"{NAME}-index"


def plan(known: dict[str, str], **creates: dict[str, Any]) -> dict[str, Any]:
    """Write a plan: what the state has (address to id), and what would be made (type to values)."""
    resources = [{"mode": "managed", "type": type_, "values": {"id": each}} for type_, each in known.items()]
    changes = [
        {"address": f"{each}.x", "type": each, "mode": "managed", "change": {"actions": ["create"], "after": after}}
        for each, after in creates.items()
    ]
    module = {"child_modules": [{"resources": resources}]}
    return {"prior_state": {"values": {"root_module": module}}, "resource_changes": changes}


def found(session: Session, document: dict[str, Any]) -> dict[str, str]:
    return {each.type: each.identity for each in adoption.lost(session, NAME, document)}


WANTED: dict[str, dict[str, Any]] = {
    "aws_db_instance": {"identifier": f"{NAME}-index"},
    "aws_db_subnet_group": {"name": f"{NAME}-index"},
    "aws_iam_role": {"name": f"{NAME}-host"},
}


def role(tags: list[dict[str, str]]) -> str:
    client("iam").create_role(RoleName=f"{NAME}-host", AssumeRolePolicyDocument="{}", Tags=tags)
    return f"{NAME}-host"


def test_database_when_it_lies_in_the_site_s_network_then_found_though_another_thing_has_its_name(
    session: Session,
) -> None:
    vpc = network()
    database(vpc, [TAG])
    role([TAG])
    known = {"aws_vpc": vpc, "aws_db_subnet_group": f"{NAME}-index"}
    assert found(session, plan(known, **WANTED)) == {"aws_db_instance": f"{NAME}-index", "aws_iam_role": f"{NAME}-host"}


def test_resources_when_they_have_no_tag_of_the_site_then_left_alone(session: Session) -> None:
    vpc = network()
    database(vpc, [{"Key": "orthweb:site", "Value": "another"}])
    role([])
    assert found(session, plan({"aws_vpc": vpc}, **WANTED)) == {}


def test_resources_when_somebody_has_a_site_of_the_same_name_then_those_outside_this_network_are_left_alone(
    session: Session,
) -> None:
    theirs, ours = network(), network("10.84.0.0/16")
    database(theirs, [TAG])
    role([TAG])
    assert found(session, plan({"aws_vpc": ours}, **WANTED)) == {}
    assert found(session, plan({}, aws_vpc=TAGS, **WANTED)) == {}
    assert set(found(session, plan({"aws_vpc": theirs}, **WANTED))) == {"aws_db_instance", "aws_db_subnet_group"}


def test_resources_when_the_state_was_never_written_then_found_by_their_tag(session: Session) -> None:
    vpc = network()
    role([TAG])
    wanted = plan({}, aws_vpc=TAGS, **WANTED)
    assert found(session, wanted) == {"aws_vpc": vpc, "aws_iam_role": f"{NAME}-host"}


def test_resources_when_two_could_be_meant_then_none_is_taken(session: Session) -> None:
    vpc = network()
    for number in (1, 2):
        tags = [{"ResourceType": "subnet", "Tags": NAMED}]
        client("ec2").create_subnet(VpcId=vpc, CidrBlock=f"10.83.{number}.0/24", TagSpecifications=tags)
    assert found(session, plan({"aws_vpc": vpc}, aws_subnet=TAGS)) == {}


def in_ec2(operation: str, kind: str, answer: Callable[[Any], str], **more: Any) -> Callable[[str], str]:
    def make(_vpc: str) -> str:
        tags = [{"ResourceType": kind, "Tags": NAMED}]
        return answer(getattr(client("ec2"), operation)(TagSpecifications=tags, **more))

    return make


def subnet(vpc: str) -> str:
    return str(client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.83.1.0/24")["Subnet"]["SubnetId"])


def gateway(vpc: str) -> str:
    ec2 = client("ec2")
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    tags = [{"ResourceType": "natgateway", "Tags": NAMED}]
    made = ec2.create_nat_gateway(SubnetId=subnet(vpc), AllocationId=address, TagSpecifications=tags)
    return str(made["NatGateway"]["NatGatewayId"])


def interface(vpc: str) -> str:
    tags = [{"ResourceType": "network-interface", "Tags": NAMED}]
    made = client("ec2").create_network_interface(SubnetId=subnet(vpc), Description="Host", TagSpecifications=tags)
    return str(made["NetworkInterface"]["NetworkInterfaceId"])


def instance(_vpc: str) -> str:
    tags = [{"ResourceType": "instance", "Tags": NAMED}]
    image = client("ec2").describe_images()["Images"][0]["ImageId"]
    made = client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
    return str(made["Instances"][0]["InstanceId"])


def log_group(_vpc: str) -> str:
    client("logs").create_log_group(logGroupName="/orthweb/pacs/host", tags={"orthweb:site": NAME})
    client("logs").create_log_group(logGroupName="/orthweb/pacs/host-other")
    return "/orthweb/pacs/host"


def secret(_vpc: str) -> str:
    return str(client("secretsmanager").create_secret(Name="orthweb/pacs/admin", Tags=[TAG])["ARN"])


def parameter(_vpc: str) -> str:
    client("ssm").put_parameter(Name="/orthweb/pacs/site", Value="x", Type="String", Tags=[TAG])
    return "/orthweb/pacs/site"


def bucket(_vpc: str) -> str:
    place = {"LocationConstraint": REGION}
    client("s3").create_bucket(Bucket="pacs-images", CreateBucketConfiguration=place)
    client("s3").put_bucket_tagging(Bucket="pacs-images", Tagging={"TagSet": [TAG]})
    return "pacs-images"


def repository(_vpc: str) -> str:
    client("ecr").create_repository(repositoryName="pacs/ops", tags=[TAG])
    return "pacs/ops"


def key(_vpc: str, description: str = "Data") -> str:
    tags = [{"TagKey": "orthweb:site", "TagValue": NAME}]
    made = client("kms").create_key(Description=description, Tags=tags)["KeyMetadata"]["KeyId"]
    client("kms").create_key(Description="Data")
    client("kms").create_key(Description="Logs", Tags=tags)
    return str(made)


def key_name(vpc: str) -> str:
    client("kms").create_alias(AliasName="alias/pacs-data", TargetKeyId=key(vpc, "Other"))
    return "alias/pacs-data"


def settings(_vpc: str) -> str:
    client("rds").create_db_parameter_group(
        DBParameterGroupName="pacs-index", DBParameterGroupFamily="postgres17", Description="x", Tags=[TAG]
    )
    return "pacs-index"


def profile(_vpc: str) -> str:
    client("iam").create_instance_profile(InstanceProfileName="pacs-host", Tags=[TAG])
    return "pacs-host"


def template(_vpc: str) -> str:
    tags = [{"ResourceType": "launch-template", "Tags": [TAG]}]
    made = client("ec2").create_launch_template(
        LaunchTemplateName="pacs-host", LaunchTemplateData={"InstanceType": "t3.large"}, TagSpecifications=tags
    )
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def group(vpc: str) -> str:
    template(vpc)
    client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="pacs",
        LaunchTemplate={"LaunchTemplateName": "pacs-host"},
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=[f"{REGION}a"],
        Tags=[{**TAG, "ResourceId": "pacs", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}],
    )
    return "pacs"


def balancer(vpc: str) -> str:
    made = client("elbv2").create_load_balancer(Name="pacs", Type="network", Subnets=[subnet(vpc)], Tags=[TAG])
    return str(made["LoadBalancers"][0]["LoadBalancerArn"])


def targets(vpc: str) -> str:
    made = client("elbv2").create_target_group(Name="pacs-https", Protocol="TCP", Port=443, VpcId=vpc, Tags=[TAG])
    return str(made["TargetGroups"][0]["TargetGroupArn"])


def ssh_key(_vpc: str) -> str:
    tags = [{"ResourceType": "key-pair", "Tags": [TAG]}]
    client("ec2").create_key_pair(KeyName="pacs", TagSpecifications=tags)
    return "pacs"


EVERYTHING: dict[str, tuple[Callable[[str], str], dict[str, Any]]] = {
    "aws_autoscaling_group": (group, {"name": "pacs"}),
    "aws_cloudwatch_log_group": (log_group, {"name": "/orthweb/pacs/host"}),
    "aws_db_instance": (lambda vpc: database(vpc, [TAG]), WANTED["aws_db_instance"]),
    "aws_db_parameter_group": (settings, {"name": "pacs-index"}),
    "aws_db_subnet_group": (lambda vpc: database(vpc, [TAG]), WANTED["aws_db_subnet_group"]),
    "aws_ecr_repository": (repository, {"name": "pacs/ops"}),
    "aws_eip": (in_ec2("allocate_address", "elastic-ip", lambda made: str(made["AllocationId"]), Domain="vpc"), TAGS),
    "aws_iam_instance_profile": (profile, {"name": "pacs-host"}),
    "aws_iam_role": (lambda _: role([TAG]), WANTED["aws_iam_role"]),
    "aws_instance": (instance, TAGS),
    "aws_internet_gateway": (
        in_ec2(
            "create_internet_gateway",
            "internet-gateway",
            lambda made: str(made["InternetGateway"]["InternetGatewayId"]),
        ),
        TAGS,
    ),
    "aws_key_pair": (ssh_key, {"key_name": "pacs"}),
    "aws_kms_alias": (key_name, {"name": "alias/pacs-data"}),
    "aws_kms_key": (key, {"description": "Data"}),
    "aws_launch_template": (template, {"name": "pacs-host"}),
    "aws_lb": (balancer, {"name": "pacs"}),
    "aws_lb_target_group": (targets, {"name": "pacs-https"}),
    "aws_nat_gateway": (gateway, TAGS),
    "aws_network_interface": (interface, {"description": "Host", **TAGS}),
    "aws_s3_bucket": (bucket, {"bucket": "pacs-images"}),
    "aws_secretsmanager_secret": (secret, {"name": "orthweb/pacs/admin"}),
    "aws_security_group": (
        in_ec2(
            "create_security_group",
            "security-group",
            lambda made: str(made["GroupId"]),
            GroupName="pacs-host",
            Description="x",
        ),
        TAGS,
    ),
    "aws_ssm_parameter": (parameter, {"name": "/orthweb/pacs/site"}),
    "aws_network_acl": (
        lambda vpc: str(
            client("ec2").create_network_acl(
                VpcId=vpc, TagSpecifications=[{"ResourceType": "network-acl", "Tags": NAMED}]
            )["NetworkAcl"]["NetworkAclId"]
        ),
        TAGS,
    ),
    "aws_route_table": (
        lambda vpc: str(
            client("ec2").create_route_table(
                VpcId=vpc, TagSpecifications=[{"ResourceType": "route-table", "Tags": NAMED}]
            )["RouteTable"]["RouteTableId"]
        ),
        TAGS,
    ),
    "aws_vpc_endpoint": (
        lambda vpc: str(
            client("ec2").create_vpc_endpoint(
                VpcId=vpc,
                ServiceName=f"com.amazonaws.{REGION}.s3",
                TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": NAMED}],
            )["VpcEndpoint"]["VpcEndpointId"]
        ),
        TAGS,
    ),
    "aws_subnet": (
        lambda vpc: str(
            client("ec2").create_subnet(
                VpcId=vpc, CidrBlock="10.83.1.0/24", TagSpecifications=[{"ResourceType": "subnet", "Tags": NAMED}]
            )["Subnet"]["SubnetId"]
        ),
        TAGS,
    ),
}


def test_types_when_they_can_be_found_then_each_is_tried_here() -> None:
    assert adoption._FINDERS.keys() == {*EVERYTHING, "aws_vpc"}


@pytest.mark.parametrize("type_", EVERYTHING)
def test_resource_when_there_and_tagged_then_found_by_what_terraform_imports_it_by(
    session: Session, type_: str
) -> None:
    vpc = network()
    make, values = EVERYTHING[type_]
    wanted = plan({"aws_vpc": vpc}, **{type_: values})
    assert found(session, wanted) == {}
    made = make(vpc)
    assert found(session, wanted) == {type_: made}


@pytest.mark.parametrize(
    ("state", "network", "half"),
    [
        ({}, None, False),
        ({"aws_vpc": {"id": "vpc-1"}}, "vpc-1", True),  # made, and in no state
        ({"aws_vpc": {"id": "vpc-1"}}, "vpc-2", False),  # of somebody else's site of the same name
        ({"aws_vpc": {"id": "vpc-1"}, "aws_db_instance": {"skip_final_snapshot": False}}, "vpc-1", False),
        ({"aws_vpc": {"id": "vpc-1"}, "aws_db_instance": {"skip_final_snapshot": True}}, "vpc-1", True),  # taken over
    ],
)
def test_database_when_not_in_the_state_as_it_is_to_be_then_is_not_removed_yet(
    state: dict[str, Any], network: str | None, half: bool
) -> None:
    resources = [{"mode": "managed", "type": type_, "values": values} for type_, values in state.items()]
    document = {"values": {"root_module": {"resources": resources}}}
    found = {"DBSubnetGroup": {"VpcId": network}} if network else None
    assert removal.is_half_known(document, found) is half

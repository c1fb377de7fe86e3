"""What a request is about: the ARNs that IAM would judge it by, and the site's tag that each has at that moment.

Only identifiers are read from a request, never its content: what is recorded must not hold a secret. Resources that a
request makes have no name yet, and are not in the list (but where the request names them itself).
https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from moto.backends import get_backend

from aws.emulator.operations import Request

ACCOUNT = "123456789012"
TAG = "orthweb:site"

EC2 = {
    "acl": "network-acl",
    "ami": "image",
    "cvpn-endpoint": "client-vpn-endpoint",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "fl": "vpc-flow-log",
    "i": "instance",
    "igw": "internet-gateway",
    "lt": "launch-template",
    "nat": "natgateway",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
"""How EC2's identifiers begin, and what they are of."""

EC2_ID = re.compile(rf"({'|'.join(EC2)})-[0-9a-f]{{8,17}}")

# Service, the parameter's name (without numbers), and the ARN's end, whose {} is the parameter.
NAMES: Mapping[tuple[str, str], str] = {
    ("autoscaling", "AutoScalingGroupName"): "autoScalingGroup:0:autoScalingGroupName/{}",
    ("autoscaling", "Tags.member.ResourceId"): "autoScalingGroup:0:autoScalingGroupName/{}",
    ("cloudtrail", "Name"): "trail/{}",
    ("cloudtrail", "TrailName"): "trail/{}",
    ("cloudwatch", "AlarmName"): "alarm:{}",
    ("cloudwatch", "AlarmNames"): "alarm:{}",
    ("cloudwatch", "DashboardName"): "dashboard/{}",
    ("cloudwatch", "DashboardNames"): "dashboard/{}",
    ("ec2", "KeyName"): "key-pair/{}",
    ("ecr", "repositoryName"): "repository/{}",
    ("ecr", "repositoryNames"): "repository/{}",
    ("iam", "InstanceProfileName"): "instance-profile/{}",
    ("iam", "RoleName"): "role/{}",
    ("kms", "AliasName"): "{}",
    ("kms", "KeyId"): "key/{}",
    ("kms", "TargetKeyId"): "key/{}",
    ("logs", "logGroupName"): "log-group:{}",
    ("rds", "DBInstanceIdentifier"): "db:{}",
    ("rds", "DBParameterGroupName"): "pg:{}",
    ("rds", "DBSnapshotIdentifier"): "snapshot:{}",
    ("rds", "DBSubnetGroupName"): "subgrp:{}",
    ("secretsmanager", "Name"): "secret:{}-abcdef",
    ("secretsmanager", "SecretId"): "secret:{}-abcdef",
    ("sns", "Name"): "{}",
    ("ssm", "Name"): "parameter{}",
    ("ssm", "Names"): "parameter{}",
    ("ssm", "Path"): "parameter{}",
    ("ssm", "ResourceId"): "parameter{}",
}

OPERATIONS: Mapping[tuple[str, str, str], str] = {
    ("elasticloadbalancing", "CreateLoadBalancer", "Name"): "loadbalancer/net/{}/0",
    ("elasticloadbalancing", "CreateTargetGroup", "Name"): "targetgroup/{}/0",
}
"""Parameters that mean something else in each operation."""

GLOBAL = frozenset({"iam", "dashboard"})
NOT_READ = re.compile(r"^(Filters?|TagSpecification|UserData|LaunchTemplateData|PolicyDocument)\b")
SIGNING = {"monitoring": "cloudwatch"}


def about(request: Request, operation: str, body: bytes) -> list[tuple[str, str | None]]:
    """Give the ARNs that a request names, each with the value of its site's tag (None: it has none)."""
    service = SIGNING.get(request.service, request.service)
    found = dict.fromkeys(_arns(service, request, operation, list(_parameters(body))))
    return [(arn, site(arn, request.region)) for arn in found]


def context(request: Request, body: bytes) -> dict[str, str]:
    """Give the condition keys that a request itself says."""
    parameters, tags = dict(_parameters(body)), dict(_tags(body))
    found = {"iam:PolicyARN": parameters.get("PolicyArn"), f"aws:RequestTag/{TAG}": tags.get(TAG)}
    return {key: value for key, value in found.items() if value is not None}


def _arns(service: str, request: Request, operation: str, parameters: list[tuple[str, str]]) -> Iterator[str]:
    def arn(end: str) -> str:
        region = "" if service in GLOBAL or end.split("/")[0] in GLOBAL else request.region
        return f"arn:aws:{service}:{region}:{ACCOUNT}:{end}"

    if service == "s3":
        bucket, _, key = unquote(request.path).strip("/").partition("/")
        yield (
            f"arn:aws:s3:::{bucket}/{key or '*'}"
            if "Object" in operation and "Lock" not in operation and (key or operation == "DeleteObjects")
            else f"arn:aws:s3:::{bucket}"
        )
    if service == "route53":
        yield from (
            f"arn:aws:route53:::{kind}/{name}"
            for kind, name in re.findall(r"/(hostedzone|change)/([A-Z0-9]+)", request.path)
        )
    if service == "backup":
        path = unquote(request.path)
        yield from (arn(f"backup-vault:{name}") for name in re.findall(r"/backup-vaults/([^/]+)", path))
        yield from (arn(f"backup-plan:{name}") for name in re.findall(r"/backup/plans/([0-9a-f-]+)", path))
        yield from re.findall(r"(arn:[^/]+)", path)
    for name, value in parameters:
        if NOT_READ.match(name):
            continue
        if service == "ec2" and (found := EC2_ID.fullmatch(value)):
            if found[1] == "sgr" and operation.startswith("Revoke"):
                continue  # asks for the group alone
            if found[1] != "ami":
                yield arn(f"{EC2[found[1]]}/{value}")
            elif operation == "RunInstances":
                yield f"arn:aws:ec2:{request.region}::image/{value}"
        elif (end := OPERATIONS.get((service, operation, name)) or NAMES.get((service, name))) is not None:
            if value.startswith("arn:"):
                yield value
            elif not (service == "kms" and name == "KeyId" and value.startswith("alias/")):
                yield arn(end.format(value))
        elif value.startswith(f"arn:aws:{service}:") and name != "PolicyArn":
            yield re.sub(r":(loadbalancer|listener)/app/", r":\1/net/", value)  # moto calls all of them so
    if (
        service == "rds"
        and operation == "DescribeDBInstances"
        and not any(name == "DBInstanceIdentifier" for name, _ in parameters)
    ):
        yield arn("db:*")


def _parameters(body: bytes) -> Iterator[tuple[str, str]]:
    """List the texts in a body, a form or JSON, by their names without numbers."""
    if body.startswith(b"{"):
        yield from _texts("", json.loads(body))
    elif b"Action=" in body[:10_000]:
        for name, value in parse_qsl(body.decode(errors="replace")):
            yield re.sub(r"\.\d+", "", name).removesuffix(".member"), value


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(name, inner)
    elif isinstance(value, str):
        yield name, value


def _tags(body: bytes) -> Iterator[tuple[str, str]]:
    """List the tags that a request of JSON gives; those of forms are nothing that a policy asks for."""
    if not body.startswith(b"{"):
        return
    wanted = json.loads(body)
    for name in ("Tags", "BackupPlanTags", "BackupVaultTags"):
        tags = wanted.get(name) or {}
        if isinstance(tags, dict):
            yield from tags.items()
        else:
            yield from ((each.get("TagKey", each.get("Key")), each.get("TagValue", each.get("Value"))) for each in tags)


def site(arn: str, region: str) -> str | None:
    """Give the value of the site's tag of something in EC2, KMS or AWS Backup."""
    ask = ASKED.get(arn.split(":")[2])
    return None if ask is None else ask(arn, region)


def _backend(service: str, region: str) -> Any:
    return get_backend(cast("Any", service))[ACCOUNT][region]


def _of_ec2(arn: str, region: str) -> str | None:
    identity = arn.rpartition("/")[2]
    backend = _backend("ec2", region)
    if ":key-pair/" in arn:
        tags = backend.key_pairs[identity].get_tags() if identity in backend.key_pairs else []
    else:
        tags = backend.describe_tags({"resource-id": [identity]})
    return _value({str(tag["key"]): str(tag["value"]) for tag in tags})


def _of_kms(arn: str, region: str) -> str | None:
    backend = _backend("kms", region)
    identity = arn.rpartition("/")[2]
    if ":key/" not in arn or identity not in backend.keys:
        return None
    return _value(backend.tagger.get_tag_dict_for_resource(identity))


def _of_backup(arn: str, region: str) -> str | None:
    backend = _backend("backup", region)
    plans = {each.backup_plan_arn for each in backend.plans.values()}
    vaults = {each.backup_vault_arn for each in backend.vaults.values()}
    return _value(backend.tagger.get_tag_dict_for_resource(arn)) if arn in plans | vaults else None


def _value(tags: Mapping[str, str]) -> str | None:
    return tags.get(TAG)


ASKED: Mapping[str, Callable[[str, str], str | None]] = {"ec2": _of_ec2, "kms": _of_kms, "backup": _of_backup}

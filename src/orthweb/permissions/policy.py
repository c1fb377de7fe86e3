"""The least-privilege IAM policy of the person who deploys a site, as documents that AWS takes.

Resources are limited to the site's names; where AWS gives the names (EC2, keys, backup plans), to new things and to
those that carry the site's tag. A managed policy may have 6,144 characters without white space: there is more than one.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final

from orthweb.permissions.actions import actions
from orthweb.permissions.scope import TAG, Scope

LIMIT: Final = 6144
"""Characters of a managed policy, white space apart."""

Statement = dict[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WITHOUT_RESOURCE: Final = _words(
    """
    acm:ListCertificates
    autoscaling:DescribeAutoScalingGroups autoscaling:DescribeInstanceRefreshes autoscaling:DescribeScalingActivities
    backup-storage:MountCapsule
    cloudtrail:DescribeTrails
    ecr:GetAuthorizationToken
    elasticloadbalancing:DescribeCapacityReservation elasticloadbalancing:DescribeListenerAttributes
    elasticloadbalancing:DescribeListeners
    elasticloadbalancing:DescribeLoadBalancerAttributes elasticloadbalancing:DescribeLoadBalancers
    elasticloadbalancing:DescribeTags elasticloadbalancing:DescribeTargetGroupAttributes
    elasticloadbalancing:DescribeTargetGroups elasticloadbalancing:DescribeTargetHealth
    kms:CreateKey kms:ListAliases
    logs:CreateLogDelivery logs:DeleteLogDelivery logs:DescribeLogGroups
    sns:GetSubscriptionAttributes sns:SetSubscriptionAttributes sns:Unsubscribe
    ssm:DescribeParameters
    tag:GetResources
    """
)
"""Actions that AWS defines without resources (beside EC2's Describe actions): theirs is ``*``."""

READING: Final = _words(
    """
    cloudwatch:DescribeAlarms
    ec2:GetInstanceUefiData
    kms:DescribeKey kms:GetKeyPolicy kms:GetKeyRotationStatus kms:ListResourceTags
    rds:DescribeDBInstances rds:DescribeDBSnapshots
    """
)
"""Reading that is allowed of everything in the region (beside EC2's Describe actions).

The provider looks a database up by the id that AWS gave it, without its identifier: that is asked of all databases.
https://github.com/hashicorp/terraform-provider-aws/issues/32732
"""

MAKING: Final[Sequence[Mapping[str, str]]] = (
    {
        "ec2:AllocateAddress": "elastic-ip",
        "ec2:CreateInternetGateway": "internet-gateway",
        "ec2:CreateLaunchTemplate": "launch-template",
        "ec2:CreateVpc": "vpc",
        "ec2:ImportKeyPair": "key-pair",
    },
    {
        "ec2:CreateNetworkAcl": "network-acl",
        "ec2:CreateRouteTable": "route-table",
        "ec2:CreateSecurityGroup": "security-group",
        "ec2:CreateSubnet": "subnet",
    },
    {
        "ec2:AuthorizeSecurityGroupEgress": "security-group-rule",
        "ec2:AuthorizeSecurityGroupIngress": "security-group-rule",
        "ec2:CreateClientVpnEndpoint": "client-vpn-endpoint",
        "ec2:CreateFlowLogs": "vpc-flow-log",
        "ec2:CreateNatGateway": "natgateway",
        "ec2:CreateVpcEndpoint": "vpc-endpoint",
        # Subnets get back the VPC's own list, which nobody has tagged.
        "ec2:ReplaceNetworkAclAssociation": "network-acl",
        "ec2:RunInstances": "image instance volume",
    },
    {"ec2:CreateNetworkInterface": "network-interface", "ec2:RunInstances": "network-interface"},
)
"""What makes something in EC2: the action, and the types of what is new and so has no tag yet.

What it is made in (the VPC of a subnet) exists, and must have the site's tag. Actions stand together only where none of
them acts on an existing thing of a type that another one makes.
"""

OWN: Final = _words(
    """
    backup:DeleteBackupPlan backup:DeleteBackupSelection backup:DeleteRecoveryPoint backup:UntagResource
    backup:UpdateBackupPlan
    kms:PutKeyPolicy kms:ScheduleKeyDeletion kms:UntagResource kms:UpdateKeyDescription
    """
)
"""What changes or removes something whose name does not tell its site: only with the site's tag, as all of EC2's."""

TAGGING: Final = _words("backup:TagResource kms:TagResource")
"""What tags things whose names do not tell their site: such as have no site's tag yet, or this one's."""

KEEPING: Final = _words(
    """
    backup:DeleteRecoveryPoint
    s3:BypassGovernanceRetention s3:DeleteObject s3:DeleteObjectVersion s3:PutObjectLegalHold
    """
)
"""What deletes images and backups: not in production."""

KEY_USE: Final = _words(
    """
    kms:CreateGrant kms:Decrypt kms:GenerateDataKey kms:GenerateDataKeyWithoutPlaintext kms:ReEncryptFrom
    kms:ReEncryptTo kms:RetireGrant
    """
)
"""What services do with the site's keys on behalf of the caller."""

SERVICES_WITH_KEYS: Final = ("backup", "ec2", "ecr", "rds", "secretsmanager")

PASSED_TO: Final = (
    "backup.amazonaws.com",
    "cloudtrail.amazonaws.com",
    "ec2.amazonaws.com",
    "monitoring.rds.amazonaws.com",
    "s3.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
)
"""The services that a site has roles for."""

LINKED: Final = (
    "autoscaling.amazonaws.com",
    "backup.amazonaws.com",
    "clientvpn.amazonaws.com",
    "clientvpn-connections.amazonaws.com",
    "elasticloadbalancing.amazonaws.com",
    "events.amazonaws.com",  # alarms that start an instance again
    "rds.amazonaws.com",
)
"""The services whose linked role AWS makes at their first use in an account."""

AWS_POLICIES: Final = (
    "service-role/AmazonRDSEnhancedMonitoringRole",
    "service-role/AWSBackupServiceRolePolicyForBackup",
    "service-role/AWSBackupServiceRolePolicyForRestores",
    "AWSBackupServiceRolePolicyForS3Backup",
    "AWSBackupServiceRolePolicyForS3Restore",
)
"""AWS's own policies that a site's roles have; no other can be attached."""


def statements(scope: Scope, types: Iterable[str] | None = None) -> list[Statement]:
    """Give the policy's statements for some resource types; None: for all that a site can have.

    Raises
    ------
    KeyError : a type that the table does not have.
    """
    left = set(actions(types)) - {"sts:GetCallerIdentity"}  # nobody needs a permission for it
    if scope.production:
        left -= KEEPING
    found = list(_special(scope, left))
    for service in sorted({action.split(":")[0] for action in left}):
        mine = {action for action in left if action.startswith(f"{service}:")}
        found.append(_allow(service, mine, scope.resources(service)))
    return found


def _special(scope: Scope, left: set[str]) -> Iterator[Statement]:
    """Give the statements that are not simply a service's actions on the site's names; take theirs out of `left`."""

    def take(wanted: Iterable[str]) -> set[str]:
        taken = left & set(wanted)
        left.difference_update(taken)
        return taken

    region = {"StringEquals": {"aws:RequestedRegion": scope.region}}
    looking = {action for action in left if action.startswith("ec2:Describe")} | WITHOUT_RESOURCE | READING
    yield _allow("Look", take(looking), ["*"], region)
    yield from _tagged(scope, left)
    take({action for action in left if action.startswith("ec2:")} | OWN | TAGGING)
    services = [f"{service}.{scope.region}.amazonaws.com" for service in SERVICES_WITH_KEYS]
    yield _allow("UseKeys", take(KEY_USE), [scope.arn("kms", "key/*")], {"StringEquals": {"kms:ViaService": services}})
    passed = {"StringEquals": {"iam:PassedToService": list(PASSED_TO)}}
    yield _allow("PassRoles", take({"iam:PassRole"}), scope.roles, passed)
    policies = [f"arn:{scope.partition}:iam::aws:policy/{name}" for name in AWS_POLICIES]
    attaching = take({"iam:AttachRolePolicy", "iam:DetachRolePolicy"})
    yield _allow("AttachPolicies", attaching, scope.roles, {"ArnEquals": {"iam:PolicyARN": policies}})
    yield _allow(
        "LinkedRoles",
        take({"iam:CreateServiceLinkedRole"}),
        [scope.arn("iam", "role/aws-service-role/*", regional=False)],
        {"StringEquals": {"iam:AWSServiceName": list(LINKED)}},
    )
    # RDS makes the secret of the database's master on behalf of the caller, under a name of its own.
    made = left & {"secretsmanager:CreateSecret", "secretsmanager:TagResource"} | take({"secretsmanager:RotateSecret"})
    yield _allow("DatabaseSecret", made, [scope.arn("secretsmanager", "secret:rds!db-*")])
    if scope.state_bucket is not None:
        bucket = f"arn:{scope.partition}:s3:::{scope.state_bucket}"
        state = {"s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"}
        yield _allow("State", state, [bucket, f"{bucket}/*"])
    # Images are for the archive: who deploys a site need not read them.
    take({"s3:GetObject", "s3:PutObject"})


def _tagged(scope: Scope, allowed: Set[str]) -> Iterator[Statement]:
    """Give the statements about what has random names: new things, and those that carry the site's tag."""
    mine = {f"aws:ResourceTag/{TAG}": scope.name}
    nobodys = {"Null": {f"aws:ResourceTag/{TAG}": "true"}}
    everything = scope.arn("ec2", "*")
    others = [scope.arn("kms", "key/*"), *scope.resources("backup")]
    own = {action for action in allowed if action.startswith("ec2:")} | (allowed & (OWN | TAGGING))
    yield _allow("Own", own, [everything, *others, *scope.recovery_points], {"StringEquals": mine})
    for number, group in enumerate(MAKING, start=1):
        making = allowed & group.keys()
        kinds = sorted({kind for action in making for kind in group[action].split()})
        yield _allow(f"Make{number}", making, [_new(scope, kind) for kind in kinds])
    if "ec2:CreateTags" in allowed:
        making = {action.split(":")[1] for group in MAKING for action in allowed & group.keys()}
        new = {"StringEquals": {"ec2:CreateAction": sorted(making)}}
        yield _allow("TagNew", {"ec2:CreateTags"}, [everything], new)
        # AWS makes a VPC's default group, without a tag.
        yield _allow("TagDefaultGroup", {"ec2:CreateTags"}, [scope.arn("ec2", "security-group/*")], nobodys)
    tagging = {"StringEquals": {f"aws:RequestTag/{TAG}": scope.name}} | nobodys
    yield _allow("TagOthers", allowed & TAGGING, others, tagging)


def _new(scope: Scope, kind: str) -> str:
    """Give the ARN of what is made; images, which instances are made from, belong to no account."""
    return f"arn:{scope.partition}:ec2:{scope.region}::image/*" if kind == "image" else scope.arn("ec2", f"{kind}/*")


def _allow(
    sid: str, allowed: Iterable[str], resources: list[str], condition: Mapping[str, Any] | None = None
) -> Statement:
    statement: Statement = {
        "Sid": sid[:1].upper() + sid[1:].replace("-", ""),
        "Effect": "Allow",
        "Action": sorted(allowed),
        "Resource": resources[0] if len(resources) == 1 else resources,
    }
    return statement | {"Condition": dict(condition)} if condition else statement


def documents(scope: Scope, types: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Give the policy as documents, each within AWS's limit; see `statements`."""
    found: list[list[Statement]] = []
    for statement in sorted(statements(scope, types), key=lambda one: -_size([one])):
        if not statement["Action"]:
            continue
        room = next((one for one in found if _size([*one, statement]) <= LIMIT), None)
        if room is None:
            found.append([statement])
        else:
            room.append(statement)
    return [_document(one) for one in found]


def _document(members: list[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": members}


def _size(members: list[Statement]) -> int:
    """Count as AWS does: without white space (there is none within our strings)."""
    return len(json.dumps(_document(members), separators=(",", ":")))

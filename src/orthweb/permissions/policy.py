"""The least-privilege IAM policy of the person who deploys a site, as documents that AWS takes.

Resources are limited to the site's names, EC2's to the region, and what removes something in EC2 to what carries the
site's tag. A managed policy may have 6,144 characters without white space: there is more than one.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orthweb.permissions.actions import actions

LIMIT: Final = 6144
"""Characters of a managed policy, white space apart."""

TAG: Final = "orthweb:site"
"""Every resource of a site carries its name under this tag."""

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

REMOVING: Final = _words(
    """
    ec2:DeleteClientVpnEndpoint ec2:DeleteFlowLogs ec2:DeleteInternetGateway ec2:DeleteKeyPair ec2:DeleteLaunchTemplate
    ec2:DeleteNatGateway ec2:DeleteNetworkAcl ec2:DeleteNetworkInterface ec2:DeleteRouteTable ec2:DeleteSecurityGroup
    ec2:DeleteSubnet ec2:DeleteVpc ec2:DeleteVpcEndpoints ec2:ReleaseAddress ec2:StopInstances ec2:TerminateInstances
    kms:ScheduleKeyDeletion
    """
)
"""What removes something whose name does not tell its site: only with the site's tag."""

KEEPING: Final = frozenset({"s3:DeleteObject", "s3:DeleteObjectVersion", "backup:DeleteRecoveryPoint"})
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


@dataclass(frozen=True)
class Scope:
    """What the policy is limited to.

    Parameters
    ----------
    name : the site's.
    account : 12 digits, or ``*``: whichever account the policy is in.
    zone : id of the hosted zone in Route 53; ``*`` for any.
    state_bucket : where Terraform's state is kept; None when it is on the person's disk.
    production : leave out what deletes images and backups.
    """

    name: str
    region: str
    account: str = "*"
    partition: str = "aws"
    zone: str = "*"
    state_bucket: str | None = None
    production: bool = False

    def arn(self, service: str, resource: str, *, regional: bool = True) -> str:
        """Give the ARN of something in the account."""
        region = self.region if regional else ""
        return f"arn:{self.partition}:{service}:{region}:{self.account}:{resource}"

    def resources(self, service: str) -> list[str]:
        """Give the ARNs that a service's actions are limited to."""
        name, arn = self.name, self.arn
        return {
            "acm": [arn("acm", "certificate/*")],
            "autoscaling": [arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{name}")],
            "backup": [
                arn("backup", f"backup-vault:{name}"),
                arn("backup", "backup-plan:*"),
                arn("backup", "recovery-point:*"),
            ],
            "cloudtrail": [arn("cloudtrail", f"trail/{name}")],
            "cloudwatch": [
                arn("cloudwatch", f"alarm:{name}-*"),
                arn("cloudwatch", f"dashboard/{name}-*", regional=False),
            ],
            "ec2": [arn("ec2", "*"), f"arn:{self.partition}:ec2:{self.region}::image/*"],
            "ecr": [arn("ecr", f"repository/{name}/*")],
            "elasticloadbalancing": [
                arn("elasticloadbalancing", f"{kind}/{path}")
                for kind, path in (
                    ("loadbalancer", f"net/{name}/*"),
                    ("listener", f"net/{name}/*"),
                    ("targetgroup", f"{name}-*/*"),
                )
            ],
            "iam": [
                arn("iam", f"role/{name}-*", regional=False),
                arn("iam", f"instance-profile/{name}-*", regional=False),
            ],
            "kms": [arn("kms", "key/*"), arn("kms", f"alias/{name}-*")],
            "logs": [
                arn("logs", f"log-group:/orthweb/{name}/*"),
                arn("logs", f"log-group:/aws/rds/instance/{name}-index/*"),
            ],
            "rds": [
                arn("rds", f"db:{name}-index"),
                arn("rds", f"pg:{name}-index-*"),
                arn("rds", f"subgrp:{name}-index"),
                arn("rds", f"snapshot:{name}-*"),
                arn("rds", f"snapshot:rds:{name}-*"),
            ],
            "route53": [
                f"arn:{self.partition}:route53:::hostedzone/{self.zone}",
                f"arn:{self.partition}:route53:::change/*",
                arn("ec2", "vpc/*"),
            ],
            "s3": [
                f"arn:{self.partition}:s3:::{name}-{kind}-*{below}"
                for kind in ("images", "logs")
                for below in ("", "/*")
            ],
            "secretsmanager": [arn("secretsmanager", f"secret:orthweb/{name}/*")],
            "sns": [arn("sns", f"{name}-*")],
            "ssm": [arn("ssm", f"parameter/orthweb/{name}"), arn("ssm", f"parameter/orthweb/{name}/*")],
        }[service]


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
        if service in ("ec2", "kms"):
            region = {"StringEquals": {"aws:RequestedRegion": scope.region}}
            found.append(_allow(f"{service}Make", mine, scope.resources(service), region))
        else:
            found.append(_allow(service, mine, scope.resources(service)))
    return found


def _special(scope: Scope, left: set[str]) -> Iterator[Statement]:
    """Give the statements that are not simply a service's actions on the site's names; take theirs out of `left`."""

    def take(wanted: Iterable[str]) -> set[str]:
        taken = left & set(wanted)
        left.difference_update(taken)
        return taken

    looking = take(
        {action for action in left if action.startswith("ec2:Describe") and action not in _ON_ONE} | WITHOUT_RESOURCE
    )
    yield _allow("Look", looking, ["*"], {"StringEquals": {"aws:RequestedRegion": scope.region}})
    removing = take(REMOVING)
    yield _allow(
        "Remove",
        removing,
        [scope.arn("ec2", "*"), scope.arn("kms", "key/*")],
        {"StringEquals": {f"aws:ResourceTag/{TAG}": scope.name}},
    )
    services = [f"{service}.{scope.region}.amazonaws.com" for service in SERVICES_WITH_KEYS]
    yield _allow("UseKeys", take(KEY_USE), [scope.arn("kms", "key/*")], {"StringEquals": {"kms:ViaService": services}})
    roles = [scope.arn("iam", f"role/{scope.name}-*", regional=False)]
    yield _allow("PassRoles", take({"iam:PassRole"}), roles, {"StringEquals": {"iam:PassedToService": list(PASSED_TO)}})
    policies = [f"arn:{scope.partition}:iam::aws:policy/{name}" for name in AWS_POLICIES]
    yield _allow(
        "AttachPolicies",
        take({"iam:AttachRolePolicy", "iam:DetachRolePolicy"}),
        roles,
        {"ArnEquals": {"iam:PolicyARN": policies}},
    )
    yield _allow(
        "LinkedRoles",
        take({"iam:CreateServiceLinkedRole"}),
        [scope.arn("iam", "role/aws-service-role/*", regional=False)],
        {"StringEquals": {"iam:AWSServiceName": list(LINKED)}},
    )
    # RDS makes the secret of the database's master on behalf of the caller, under a name of its own.
    made = left & {"secretsmanager:CreateSecret", "secretsmanager:TagResource"}
    yield _allow("DatabaseSecret", made, [scope.arn("secretsmanager", "secret:rds!db-*")])
    if scope.state_bucket is not None:
        bucket = f"arn:{scope.partition}:s3:::{scope.state_bucket}"
        state = {"s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"}
        yield _allow("State", state, [bucket, f"{bucket}/*"])
    # Images are for the archive: who deploys a site need not read them.
    take({"s3:GetObject", "s3:PutObject"})


_ON_ONE: Final = _words(
    """
    ec2:DescribeClientVpnAuthorizationRules ec2:DescribeClientVpnEndpoints ec2:DescribeClientVpnTargetNetworks
    ec2:DescribeInstanceAttribute ec2:DescribeVpcAttribute
    """
)
"""EC2's Describe actions that AWS defines with resources."""


def _allow(
    sid: str, allowed: Iterable[str], resources: list[str], condition: Mapping[str, Any] | None = None
) -> Statement:
    statement: Statement = {
        "Sid": sid[:1].upper() + sid[1:].replace("-", ""),
        "Effect": "Allow",
        "Action": sorted(allowed),
        "Resource": resources if len(resources) > 1 else resources[0],
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

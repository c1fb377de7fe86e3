"""All IAM actions that a site takes: for Terraform's resources and data sources, and for ``orthweb`` itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from orthweb.permissions.needs import Needs, needs
from orthweb.permissions.resources import TYPES

LOCAL: Final = frozenset({"terraform_data"})
"""Resource types of Terraform itself, which call nobody."""

DATA: Final[Mapping[str, Needs]] = {
    "aws_ami": needs(read="ec2:DescribeImages GetInstanceUefiData"),
    "aws_availability_zones": needs(read="ec2:DescribeAvailabilityZones"),
    "aws_caller_identity": needs(read="sts:GetCallerIdentity"),
    "aws_ec2_instance_type_offerings": needs(read="ec2:DescribeInstanceTypeOfferings"),
}
"""What the data sources take."""

VERBS: Final[Mapping[str, Needs]] = {
    "orthweb up": needs(
        "ecr:BatchCheckLayerAvailability BatchGetImage CompleteLayerUpload InitiateLayerUpload PutImage "
        "UploadLayerPart",
        "ecr:DescribeImages GetAuthorizationToken logs:FilterLogEvents secretsmanager:GetSecretValue "
        "ssm:GetParametersByPath",
        beside="kms:Decrypt",
    ),
    "orthweb status, logs, validate": needs(
        read="autoscaling:DescribeAutoScalingGroups ec2:DescribeInstances elasticloadbalancing:DescribeTargetHealth "
        "logs:DescribeLogStreams FilterLogEvents rds:DescribeDBInstances ssm:GetParametersByPath"
    ),
    "orthweb down": needs(
        read="cloudwatch:DescribeAlarms",
        update="autoscaling:UpdateAutoScalingGroup cloudwatch:DisableAlarmActions EnableAlarmActions "
        "ec2:StartInstances StopInstances rds:StartDBInstance StopDBInstance",
    ),
    "orthweb destroy": needs(
        read="ec2:DescribeNetworkInterfaces rds:DescribeDBSnapshots tag:GetResources",
        delete="ecr:BatchDeleteImage ListImages ssm:DeleteParameters",
    ),
    "Terraform's state in a bucket": needs("s3:PutObject", "s3:GetObject ListBucket", delete="s3:DeleteObject"),
}
"""What ``orthweb`` calls beside Terraform, and Terraform for a state that is kept in S3."""


def actions(types: Iterable[str] | None = None) -> frozenset[str]:
    """Give the actions of some resource types (None: all), and those that every deployment takes.

    Raises
    ------
    KeyError : a type that the table does not have.
    """
    chosen = set(TYPES if types is None else types) - LOCAL
    found = [TYPES[name] for name in chosen] + list(DATA.values()) + list(VERBS.values())
    return frozenset(action for one in found for action in one.all)

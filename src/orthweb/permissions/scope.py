"""What the deployer's policy is limited to: the names that ``terraform/`` gives, as ARNs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TAG: Final = "orthweb:site"
"""Every resource of a site carries its name under this tag."""

ANY_ACCOUNT: Final = "?" * 12
"""Matches an account's id and nothing longer."""

ROLES: Final = ("host", "index-monitoring", "vpc-flow", "cloudtrail", "replication", "backup", "restore")
"""A site's roles, behind its name. A wildcard would also admit those of a site whose name begins with this one's."""

ALARMS: Final = (
    "host-cpu",
    "host-disk",
    "host-memory",
    "host-errors",
    "host-status",
    "host-reboot",
    "host-recover",
    "site-silent",
    "site-unhealthy",
    "certificate-days",
    "archive-errors",
    "failed-sign-ins",
    "database-cpu",
    "database-storage",
    "database-memory",
    "database-connections",
    "unhealthy-https",
    "unhealthy-dicom",
    "no-host-https",
    "no-host-dicom",
)
"""A site's alarms, behind its name."""


@dataclass(frozen=True)
class Scope:
    """What the policy is limited to.

    Parameters
    ----------
    name : the site's.
    account : 12 digits, or ``*``: whichever account the policy is in.
    zone : id of the hosted zone in Route 53; ``*`` for any.
    state_bucket : where Terraform's state is kept; None when it is on the person's disk.
    snapshot : what the database is made from, identifier or ARN, besides final snapshots of a site of this name.
    production : leave out what deletes images and backups.
    """

    name: str
    region: str
    account: str = "*"
    partition: str = "aws"
    zone: str = "*"
    state_bucket: str | None = None
    snapshot: str | None = None
    production: bool = False

    def arn(self, service: str, resource: str, *, regional: bool = True) -> str:
        """Give the ARN of something in the account."""
        region = self.region if regional else ""
        return f"arn:{self.partition}:{service}:{region}:{self.account}:{resource}"

    @property
    def roles(self) -> list[str]:
        """The ARNs of the site's roles."""
        return [self.arn("iam", f"role/{self.name}-{role}", regional=False) for role in ROLES]

    @property
    def buckets(self) -> list[str]:
        """The ARNs of the site's buckets, and of what is in them."""
        account = ANY_ACCOUNT if self.account == "*" else self.account
        found = [f"arn:{self.partition}:s3:::{self.name}-{kind}-{account}-{self.region}" for kind in ("images", "logs")]
        return [f"{bucket}{below}" for bucket in found for below in ("", "/*")]

    @property
    def snapshots(self) -> list[str]:
        """The ARNs of snapshots that the site's database leaves, and may be made from."""
        own = [self.arn("rds", f"snapshot:{name}") for name in (f"{self.name}-final-*", f"rds:{self.name}-index-*")]
        if self.snapshot is None:
            return own
        return [
            *own,
            self.snapshot if self.snapshot.startswith("arn:") else self.arn("rds", f"snapshot:{self.snapshot}"),
        ]

    @property
    def recovery_points(self) -> list[str]:
        """The ARNs that AWS Backup gives to what it keeps: those of snapshots are RDS's own.

        https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbackup.html
        """
        return [self.arn("backup", "recovery-point:*"), self.arn("rds", "snapshot:awsbackup:*")]

    def resources(self, service: str) -> list[str]:
        """Give the ARNs that a service's actions are limited to."""
        name, arn = self.name, self.arn
        balanced = ("loadbalancer/net/{}/*", "listener/net/{}/*", "targetgroup/{}-https/*", "targetgroup/{}-dicom/*")
        return {
            "acm": [arn("acm", "certificate/*")],
            "autoscaling": [arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{name}")],
            "backup": [arn("backup", f"backup-vault:{name}"), arn("backup", "backup-plan:*")],
            "cloudtrail": [arn("cloudtrail", f"trail/{name}")],
            "cloudwatch": [
                *(arn("cloudwatch", f"alarm:{name}-{alarm}") for alarm in ALARMS),
                arn("cloudwatch", f"dashboard/{name}-{self.region}", regional=False),
            ],
            "ecr": [arn("ecr", f"repository/{name}/*")],
            "elasticloadbalancing": [arn("elasticloadbalancing", kind.format(name)) for kind in balanced],
            "iam": [*self.roles, arn("iam", f"instance-profile/{name}-host", regional=False)],
            "kms": [arn("kms", "key/*"), *(arn("kms", f"alias/{name}-{key}") for key in ("data", "logs"))],
            "logs": [
                arn("logs", f"log-group:/orthweb/{name}/*"),
                arn("logs", f"log-group:/aws/rds/instance/{name}-index/*"),
            ],
            "rds": [
                arn("rds", f"db:{name}-index"),
                arn("rds", f"pg:{name}-index-postgres*"),
                arn("rds", f"subgrp:{name}-index"),
                arn("rds", "og:default:postgres-*"),  # AWS's own, which every database has that names none
                *self.snapshots,
            ],
            "route53": [
                f"arn:{self.partition}:route53:::hostedzone/{self.zone}",
                f"arn:{self.partition}:route53:::change/*",
                arn("ec2", "vpc/*"),
            ],
            "s3": self.buckets,
            "secretsmanager": [arn("secretsmanager", f"secret:orthweb/{name}/*")],
            "sns": [arn("sns", f"{name}-alarms")],
            "ssm": [arn("ssm", f"parameter/orthweb/{name}"), arn("ssm", f"parameter/orthweb/{name}/*")],
        }[service]

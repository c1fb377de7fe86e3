"""The table [aws] of the site file: a site in an AWS account.

The keys are the variables of ``terraform/`` in the words of the site file; ``orthweb.render.terraform`` makes the
one of the other.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ByteSize, Field

from orthweb import sitetypes
from orthweb.section import Section
from orthweb.sitetypes import Form, Unit

GIB: Final = 1024**3

RETENTION: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545),
    *(731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
"""Days that CloudWatch Logs can keep logs for (PutRetentionPolicy)."""

AmiId = Annotated[str, sitetypes.pattern(r"ami-[0-9a-f]{8,17}"), Form('an AMI\'s id, such as "ami-0123456789abcdef0"')]
AwsRegion = Annotated[
    str, sitetypes.pattern(r"[a-z]{2}(-[a-z]+)+-[0-9]"), Form('an AWS region\'s code, such as "eu-central-1"')
]
BesideSiteFile = Annotated[Path, sitetypes.PATH, Form("a path, relative to the site file or absolute")]
BucketArn = Annotated[
    str,
    sitetypes.pattern(r"arn:[a-z-]+:s3:::[a-z0-9.-]+"),
    Form('a bucket\'s ARN, such as "arn:aws:s3:::hospital-images-replica"'),
]
BucketName = Annotated[str, sitetypes.BUCKET, Form("3 to 63 lower-case letters, digits, dots and hyphens")]
CertificateArn = Annotated[
    str,
    sitetypes.pattern(r"arn:[a-z-]+:acm:[a-z0-9-]+:\d{12}:certificate/[A-Za-z0-9-]+"),
    Form("the ARN of a certificate in ACM"),
]
Email = Annotated[str, sitetypes.pattern(r"[^@\s]+@[^@\s]+\.[^@\s]+"), Form("an e-mail address")]
HostedZone = Annotated[
    str, sitetypes.pattern(r"Z[A-Z0-9]{5,31}"), Form('the id of a hosted zone, such as "Z0123456789ABCDEFGHIJ"')
]
ImageReference = Annotated[
    str,
    sitetypes.pattern(r"[a-z0-9][a-zA-Z0-9._:/@-]*[/:@][a-zA-Z0-9._:/@-]+"),
    Form('a reference with registry, tag or digest, such as "registry.example.org/orthweb/edge:0.1.0"'),
]
ImageTag = Annotated[str, sitetypes.pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"), Form("a tag of a container image")]
InstanceType = Annotated[
    str,
    # a1, t4g, m8gd, c7gn ...: the letter g after the generation is AWS's own processor; g4dn and the like are not.
    sitetypes.pattern(r"(?!a1\.|(?!g[0-9])[a-z]+[0-9]+[a-z]*g[a-z]*\.)[a-z][a-z0-9-]*\.[a-z0-9-]+"),
    Form('an EC2 instance type with x86-64 processors, such as "t3.large" or "m7i.xlarge"'),
]
InstanceClass = Annotated[
    str,
    sitetypes.pattern(r"db\.[a-z0-9-]+\.[a-z0-9-]+"),
    Form('an RDS instance class, such as "db.t4g.medium" or "db.m7g.large"'),
]
KeyArn = Annotated[
    str, sitetypes.pattern(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+"), Form("a KMS key's ARN (no alias)")
]
Range = Annotated[
    IPv4Network,
    sitetypes.RANGE,
    Form(
        'an IPv4 range by its first address, such as "203.0.113.0/24"',
        many='IPv4 ranges, such as "203.0.113.0/24", or "203.0.113.7/32" for one address',
    ),
]
Retention = Annotated[
    int,
    sitetypes.one_of(RETENTION),
    Form("a period of CloudWatch Logs in days, such as 30, 90, 365, 400, 731 or 2192"),
]
Size = Annotated[ByteSize, sitetypes.SIZE]
Tags = Annotated[
    dict[str, str],
    sitetypes.TAGS,
    Form('a table of text, such as { CostCentre = "radiology" }, without Name, aws: or orthweb:'),
]
Version = Annotated[
    str, sitetypes.pattern(r"1[4-9](\.[0-9]{1,2})?"), Form('a version of PostgreSQL from 14 on, such as "17" or "17.6"')
]


class AwsImages(Section):
    """Container images that come from another place than the site's own repositories (Amazon ECR)."""

    archive: ImageReference | None = Field(
        default=None,
        examples=["registry.example.org/orthweb/archive:0.1.0"],
        description="Image of the archive. Without it: archive.image, or else the one that `orthweb up` built.",
    )
    edge: ImageReference | None = Field(
        default=None, examples=["registry.example.org/orthweb/edge:0.1.0"], description="Image of the edge."
    )
    ops: ImageReference | None = Field(
        default=None,
        examples=["registry.example.org/orthweb/ops:0.1.0"],
        description="Image of the agent that each host runs.",
    )


class AwsDatabase(Section):
    """The index on AWS: RDS for PostgreSQL."""

    instance_class: InstanceClass = Field(default="db.t4g.medium", description="RDS instance class.")
    version: Version = Field(
        default="17",
        description="Version of PostgreSQL: a major one, of which RDS chooses the newest minor, or major.minor. "
        "Another major version upgrades the database at once, with an outage.",
    )
    storage: Annotated[Size, Unit("bytes")] = Field(
        default=ByteSize(50 * GIB),
        ge=20 * GIB,
        le=65536 * GIB,
        description="Size of its volume to begin with; it can grow, not shrink.",
    )
    max_storage: Annotated[Size, Unit("bytes")] = Field(
        default=ByteSize(500 * GIB),
        ge=22 * GIB,
        le=65536 * GIB,
        description="Size up to which RDS enlarges the volume by itself.",
    )
    backup_days: Annotated[int, Unit("days")] = Field(
        default=14, ge=1, le=35, strict=True, description="Days that the database can be restored to any moment of."
    )
    snapshot: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        examples=["orthweb-final-20261123-080000"],
        description="Snapshot (identifier or ARN) to make the database from, such as the final one of a destroyed "
        "site; looked at only when the database is made.",
    )
    key: KeyArn | None = Field(
        default=None,
        examples=["arn:aws:kms:eu-central-1:111122223333:key/1a2b3c4d"],
        description="KMS key of your own for the database and its snapshots, which stay readable for as long as you "
        "keep it; without it the site's key, which goes with the site. Looked at only when the database is made, and "
        "not with a snapshot, whose key the database keeps.",
    )


class AwsVpn(Section):
    """A client VPN endpoint, for modalities without TLS of their own. All three keys, or none."""

    server_certificate: CertificateArn | None = Field(
        default=None,
        examples=["arn:aws:acm:eu-central-1:111122223333:certificate/1a2b3c4d"],
        description="The endpoint's certificate in ACM.",
    )
    client_ca: CertificateArn | None = Field(
        default=None,
        examples=["arn:aws:acm:eu-central-1:111122223333:certificate/5e6f7a8b"],
        description="Certificate in ACM whose authority signs the clients' certificates.",
    )
    network: Range | None = Field(
        default=None,
        examples=["10.84.0.0/22"],
        description="Range that clients get their addresses from, /12 to /22, outside aws.network.",
    )


class AwsVolumes(Section):
    """How much the site is used; `orthweb cost` and the plan's monthly estimate rest on it, nothing else does."""

    studies_per_day: float = Field(
        default=50.0, ge=0, le=100_000, description="New studies a day, weekends and holidays averaged in."
    )
    study_size: Annotated[Size, Unit("bytes")] = Field(
        default=ByteSize(250 * 1024**2), ge=1024, le=1024**4, description="One study on average."
    )
    instance_size: Annotated[Size, Unit("bytes")] = Field(
        default=ByteSize(512 * 1024), ge=1024, le=64 * GIB, description="One instance on average."
    )
    retention_years: float = Field(default=10.0, ge=0, le=200, description="How long a study is kept.")
    retrievals: float = Field(
        default=1.0, ge=0, le=1000, description="How many times a study leaves AWS in its life, on average."
    )


class Aws(Section):
    """A site in an AWS account, for target = "aws". Only the two lists of who may reach it must be given."""

    https_from: tuple[Range, ...] = Field(
        default=(),
        description='Who may reach HTTPS: people, viewers, DICOMweb. Must be given; ["0.0.0.0/0"] is everyone.',
    )
    dicom_from: tuple[Range, ...] = Field(
        default=(),
        description='Who may reach DICOM TLS: modalities, workstations, gateways. Must be given; ["0.0.0.0/0"] is '
        "everyone.",
    )
    region: AwsRegion | None = Field(
        default=None,
        examples=["eu-central-1"],
        description="AWS region. Without it: the one of your AWS configuration (AWS_REGION, or the profile's).",
    )
    production: bool = Field(
        default=True,
        strict=True,
        description="Whether what holds data is protected: no deletion of database, load balancer and instance, keys "
        "and secrets recoverable, buckets only removed when empty.",
    )
    topology: Literal["single", "ha"] = Field(
        default="single",
        description="single: one host, a database in one zone. ha: hosts in every zone behind a Network Load Balancer, "
        "a database with a standby.",
    )
    hosts: int = Field(default=2, ge=2, le=10, strict=True, description="Hosts in topology ha.")
    instance_type: InstanceType = Field(
        default="t3.large",
        description="EC2 instance type of the hosts. 8 GiB of memory or more: a request may need three times its size.",
    )
    disk: Annotated[Size, Unit("bytes")] = Field(
        default=ByteSize(60 * GIB),
        ge=20 * GIB,
        le=16384 * GIB,
        description="A host's disk: the system, container images and the cache of DICOM files. It can grow, not "
        "shrink.",
    )
    ami: AmiId | None = Field(
        default=None,
        examples=["ami-0123456789abcdef0"],
        description="Amazon Machine Image of the hosts, with Debian 13. Without it: the Debian project's newest at the "
        "first `up`, and that it stays. Another value replaces the hosts.",
    )
    management_from: Range | None = Field(
        default=None,
        examples=["203.0.113.7/32"],
        description="Who may reach SSH on the hosts. Without it: nobody; Session Manager needs no open port.",
    )
    ssh_public_key: BesideSiteFile | None = Field(
        default=None,
        examples=["id_ed25519.pub"],
        description="File with a public key (ssh-ed25519 or ssh-rsa) for SSH as user admin.",
    )
    network: Range = Field(
        default=IPv4Network("10.83.0.0/16"),
        description="IPv4 range of the VPC, /16 to /22. It must not overlap networks that the site is to reach by VPN "
        "or peering, and cannot be changed later.",
    )
    zones: int = Field(default=2, ge=2, le=3, strict=True, description="Availability zones in use.")
    nat: Literal["none", "single", "per_zone"] | None = Field(
        default=None,
        examples=["per_zone"],
        description="NAT gateways for hosts in private subnets: none, one for all zones, or one in each. Without it: "
        "none in topology single, whose host has an address of its own, and single in ha.",
    )
    interface_endpoints: bool = Field(
        default=False,
        strict=True,
        description="Whether hosts reach AWS's services through endpoints in the VPC, not over the internet. Each "
        "costs by the hour.",
    )
    hosted_zone: HostedZone | None = Field(
        default=None,
        examples=["Z0123456789ABCDEFGHIJ"],
        description="Route 53 hosted zone in which a record for hostname is made.",
    )
    modality_networks: tuple[Range, ...] = Field(
        default=(),
        description="Where modalities are whose host is a DNS name: the archive may send to these ranges. (Those with "
        "an IPv4 address are allowed one by one.)",
    )
    image_tag: ImageTag | None = Field(
        default=None,
        examples=["0.1.0-2026-11-23"],
        description="Tag of the images in the site's repositories, which never changes what it names. Without it: one "
        "made from orthweb's version and sources. Another tag takes newly built images to the hosts.",
    )
    object_lock_days: Annotated[int | None, Unit("days")] = Field(
        default=None,
        examples=[365],
        ge=1,
        le=36500,
        strict=True,
        description="Days that nobody can remove a stored version of an image (S3 object lock, governance mode).",
    )
    replica_bucket: BucketArn | None = Field(
        default=None,
        examples=["arn:aws:s3:::hospital-images-replica"],
        description="Versioned bucket in another region or account that images are replicated to.",
    )
    replica_key: KeyArn | None = Field(
        default=None,
        examples=["arn:aws:kms:eu-west-1:111122223333:key/1a2b3c4d"],
        description="KMS key of the replica, in its region. Needed with replica_bucket.",
    )
    backup: bool = Field(
        default=False,
        strict=True,
        description="Whether AWS Backup backs up database and bucket, in a vault that is locked in production.",
    )
    audit: bool = Field(
        default=False,
        strict=True,
        description="Whether CloudTrail records every read and write of an object in the image bucket.",
    )
    alarm_email: Email | None = Field(
        default=None,
        examples=["on-call@clinic.example"],
        description="Address that alarms are mailed to, once its owner has confirmed it.",
    )
    log_retention: Retention = Field(default=400, strict=True, description="Days that logs are kept.")
    rotation_days: Annotated[int, Unit("days")] = Field(
        default=30,
        ge=1,
        le=1000,
        strict=True,
        description="After so many days the hosts change the password of the archive's database user.",
    )
    state_bucket: BucketName | None = Field(
        default=None,
        examples=["clinic-terraform-state"],
        description="Bucket, with versioning, that Terraform's state is kept in, so that several people can run "
        "`orthweb up`. Without it: the state folder of this machine. Everything else of the site is in the account.",
    )
    tags: Tags | None = Field(
        default=None, examples=[{"CostCentre": "radiology"}], description="Tags of everything, besides orthweb:site."
    )
    images: AwsImages = AwsImages()
    database: AwsDatabase = AwsDatabase()
    vpn: AwsVpn = AwsVpn()
    volumes: AwsVolumes = AwsVolumes()

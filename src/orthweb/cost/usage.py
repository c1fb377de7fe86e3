"""What each resource of a plan is charged for: its own hours and gigabytes, and what the stated volumes make of it.

What AWS charges nothing for stands in `FREE`; a resource type that stands nowhere is named in the estimate as not
priced, so that nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orthweb.cost.plan import Plan, Resource
from orthweb.cost.volumes import HOURS, OBJECTS, Volumes


@dataclass(frozen=True)
class Usage:
    """So much of something that is sold.

    Parameters
    ----------
    service : AWS's name of the service, by which the estimate is shown.
    what : what it is in this site, a few words.
    item : the price's item.
    quantity : in the price's unit.
    address : the resource that it belongs to.
    """

    service: str
    what: str
    item: str
    quantity: float
    address: str


FREE: Final = frozenset(
    {
        "aws_ami_launch_permission",
        "aws_autoscaling_lifecycle_hook",
        "aws_backup_selection",
        "aws_backup_vault",
        "aws_backup_vault_lock_configuration",
        "aws_backup_vault_policy",
        "aws_cloudwatch_log_resource_policy",
        "aws_cloudwatch_log_stream",
        "aws_db_parameter_group",
        "aws_db_subnet_group",
        "aws_default_network_acl",
        "aws_default_route_table",
        "aws_default_security_group",
        "aws_ebs_encryption_by_default",
        "aws_ec2_client_vpn_authorization_rule",
        "aws_ec2_client_vpn_route",
        "aws_ecr_lifecycle_policy",
        "aws_ecr_repository_policy",
        "aws_eip_association",
        "aws_iam_instance_profile",
        "aws_iam_policy",
        "aws_iam_role",
        "aws_iam_role_policies_exclusive",
        "aws_iam_role_policy",
        "aws_iam_role_policy_attachment",
        "aws_iam_role_policy_attachments_exclusive",
        "aws_internet_gateway",
        "aws_key_pair",
        "aws_kms_alias",
        "aws_kms_key_policy",
        "aws_launch_template",
        "aws_lb_listener",
        "aws_lb_target_group",
        "aws_lb_target_group_attachment",
        "aws_network_acl",
        "aws_network_acl_association",
        "aws_network_acl_rule",
        "aws_network_interface",
        "aws_route",
        "aws_route53_record",
        "aws_route_table",
        "aws_route_table_association",
        "aws_s3_bucket_accelerate_configuration",
        "aws_s3_bucket_acl",
        "aws_s3_bucket_intelligent_tiering_configuration",
        "aws_s3_bucket_lifecycle_configuration",
        "aws_s3_bucket_logging",
        "aws_s3_bucket_notification",
        "aws_s3_bucket_object_lock_configuration",
        "aws_s3_bucket_ownership_controls",
        "aws_s3_bucket_policy",
        "aws_s3_bucket_public_access_block",
        "aws_s3_bucket_server_side_encryption_configuration",
        "aws_s3_bucket_versioning",
        "aws_secretsmanager_secret_policy",
        "aws_secretsmanager_secret_rotation",
        "aws_secretsmanager_secret_version",
        "aws_security_group",
        "aws_sns_topic",
        "aws_sns_topic_policy",
        "aws_sns_topic_subscription",
        "aws_subnet",
        "aws_vpc",
        "aws_vpc_endpoint_policy",
        "aws_vpc_endpoint_route_table_association",
        "aws_vpc_security_group_egress_rule",
        "aws_vpc_security_group_ingress_rule",
        "terraform_data",
    }
)
"""Resource types without a charge of their own, at this size (SNS e-mails and DNS queries cost cents a million)."""

POLLS: Final = 3 * 60
"""Calls an hour with which a host looks for a changed secret: one in 20 s."""

OPERATIONS_GIB: Final = 5.0
"""GiB a month that a host takes from AWS and Debian through a NAT gateway or interface endpoints. Assumed."""

LOGS_GIB: Final = 1.0
"""GiB of log lines a month of one host, before any study. Assumed."""

LOG_BYTES: Final = 400
"""Bytes of log lines, flow logs and access logs of one stored instance. Assumed."""

IMAGES_GIB: Final = 1.5
"""GiB in one image repository: a few versions that share their base. Assumed."""

KMS_REQUESTS: Final = 100_000.0
"""Requests to KMS a month: few, because the bucket key spares one an object. Assumed."""

BACKUP_CHANGE: Final = 0.03
"""Share of the index that a day changes, which its backups keep. Assumed."""

REOPENED: Final = 0.05
"""Share of old studies that are opened in a month and so are back in the frequent tier. Assumed."""

_EC2, _RDS, _S3, _CLOUDWATCH, _VPC = "EC2", "RDS", "S3", "CloudWatch", "VPC"


@dataclass(frozen=True)
class _Site:
    plan: Plan
    volumes: Volumes

    @property
    def hosts(self) -> float:
        """How many hosts run."""
        groups = self.plan.of("aws_autoscaling_group")
        return len(self.plan.of("aws_instance")) + sum(_number(group, "desired_capacity", 1) for group in groups)

    @property
    def in_bucket(self) -> bool:
        """Whether the pixel data lies in S3."""
        return any(_is_image_bucket(bucket) for bucket in self.plan.of("aws_s3_bucket"))

    @property
    def logs_gib(self) -> float:
        """GiB of log lines a month."""
        return LOGS_GIB * self.hosts + self.volumes.month_instances * LOG_BYTES / 2**30


def usages(plan: Plan, volumes: Volumes) -> Iterator[Usage]:
    """Say what the resources of a plan are charged for, with these volumes."""
    site = _Site(plan, volumes)
    for resource in plan.resources:
        if charged := CHARGED.get(resource.type):
            yield from charged(resource, site)
    yield from _traffic(site)


def unpriced(plan: Plan) -> tuple[str, ...]:
    """Name the resource types of a plan that nothing here knows."""
    return tuple(sorted({resource.type for resource in plan.resources} - CHARGED.keys() - FREE))


def _number(resource: Resource, key: str, default: float) -> float:
    value = resource.values.get(key)
    return float(value) if value is not None else default


def _first(value: Any) -> Mapping[str, Any]:
    """Give the first block of a list of blocks."""
    return value[0] if isinstance(value, Sequence) and value and isinstance(value[0], Mapping) else {}


def _template(site: _Site) -> Mapping[str, Any]:
    templates = site.plan.of("aws_launch_template")
    return templates[0].values if templates else {}


def _machine(resource: Resource, site: _Site, count: float) -> Iterator[Usage]:
    kind = resource.values.get("instance_type") or _template(site).get("instance_type") or "t3.large"
    yield Usage(_EC2, f"{count:g} x {kind}", f"ec2/{kind}", HOURS * count, resource.address)
    disks = [_first(resource.values.get("root_block_device")).get("volume_size")]
    if disks == [None]:
        mappings = _template(site).get("block_device_mappings") or ()
        disks = [_first(mapping.get("ebs")).get("volume_size") for mapping in mappings]
    gib = sum(float(disk) for disk in disks if disk)
    if gib:
        yield Usage(_EC2, f"{count:g} x disk of {gib:g} GiB (gp3)", "ebs/gp3", gib * count, resource.address)


def _instance(resource: Resource, site: _Site) -> Iterator[Usage]:
    yield from _machine(resource, site, 1)


def _group(resource: Resource, site: _Site) -> Iterator[Usage]:
    yield from _machine(resource, site, _number(resource, "desired_capacity", 1))


def _address(resource: Resource, _site: _Site) -> Iterator[Usage]:
    yield Usage(_VPC, "public IPv4 address", "ipv4/hour", HOURS, resource.address)


def _balancer(resource: Resource, site: _Site) -> Iterator[Usage]:
    service = "Elastic Load Balancing"
    yield Usage(service, "network load balancer", "nlb/hour", HOURS, resource.address)
    # A capacity unit is a GiB an hour; connections, the other measure, are few here.
    through = site.volumes.month_gib + site.volumes.sent_gib
    yield Usage(service, f"capacity units ({through:.0f} GiB through it)", "nlb/lcu", through, resource.address)
    if not resource.values.get("internal") and not any(
        block.get("allocation_id") for block in resource.values.get("subnet_mapping") or ()
    ):
        zones = site.plan.zones
        yield Usage(_VPC, f"{zones} public IPv4 addresses", "ipv4/hour", HOURS * zones, resource.address)


def _nat(resource: Resource, site: _Site) -> Iterator[Usage]:
    yield Usage(_VPC, "NAT gateway", "nat/hour", HOURS, resource.address)
    gateways = len(site.plan.of("aws_nat_gateway"))
    data = OPERATIONS_GIB * site.hosts / gateways
    yield Usage(_VPC, "NAT gateway, data", "nat/data", data, resource.address)


def _endpoint(resource: Resource, site: _Site) -> Iterator[Usage]:
    if resource.values.get("vpc_endpoint_type") == "Interface":
        # One zone where one host is.
        zones = site.plan.zones if site.plan.of("aws_autoscaling_group") else 1
        yield Usage(_VPC, f"interface endpoint, zones: {zones}", "endpoint/hour", HOURS * zones, resource.address)
        count = sum(one.values.get("vpc_endpoint_type") == "Interface" for one in site.plan.of("aws_vpc_endpoint"))
        data = OPERATIONS_GIB * site.hosts / count
        yield Usage(_VPC, "interface endpoint, data", "endpoint/data", data, resource.address)


def _database(resource: Resource, site: _Site) -> Iterator[Usage]:
    kind = resource.values.get("instance_class") or "db.t4g.medium"
    zones = "multi" if resource.values.get("multi_az") else "single"
    words = "Multi-AZ" if zones == "multi" else "one zone"
    yield Usage(_RDS, f"PostgreSQL on {kind}, {words}", f"rds/{kind}/{zones}", HOURS, resource.address)
    used = database_gib(site.plan, site.volumes)
    storage = max(_number(resource, "allocated_storage", 20), used * 1.1)
    yield Usage(_RDS, f"storage, {storage:.0f} GiB", f"rds-storage/gp3/{zones}", storage, resource.address)
    days = _number(resource, "backup_retention_period", 1)
    # AWS charges nothing for backups up to the size of the storage.
    backups = max(0.0, used * (1 + BACKUP_CHANGE * days) - storage)
    if backups:
        yield Usage(_RDS, f"backups of {days:g} days", "rds-backup", backups, resource.address)
    if resource.values.get("manage_master_user_password"):
        yield Usage("Secrets Manager", "the database's master password", "secrets/secret", 1, resource.address)


def database_gib(plan: Plan, volumes: Volumes) -> float:
    """Give the GiB in the database at the age that is priced: the index, and the pixel data when it lies there."""
    return volumes.index_gib + (0.0 if _Site(plan, volumes).in_bucket else volumes.stored_gib)


def _is_image_bucket(resource: Resource) -> bool:
    name = resource.values.get("bucket") or resource.values.get("bucket_prefix") or resource.address
    return "images" in f"{name} {resource.address}"


def _bucket(resource: Resource, site: _Site) -> Iterator[Usage]:
    volumes, address = site.volumes, resource.address
    if not _is_image_bucket(resource):
        yield Usage(_S3, "access logs", "s3/standard", site.logs_gib * volumes.kept_months, address)
        return
    tiers = _tiered(site.plan)
    young, middle, old = volumes.by_age()
    if tiers:
        young, middle, old = young + REOPENED * (middle + old), (1 - REOPENED) * middle, (1 - REOPENED) * old
        yield Usage(_S3, f"images, frequent access, {young:.0f} GiB", "s3/intelligent/frequent", young, address)
        yield Usage(_S3, f"images, infrequent, {middle:.0f} GiB", "s3/intelligent/infrequent", middle, address)
        yield Usage(_S3, f"images, archive instant, {old:.0f} GiB", "s3/intelligent/archive-instant", old, address)
        watched = volumes.stored_instances / 1000
        yield Usage(_S3, "Intelligent-Tiering, monitoring", "s3/intelligent/monitoring", watched, address)
        yield Usage(
            _S3, "move to Intelligent-Tiering", "s3/requests/transition", volumes.month_instances / 1000, address
        )
    else:
        yield Usage(_S3, f"images, {volumes.stored_gib:.0f} GiB", "s3/standard", volumes.stored_gib, address)
    written = volumes.month_instances * OBJECTS
    yield Usage(_S3, f"{written:,.0f} writes", "s3/requests/write", written / 1000, address)
    fetched = volumes.month_instances * volumes.retrievals
    yield Usage(_S3, f"{fetched:,.0f} reads", "s3/requests/read", fetched / 1000, address)


def _tiered(plan: Plan) -> bool:
    for configuration in plan.of("aws_s3_bucket_lifecycle_configuration"):
        for rule in configuration.values.get("rule") or ():
            for move in rule.get("transition") or ():
                if move.get("storage_class") == "INTELLIGENT_TIERING":
                    return True
    return False


def _key(resource: Resource, _site: _Site) -> Iterator[Usage]:
    yield Usage("KMS", "key", "kms/key", 1, resource.address)
    yield Usage("KMS", "requests", "kms/requests", KMS_REQUESTS / 10_000, resource.address)


def _secret(resource: Resource, site: _Site) -> Iterator[Usage]:
    yield Usage("Secrets Manager", "secret", "secrets/secret", 1, resource.address)
    calls = POLLS * HOURS * site.hosts / max(1, len(site.plan.of("aws_secretsmanager_secret")))
    yield Usage("Secrets Manager", "hosts looking for changes", "secrets/requests", calls / 10_000, resource.address)


def _parameter(resource: Resource, _site: _Site) -> Iterator[Usage]:
    if len(str(resource.values.get("value") or "")) > 4096:
        yield Usage("Systems Manager", "advanced parameter", "ssm/advanced-parameter", 1, resource.address)


def _log_group(resource: Resource, site: _Site) -> Iterator[Usage]:
    groups = len(site.plan.of("aws_cloudwatch_log_group"))
    fed = site.logs_gib / groups
    kept = fed * min(site.volumes.kept_months, _number(resource, "retention_in_days", 3650) / 30)
    yield Usage(_CLOUDWATCH, "logs, taken in", "logs/ingestion", fed, resource.address)
    yield Usage(_CLOUDWATCH, "logs, kept", "logs/storage", kept, resource.address)


def _one(service: str, what: str, item: str) -> Callable[[Resource, _Site], Iterator[Usage]]:
    def charged(resource: Resource, _site: _Site) -> Iterator[Usage]:
        yield Usage(service, what, item, 1, resource.address)

    return charged


def _repository(resource: Resource, _site: _Site) -> Iterator[Usage]:
    yield Usage("ECR", "images", "ecr/storage", IMAGES_GIB, resource.address)


def _trail(resource: Resource, site: _Site) -> Iterator[Usage]:
    volumes = site.volumes
    events = volumes.month_instances * (OBJECTS + volumes.retrievals)
    yield Usage("CloudTrail", f"{events:,.0f} data events", "cloudtrail/data-events", events / 1e5, resource.address)


def _backup(resource: Resource, site: _Site) -> Iterator[Usage]:
    name = str(resource.values.get("name", ""))
    if not name.endswith("-images"):
        gib = database_gib(site.plan, site.volumes)
        yield Usage("Backup", f"index, one full copy of {gib:.0f} GiB", "backup/rds", gib, resource.address)
    if not name.endswith("-index") and site.in_bucket:
        gib = site.volumes.stored_gib
        yield Usage("Backup", f"bucket, one full copy of {gib:.0f} GiB", "backup/s3", gib, resource.address)


def _vpn(resource: Resource, _site: _Site) -> Iterator[Usage]:
    yield Usage(_VPC, "client VPN in one subnet", "vpn/association", HOURS, resource.address)


def _nothing(_resource: Resource, _site: _Site) -> Iterator[Usage]:
    """Charged elsewhere, or only by what it makes: flow logs by their log group, a VPN by its associations."""
    yield from ()


def _traffic(site: _Site) -> Iterator[Usage]:
    """Say what is charged for bytes that belong to no single resource."""
    volumes, service = site.volumes, "Data transfer"
    sent = volumes.sent_gib
    yield Usage(service, f"{sent:.0f} GiB to viewers, out of AWS", "transfer/internet", sent, "")
    if site.plan.of("aws_autoscaling_group"):
        # Half of the connections reach a host in the other zone than their balancer's; both zones are charged.
        crossing = (volumes.month_gib + sent) / 2 * 2
        yield Usage(service, "between availability zones", "transfer/zones", crossing, "")


CHARGED: Final[Mapping[str, Callable[[Resource, _Site], Iterator[Usage]]]] = {
    "aws_autoscaling_group": _group,
    "aws_backup_plan": _backup,
    "aws_cloudtrail": _trail,
    "aws_cloudwatch_dashboard": _one(_CLOUDWATCH, "dashboard", "cloudwatch/dashboard"),
    "aws_cloudwatch_log_group": _log_group,
    "aws_cloudwatch_log_metric_filter": _one(_CLOUDWATCH, "metric", "cloudwatch/metric"),
    "aws_cloudwatch_metric_alarm": _one(_CLOUDWATCH, "alarm", "cloudwatch/alarm"),
    "aws_db_instance": _database,
    "aws_ec2_client_vpn_endpoint": _nothing,
    "aws_ec2_client_vpn_network_association": _vpn,
    "aws_ecr_repository": _repository,
    "aws_eip": _address,
    "aws_flow_log": _nothing,
    "aws_instance": _instance,
    "aws_kms_key": _key,
    "aws_lb": _balancer,
    "aws_nat_gateway": _nat,
    "aws_s3_bucket": _bucket,
    "aws_s3_bucket_replication_configuration": _nothing,
    "aws_secretsmanager_secret": _secret,
    "aws_ssm_parameter": _parameter,
    "aws_vpc_endpoint": _endpoint,
}
"""What the types of resources are charged for."""

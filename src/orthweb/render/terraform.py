"""The variables of ``terraform/`` and the site file that hosts on AWS read, from the site file of a person."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any, Final

from orthweb.section import Section
from orthweb.site import Site
from orthweb.siteaws import GIB
from orthweb.tomltext import dotted, toml

LARGEST: Final = 8192
"""Bytes of a parameter of Systems Manager."""

_FOR_HOSTS: Final[Mapping[str, Collection[str] | None]] = {
    "edge": ("max_body", "max_connections", "max_associations"),
    "tls": ("profile", "client_certificates"),
    "dicom": None,
    "archive": ("overwrite", "stable_age", "dicom_threads", "http_threads", "writers", "readers"),
    "index": ("snapshot_before", "connections"),
    "s3": ("addressing", "storage_class", "deadline", "cache"),
    "docker": ("subnet", "archive_memory", "archive_cpus", "edge_memory", "edge_cpus"),
}
"""Tables, and their keys (None: all), that mean something on a host. The rest Terraform or the host itself decides."""


def variables(
    site: Site,
    *,
    region: str,
    image_tag: str,
    public_key: str | None = None,
    authorities: Mapping[str, bytes] | None = None,
    given: Collection[str] = (),
    secrets_version: int = 1,
    account: str | None = None,
) -> dict[str, Any]:
    """Give Terraform's variables for a site; nothing in them is secret.

    Parameters
    ----------
    region : where the site is.
    image_tag : of the images in the site's repositories.
    public_key : content of ``aws.ssh_public_key``.
    authorities : the CAs that modalities' certificates are verified with (PEM), by modality.
    given : secrets that are handed to Terraform apart from these: ``certificate``.
    secrets_version : raised when they changed.
    account : the only one in which Terraform may do anything; None for any.
    """
    aws, database = site.aws, site.aws.database
    return {
        "name": site.name,
        "region": region,
        "account_id": account,
        "tags": dict(aws.tags or {}),
        "production": aws.production,
        "topology": aws.topology,
        "hostname": hostname(site),
        "hosted_zone_id": aws.hosted_zone,
        "https_cidr_blocks": [str(each) for each in aws.https_from],
        "dicom_cidr_blocks": [str(each) for each in aws.dicom_from],
        "cli_cidr_block": _text(aws.management_from),
        "pubkey_data": public_key,
        "modality_endpoints": list(modality_endpoints(site)),
        "vpc_cidr": str(aws.network),
        "zone_count": aws.zones,
        "nat": aws.nat,
        "interface_endpoints": aws.interface_endpoints,
        "vpn_server_certificate_arn": aws.vpn.server_certificate,
        "vpn_client_ca_arn": aws.vpn.client_ca,
        "vpn_cidr_block": _text(aws.vpn.network),
        "instance_type": aws.instance_type,
        "host_count": aws.hosts,
        "disk_size": _gib(aws.disk),
        "ami_id": aws.ami,
        "images": image_references(site),
        "image_tag": image_tag,
        "site_file": host_site_file(site),
        "site_files": {authority(name): pem.decode() for name, pem in (authorities or {}).items()},
        "use_s3_storage": site.store.kind == "s3",
        "object_lock_days": aws.object_lock_days,
        "replica_bucket_arn": aws.replica_bucket,
        "replica_key_arn": aws.replica_key,
        "database_instance_class": database.instance_class,
        "database_engine_version": database.version,
        "database_storage": _gib(database.storage),
        "database_max_storage": _gib(database.max_storage),
        "database_backup_days": database.backup_days,
        "database_snapshot": database.snapshot,
        "database_key_arn": database.key,
        "backup": aws.backup,
        "given_secrets": sorted(given),
        "secrets_version": secrets_version,
        "rotation_days": aws.rotation_days,
        "audit": aws.audit,
        "alarm_email": aws.alarm_email,
        "log_retention_days": aws.log_retention,
    }


def hostname(site: Site) -> str | None:
    """Give the name that a person chose; None for the one that AWS gives."""
    return None if site.hostname == "localhost" else site.hostname


def image_references(site: Site) -> dict[str, str]:
    """Give the images that do not come from the site's own repositories, by role."""
    from orthweb.targets.docker.images import UPSTREAM

    found = {"archive": UPSTREAM if site.archive.image == "upstream" else site.archive.image}
    if site.archive.image == "debian":
        found = {}
    chosen = {role: getattr(site.aws.images, role) for role in ("archive", "edge", "ops")}
    return found | {role: reference for role, reference in chosen.items() if reference is not None}


def authority(modality: str) -> str:
    """Name the file of a modality's CA, which lies beside the site file on a host."""
    return f"modality-{modality}.pem"


def modality_endpoints(site: Site) -> Iterator[dict[str, str | int]]:
    """Give the modalities that the archive may send to: name, range, port."""
    for name, peer in site.modalities.items():
        address = _address(peer.host)
        if address is not None:
            yield {"name": name, "cidr": f"{address}/32", "port": peer.port}
        elif ":" not in peer.host:
            for number, network in enumerate(site.aws.modality_networks):
                suffix = f"-{number + 1}" if number else ""
                yield {"name": f"{name}{suffix}", "cidr": str(network), "port": peer.port}


def unreachable_modalities(site: Site) -> list[str]:
    """Name the modalities that the archive cannot send to: no range says where they are."""
    reached = {str(each["name"]) for each in modality_endpoints(site)}
    return [name for name in site.modalities if name not in reached]


def host_site_file(site: Site) -> str:
    """Write the site file that hosts read: what is not a default and means something there."""
    lines = [f"name = {toml(site.name)}"]
    if site.hostname != "localhost":
        lines.append(f"hostname = {toml(site.hostname)}")
    for table, keys in _FOR_HOSTS.items():
        lines += _table(table, getattr(site, table), keys)
    for name, peer in site.modalities.items():
        lines += _table(dotted(("modalities", name)), peer, None, {"ca": authority(name)} if peer.ca else {})
    return "\n".join(lines) + "\n"


def _table(
    name: str, section: Section, keys: Collection[str] | None, instead: Mapping[str, str] | None = None
) -> list[str]:
    found = []
    for key, field in type(section).model_fields.items():
        value = (instead or {}).get(key, getattr(section, key))
        if (keys is None or key in keys) and value is not None and value != field.default:
            found.append(f"{key} = {toml(value)}")
    return ["", f"[{name}]", *found] if found else []


def _address(host: str) -> IPv4Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address if isinstance(address, IPv4Address) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _gib(size: int) -> int:
    """Give a size in GiB, rounded up."""
    return -(-int(size) // GIB)

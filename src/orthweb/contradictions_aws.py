"""Values of a site file that do not go together on AWS, where some things are decided already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final

from orthweb.contradictions import Contradiction

if TYPE_CHECKING:
    from orthweb.site import Site

_TARGET: Final = ("target",)
_NAME: Final = re.compile(r"[a-z](-?[a-z0-9]){2,19}")
_KEPT_FOR_AWS: Final = ("aws", "amazon", "internal-")

HTTPS_PORT: Final = 443
DICOM_PORT: Final = 11112
"""The ports of every site on AWS."""

_FIXED: Final = (
    (
        ("edge", "listen"),
        "hosts listen on all of their addresses, and aws.https_from and aws.dicom_from say who may come",
    ),
    (("store", "path"), "hosts on AWS keep nothing"),
    (("index", "host"), "the index is in a database of the site's own (aws.database)"),
    (("index", "client"), "each host has a name of its own"),
    (("docker", "archive_image"), "aws.images names images"),
    (("docker", "edge_image"), "aws.images names images"),
    (("docker", "log_group"), "logs go to the site's own groups"),
    (("s3", "bucket"), "the bucket is made, with the site's name"),
    (("s3", "root"), "the bucket is the site's own"),
    (("s3", "region"), "the bucket is in aws.region"),
    (("s3", "endpoint"), "the bucket is in AWS"),
    (("s3", "ca"), "the bucket is in AWS"),
    (("s3", "credentials"), "hosts have a role of their own"),
    (("s3", "encryption"), "the bucket has a key of the site's own (SSE-KMS)"),
    (("s3", "kms_key"), "the bucket has a key of the site's own"),
    (("s3", "cache_path"), "hosts keep copies on their own disk"),
)
"""What nobody decides on AWS: the key, and why."""


def on_aws(site: Site) -> Iterator[Contradiction]:
    """Give what cannot work with ``target = "aws"``."""
    aws = site.aws
    required = {"aws.https_from": aws.https_from, "aws.dicom_from": aws.dicom_from}
    missing = [key for key, ranges in required.items() if not ranges]
    if missing:
        yield Contradiction(
            _TARGET,
            (("aws", "https_from"), ("aws", "dicom_from")),
            f"needs {' and '.join(missing)}: the networks that may reach HTTPS ({HTTPS_PORT}) and DICOM TLS "
            f'({DICOM_PORT}), such as ["203.0.113.0/24"]; ["0.0.0.0/0"] is everyone',
        )
    if not _NAME.fullmatch(site.name) or site.name.startswith(_KEPT_FOR_AWS):
        yield Contradiction(
            ("name",) if "name" in site.model_fields_set else _TARGET,
            (_TARGET,),
            "on AWS a name should have 3 to 20 lower-case letters, digits and single hyphens, begin with a letter, and "
            f"not with {', '.join(_KEPT_FOR_AWS)}",
        )
    yield from _hostname(site)
    yield from _decided(site)
    yield from _network(site)
    yield from _given(site)


def _hostname(site: Site) -> Iterator[Contradiction]:
    place, own = ("hostname",), site.tls.certificate is not None
    if site.hostname == "localhost":
        if own:
            yield Contradiction(
                ("tls", "certificate"), (place,), "needs hostname too: the name that the certificate is for"
            )
        if site.aws.hosted_zone is not None:
            yield Contradiction(("aws", "hosted_zone"), (place,), "needs hostname too: the name of the record")
    elif "." not in site.hostname or site.hostname.rpartition(".")[2].isdigit():
        yield Contradiction(
            place, (_TARGET,), 'on AWS it should be a fully qualified name, such as "pacs.example.org", or left out'
        )


def _decided(site: Site) -> Iterator[Contradiction]:
    for key, port, fixed in (
        ("https_port", site.edge.https_port, HTTPS_PORT),
        ("dicom_port", site.edge.dicom_port, DICOM_PORT),
    ):
        if key in site.edge.model_fields_set and port != fixed:
            yield Contradiction(("edge", key), (_TARGET,), f"is {fixed} on AWS; leave it out")
    for place, why in _FIXED:
        section, key = place
        if key in getattr(site, section).model_fields_set:
            yield Contradiction(place, (_TARGET,), f"is decided on AWS: {why}; leave it out")
    if site.store.kind == "filesystem":
        yield Contradiction(
            ("store", "kind"), (_TARGET,), 'should be "s3" or "database": a disk on AWS is lost with its host'
        )
    if site.archive.extra_plugins:
        yield Contradiction(
            ("archive", "extra_plugins"),
            (_TARGET,),
            "is not for AWS: build an image with the plugins in it and name it (archive.image)",
        )


def _network(site: Site) -> Iterator[Contradiction]:
    aws = site.aws
    for key in ("https_from", "dicom_from", "modality_networks"):
        ranges = getattr(aws, key)
        if len(set(ranges)) != len(ranges):
            yield Contradiction(("aws", key), (), "should name each range once")
    if not 16 <= aws.network.prefixlen <= 22 or not aws.network.is_private:
        yield Contradiction(("aws", "network"), (), "should be a private range with a prefix length from /16 to /22")
    if aws.management_from is not None and aws.management_from.prefixlen < 8:
        yield Contradiction(("aws", "management_from"), (), "is too wide: SSH is never open to the world")
    if aws.management_from is not None and aws.ssh_public_key is None:
        yield Contradiction(
            ("aws", "management_from"),
            (("aws", "ssh_public_key"),),
            "needs aws.ssh_public_key too: who signs in",
        )
    if aws.nat == "none" and aws.topology == "ha" and (not aws.interface_endpoints or aws.ami is None):
        yield Contradiction(
            ("aws", "nat"),
            (("aws", "topology"),),
            'should be "single" or "per_zone" in topology ha, whose hosts have no other way to Debian\'s packages '
            "(without: aws.interface_endpoints, and an own aws.ami with Docker in it)",
        )
    yield from _vpn(site, aws.vpn.network)


def _vpn(site: Site, network: IPv4Network | None) -> Iterator[Contradiction]:
    vpn = site.aws.vpn
    given = [key for key in ("server_certificate", "client_ca", "network") if getattr(vpn, key) is not None]
    if given and len(given) < 3:
        yield Contradiction(
            ("aws", "vpn", given[0]), (), "server_certificate, client_ca and network go together: give all, or none"
        )
    if given and site.aws.topology == "ha":
        yield Contradiction(
            ("aws", "vpn", given[0]),
            (("aws", "topology"),),
            "is for topology single: the load balancer of ha has public addresses alone, and no tunnel leads there",
        )
    if network is not None and (not 12 <= network.prefixlen <= 22 or network.overlaps(site.aws.network)):
        yield Contradiction(
            ("aws", "vpn", "network"),
            (("aws", "network"),),
            "should have a prefix length from /12 to /22 and not overlap aws.network",
        )


def _given(site: Site) -> Iterator[Contradiction]:
    aws, database = site.aws, site.aws.database
    if (aws.replica_bucket is None) != (aws.replica_key is None):
        here, there = ("replica_bucket", "replica_key") if aws.replica_bucket else ("replica_key", "replica_bucket")
        yield Contradiction(("aws", here), (("aws", there),), f"needs aws.{there} too")
    if int(database.max_storage) * 10 < int(database.storage) * 11:
        yield Contradiction(
            ("aws", "database", "max_storage" if "max_storage" in database.model_fields_set else "storage"),
            (("aws", "database", "storage"),),
            "aws.database.max_storage should be at least a tenth more than aws.database.storage",
        )
    if aws.image_tag is not None and all(getattr(aws.images, role) is not None for role in ("archive", "edge", "ops")):
        yield Contradiction(("aws", "image_tag"), (("aws", "images"),), "is never used: aws.images names every image")

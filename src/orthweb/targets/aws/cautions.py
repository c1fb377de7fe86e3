"""What a plan allows, and a person should know of before it is applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from orthweb.render import terraform as render
from orthweb.site import Site
from orthweb.targets.aws.changes import Change
from orthweb.targets.base import PlanItem

if TYPE_CHECKING:
    from ipaddress import IPv4Network

EVERYONE: Final = "0.0.0.0/0"


def lost(gone: Sequence[str]) -> Iterator[PlanItem]:
    """Say what was deleted by hand, and would be made anew without what was in it."""
    for what in gone:
        hint = "its content is lost, and an empty one would be made"
        if what == "database":
            hint = (
                "an empty index would be made beside the images that there are: name a snapshot in "
                "aws.database.snapshot first (aws rds describe-db-snapshots)"
            )
        yield PlanItem("warn", what, f"is not in the account any more: {hint}")


def moved(site: Site, changes: Sequence[Change]) -> Iterator[PlanItem]:
    """Say that the site will be found elsewhere: its address, or its load balancer, goes."""
    if not any(
        each.type in ("aws_eip", "aws_lb") and each.address.startswith("module.compute.")
        for each in changes
        if each.action in ("replace", "delete")
    ):
        return
    if site.hostname == "localhost":
        yield PlanItem(
            "warn",
            "hostname",
            "none: AWS's name of the site changes, and every client has to be told the new one (orthweb status)",
        )
    elif site.aws.hosted_zone is None:
        yield PlanItem(
            "warn",
            "hostname",
            f"{site.hostname}: has to point elsewhere in DNS afterwards; orthweb up and orthweb status say where",
        )


def warnings(site: Site) -> Iterator[PlanItem]:
    """Say what is allowed and should be known."""
    yield from _open_to_all("aws.https_from", site.aws.https_from, "HTTPS: every password can be tried from anywhere")
    if site.tls.client_certificates != "required":
        hint = 'DICOM TLS: name your networks, or set tls.client_certificates = "required"'
        yield from _open_to_all("aws.dicom_from", site.aws.dicom_from, hint)
    if not site.aws.production:
        yield PlanItem("warn", "aws.production", "false: database, bucket and keys are not protected against removal")
    if site.aws.topology == "single":
        yield PlanItem(
            "warn", "aws.topology", "single: an outage of the host or its zone stops the site (ha: it does not)"
        )
    else:
        yield PlanItem(
            "warn",
            "aws.topology",
            "ha: a host in another zone than the database takes images in more slowly (docs/aws.md)",
        )
    if site.archive.image == "debian" and site.aws.images.archive is None:
        yield PlanItem(
            "warn",
            "archive.image",
            "debian: its PostgreSQL plugin asks a managed database twice as often as a newer one; "
            '"upstream" takes images in 1.5 to 2.5 times as fast there',
        )
    for name in render.unreachable_modalities(site):
        yield PlanItem(
            "warn", f"modalities.{name}", "the archive may not send to it: name its network in aws.modality_networks"
        )
    if site.aws.state_bucket is None:
        yield PlanItem(
            "warn", "aws.state_bucket", "Terraform's state is on this machine alone: keep .orthweb, or name a bucket"
        )


def _open_to_all(key: str, ranges: Sequence[IPv4Network], words: str) -> Iterator[PlanItem]:
    if EVERYONE in map(str, ranges):
        yield PlanItem("warn", key, f"the whole internet may reach {words}")

"""Look at a site on AWS: its hosts, database, bucket, certificates, and whether it answers from here."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

from cryptography import x509

from orthweb.access import SiteAccess
from orthweb.aws.session import Session
from orthweb.contradictions_aws import DICOM_PORT
from orthweb.errors import NotRunningError
from orthweb.targets.aws import hosts, power, reaching
from orthweb.targets.aws.place import Memory, Place
from orthweb.targets.aws.planning import applied_cost
from orthweb.targets.base import ServiceStatus, SiteStatus
from orthweb.verification import client_context

State = Literal["running", "starting", "stopped", "failed"]
Probe = Callable[[SiteAccess], str | None]

_DATABASE: dict[str, State] = {
    "available": "running",
    "backing-up": "running",
    "modifying": "running",
    "storage-optimization": "running",
    "creating": "starting",
    "starting": "starting",
    "rebooting": "starting",
    "configuring-enhanced-monitoring": "running",
    "stopping": "stopped",
    "stopped": "stopped",
}

SOON_DAYS = 30
"""A certificate with fewer days left is worth a look: hosts renew theirs by themselves long before."""


def status(place: Place, probe: Probe = reaching.ready) -> SiteStatus:
    """Look at a site.

    Raises
    ------
    AwsError : AWS does not say how it is.
    """
    memory = place.memory()
    if not memory.known:
        return _site(place, memory, "absent", "there is no site here yet: orthweb up", ())
    session = Session(memory.region)
    services = [*_hosts(session, memory.name), *_database(session, power.index_of(memory.name))]
    problem: str | None
    found: SiteAccess | None = None
    try:
        found = reaching.access(place)
        problem = probe(found)
    except NotRunningError as error:
        problem = str(error)
    serving = [each for each in services if each.name.startswith("host") and each.state == "running"]
    state: Literal["running", "degraded", "stopped", "absent"] = "degraded"
    if problem is None and all(each.state == "running" for each in services):
        state = "running"
    elif not serving and all(each.state == "stopped" for each in services):
        state = "stopped"
        problem = "orthweb up starts it"
    notes = list(_notes(place, memory, found if problem is None else None, "while it runs: " * (state == "stopped")))
    return _site(place, memory, state, problem, services, notes)


def _site(
    place: Place,
    memory: Memory,
    state: Literal["running", "degraded", "stopped", "absent"],
    problem: str | None,
    services: Sequence[ServiceStatus],
    notes: Sequence[str] = (),
) -> SiteStatus:
    host = memory.output("public_name")
    return SiteStatus(
        name=memory.name or place.site.name,
        target="aws",
        state=state,
        answers=problem is None,
        problem=problem,
        url=memory.output("site_url"),
        dicom=f"{host}:{DICOM_PORT}" if host else "",
        aet=place.site.dicom.aet,
        services=services,
        facts={
            "account": memory.account,
            "region": memory.region,
            "topology": memory.output("topology"),
            "bucket": memory.output("bucket"),
            "database": memory.output("dbinfo"),
            "images": memory.outputs.get("images", {}),
        },
        notes=notes,
    )


def _hosts(session: Session, name: str) -> Iterator[ServiceStatus]:
    found = hosts.read(session, f"/orthweb/{name}")
    now = datetime.now(UTC)
    for each in hosts.instances(session, name):
        said = found.reports.get(each.identity)
        state: State = "starting"
        note = f"{each.zone}; booting"
        if each.state in ("stopping", "stopped"):
            state, note = "stopped", each.zone + ("; stopping" if each.state == "stopping" else "")
        elif said is not None and said.of_this_start(each):
            state = {"ready": "running", "failed": "failed"}.get(said.state, "starting")  # type: ignore[assignment]
            # A host that serves says no more than that it does.
            more = "" if said.state == "ready" else f"; {said.state}" + (f": {said.message}" if said.message else "")
            note = f"{each.zone}{more}"
            if said.stale(now):
                state, note = "failed", f"{each.zone}; says nothing any more (last: {said.state})"
            elif said.state == "ready" and not hosts.applied(said, found.wanted):
                note = f"{each.zone}; serves as before, the last change is not applied yet"
        version = _tag(said.images.get("ops", "")) if said is not None else ""
        yield ServiceStatus(f"host {each.identity}", state, None, "", None, None, version, note)


def _tag(reference: str) -> str:
    return reference.rpartition("/")[2].partition(":")[2]


def _database(session: Session, identifier: str) -> Iterator[ServiceStatus]:
    found = power.database(session, identifier)
    if found is None:
        return
    said = str(found["DBInstanceStatus"])
    zones = [str(found.get("AvailabilityZone") or ""), str(found.get("SecondaryAvailabilityZone") or "")]
    note = f"{', '.join(filter(None, zones))}; {found['DBInstanceClass']}, {found['AllocatedStorage']} GiB"
    note += "" if said in ("available", "stopped") else f"; {said}"
    if "AutomaticRestartTime" in found and said == "stopped":
        note += f"; AWS starts it by itself on {found['AutomaticRestartTime']:%Y-%m-%d %H:%M} UTC"
    version = f"PostgreSQL {found['EngineVersion']}"
    yield ServiceStatus("database", _DATABASE.get(said, "failed"), None, "", None, None, version, note)


def _notes(place: Place, memory: Memory, found: SiteAccess | None, when: str) -> Iterator[str]:
    if memory.name != place.site.name:
        yield f"Name   {memory.name}: the site file says {place.site.name}, which would be another site"
    if place.site.hostname != "localhost" and place.site.aws.hosted_zone is None and memory.output("dns_target"):
        yield f"DNS    {place.site.hostname} should point to {memory.output('dns_target')}"
    if memory.output("s3bucket"):
        yield f"Images {memory.output('s3bucket')}"
    if found is not None:
        days = certificate_days(found)
        if days is not None:
            soon = "  (soon!)" if days < SOON_DAYS else ""
            yield f"Certificate for {found.host}: {days} days left{soon}"
    if cost := applied_cost(place):
        yield f"Cost   {when}{cost}"


def certificate_days(found: SiteAccess) -> int | None:
    """Ask for how many days the certificate that the site shows is still valid; None when it shows none."""
    context = client_context(found.ca)
    try:
        with (
            socket.create_connection((found.host, found.https_port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=found.host) as connection,
        ):
            der = connection.getpeercert(binary_form=True)
    except (OSError, ssl.SSLError):
        return None
    if der is None:
        return None
    return (x509.load_der_x509_certificate(der).not_valid_after_utc - datetime.now(UTC)).days

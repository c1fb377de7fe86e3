"""How a site that keeps its state here is reached from this machine."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from orthweb import secrets
from orthweb.access import Credentials, MoveDestination, SiteAccess
from orthweb.targets.host.place import SitePlace

if TYPE_CHECKING:
    from orthweb.site import Site


def connectable(site: Site) -> str:
    """Give the name or address under which this machine reaches its own edge.

    The hostname may be one that only the outside resolves, or that leads to another machine.
    """
    addresses = [address for address in site.edge.listen if not address.is_unspecified]
    if len(addresses) < len(site.edge.listen) or any(
        address == ipaddress.ip_address("127.0.0.1") for address in addresses
    ):
        return "localhost"
    return str(addresses[0])


def access(place: SitePlace) -> SiteAccess:
    """Give endpoints, trust and credentials of a site that was brought up.

    Raises
    ------
    NotRunningError : there is none.
    """
    endpoints = place.kept_endpoints()
    kept = secrets.read(place.state.secrets)
    files = place.pki
    here = connectable(place.site)
    # The site's own certificates cover localhost and the addresses; the owner's need not.
    own = place.site.tls.certificate is not None
    return SiteAccess(
        name=place.site.name,
        host=place.site.hostname if own else here,
        https_port=place.site.edge.https_port,
        dicom_port=place.site.edge.dicom_port,
        aet=place.site.dicom.aet,
        ca=files.trusted_by_clients,
        credentials=Credentials(secrets.ADMIN_USER, kept.admin_password),
        client_certificates=place.site.tls.client_certificates,
        tls_profile=place.site.tls.profile,
        client=files.check,
        move_destination=MoveDestination(
            endpoints.check_aet, endpoints.check_host, endpoints.check_port, files.check, files.site_ca.certificate
        ),
        local=here if own else None,
    )

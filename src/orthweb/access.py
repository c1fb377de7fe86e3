"""How to reach a running site: all that clients and checks know of it, whatever target runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Credentials:
    """A login. Never printed: ``repr`` leaves the password out."""

    user: str
    password: str

    def __repr__(self) -> str:
        """Show the user alone."""
        return f"Credentials(user={self.user!r})"


@dataclass(frozen=True)
class CertificatePair:
    """A certificate with its chain and its private key, both PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class MoveDestination:
    """A C-MOVE destination that every site knows: the validation suite's own storage SCP.

    The archive reaches it over TLS at ``host:port`` and trusts ``identity`` there. ``ca`` signed the certificate that
    the archive shows; None means the CA that clients trust.
    """

    aet: str
    host: str
    port: int
    identity: CertificatePair
    ca: Path | None = None


@dataclass(frozen=True)
class SiteAccess:
    """Endpoints, trust and credentials of one site.

    Parameters
    ----------
    name : the site's name.
    host : the name or address that clients connect to; the edge's certificates cover it.
    https_port, dicom_port : TCP ports of the edge.
    aet : the archive's AE title.
    ca : PEM file of the CA that clients trust (the site's own, or the one behind an own certificate).
    credentials : the administrator's login.
    client_certificates : the DICOM client certificate policy: off, optional or required.
    tls_profile : Mozilla's profile that both ports follow: intermediate or modern.
    client : a client certificate for DICOM that the edge accepts, if the caller has one.
    move_destination : see MoveDestination; None where the archive cannot reach the caller.
    check_aet : AE title that the site keeps for its checks, where there is no move destination that has it.
    local : where the machine that keeps the site reaches its own edge, when `host` may lead elsewhere: to a load
        balancer, or out of its network. None: `host` does.
    """

    name: str
    host: str
    https_port: int
    dicom_port: int
    aet: str
    ca: Path
    credentials: Credentials
    client_certificates: str = "off"
    tls_profile: Literal["intermediate", "modern"] = "intermediate"
    client: CertificatePair | None = None
    move_destination: MoveDestination | None = None
    check_aet: str | None = None
    local: str | None = None

    @property
    def url(self) -> str:
        """The site's address, without a trailing slash."""
        return f"https://{self.host}:{self.https_port}"

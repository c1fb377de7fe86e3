"""What certificates a site has, for people and monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from orthweb.pki.issue import names_of
from orthweb.pki.layout import paths
from orthweb.pki.pair import content

if TYPE_CHECKING:
    from orthweb.site import Site


@dataclass(frozen=True)
class Listed:
    """One certificate.

    Parameters
    ----------
    name : its name in the PKI folder; a client's starts with ``client/``.
    subject, issuer : common names.
    names : DNS names and addresses that it is valid for.
    not_before, not_after : validity (UTC).
    days_left : whole days until it ends; negative when it has ended.
    sha256 : fingerprint, lower-case hexadecimal.
    file : the PEM file.
    """

    name: str
    subject: str
    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    days_left: int
    sha256: str
    file: Path


def inventory(folder: Path, site: Site, base: Path, now: datetime | None = None) -> list[Listed]:
    """List the certificates of a site that exist and can be read, CAs first, clients last.

    Raises
    ------
    OrthwebError : the folder may not be read.
    """
    now = now or datetime.now(UTC)
    layout = paths(folder, site, base)
    own = [layout.site_ca, layout.internal_ca, *layout.edge, layout.archive, layout.edge_internal, layout.index]
    files = [(pair.certificate.stem, pair.certificate) for pair in [*own, layout.check]]
    files += [(f"client/{file.stem}", file) for file in sorted(layout.client_folder.glob("*.pem"))]
    listed = (_listed(name, file, now) for name, file in files)
    return [one for one in listed if one is not None]


def fingerprint(certificate: x509.Certificate) -> str:
    """Give a certificate's SHA-256 fingerprint the way browsers show it: pairs of capital digits, with colons."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _listed(name: str, file: Path, now: datetime) -> Listed | None:
    pem = content(file)
    if pem is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = names_of(certificate)
    except ValueError:
        return None
    return Listed(
        name=name,
        subject=_common_name(certificate.subject),
        names=names,
        issuer=_common_name(certificate.issuer),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        days_left=(certificate.not_valid_after_utc - now).days,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        file=file,
    )


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()

"""What lies where in a site's PKI folder, and what each identity is for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orthweb.access import CertificatePair

if TYPE_CHECKING:
    from orthweb.site import Site


@dataclass(frozen=True)
class Change:
    """One line of a plan for the PKI folder.

    Parameters
    ----------
    name : the certificate's name: ``site-ca``, ``internal-ca``, ``edge-ecdsa``, ``edge-rsa``, ``edge-own``,
        ``archive``, ``edge-internal``, ``index`` or ``check``.
    action : ``issue`` (there is none), ``renew`` (there is one, a new one takes its place) or ``keep``.
    reason : why, for a person. On a ``keep`` row that `plan` gives unasked it is a warning.
    not_after : when the certificate ends, after the change (UTC).
    """

    name: str
    action: Literal["issue", "renew", "keep"]
    reason: str
    not_after: datetime


@dataclass(frozen=True)
class Pki:
    """Paths of everything in a PKI folder; looks at no file.

    Attributes
    ----------
    site_ca : the CA that clients trust and that signs DICOM client certificates.
    internal_ca : the CA of the hops behind the edge; nobody outside the site trusts it.
    edge : what the edge shows to clients: ECDSA and RSA from the site CA (ECDSA alone with the modern profile, as
        Mozilla asks), or the one own certificate.
    archive : Orthanc's DICOM TLS identity (internal CA, server and client; DNS names ``archive`` and ``localhost``).
    edge_internal : the edge's identity towards the archive and on its egress listener (internal CA, server
        and client; DNS names ``edge`` and ``localhost``).
    index : PostgreSQL's server identity (internal CA; ``index``, ``localhost``, 127.0.0.1).
    check : the validation suite's storage SCP and DICOM client (site CA, server and client).
    client_folder : issued DICOM client certificates.
    trusted_by_clients : PEM file of what clients must trust: the site CA, or the root behind an own certificate.
    """

    folder: Path
    site_ca: CertificatePair
    internal_ca: CertificatePair
    edge: tuple[CertificatePair, ...]
    archive: CertificatePair
    edge_internal: CertificatePair
    index: CertificatePair
    check: CertificatePair
    client_folder: Path
    trusted_by_clients: Path


def pair_of(folder: Path, name: str) -> CertificatePair:
    """Name the two files of one certificate."""
    return CertificatePair(certificate=folder / f"{name}.pem", key=folder / f"{name}.key")


def _edge_names(site: Site) -> tuple[str, ...]:
    if site.tls.certificate is not None:
        return ("edge-own",)
    return ("edge-ecdsa",) if site.tls.profile == "modern" else ("edge-ecdsa", "edge-rsa")


def paths(folder: Path, site: Site, base: Path) -> Pki:  # noqa: ARG001  a site's PKI may lie beside its file one day
    """Name everything in the PKI folder of a site.

    Parameters
    ----------
    folder : the PKI folder (`StateFolder.pki`).
    site : decides whether the edge shows an own certificate.
    base : the folder of the site file.
    """
    own = site.tls.certificate is not None
    return Pki(
        folder=folder,
        site_ca=pair_of(folder, "site-ca"),
        internal_ca=pair_of(folder, "internal-ca"),
        edge=tuple(pair_of(folder, name) for name in _edge_names(site)),
        archive=pair_of(folder, "archive"),
        edge_internal=pair_of(folder, "edge-internal"),
        index=pair_of(folder, "index"),
        check=pair_of(folder, "check"),
        client_folder=folder / "clients",
        trusted_by_clients=folder / ("edge-own-root.pem" if own else "site-ca.pem"),
    )

"""What a client must know to reach and trust a site, and the files that it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.access import CertificatePair
from orthweb.errors import OrthwebError, UsageError

if TYPE_CHECKING:
    from orthweb.site import Site

TRUST_STORE_PASSWORD = "changeit"  # noqa: S105  a trust store holds public certificates only; Java's own has this password
"""Password of the exported trust store. No secret: the format wants one, and the content is public."""


@dataclass(frozen=True)
class Connection:
    """What a client must know to reach a site.

    Parameters
    ----------
    name : the site's name.
    host : name or address that clients connect to.
    https_port, dicom_port : TCP ports of the edge.
    aet : the archive's AE title.
    ca : PEM file of the CA to trust.
    trust_store : the same as a PKCS #12 trust store for Java.
    ca_subject : name of the CA.
    ca_sha256 : fingerprint of the CA, as browsers show it.
    ca_not_after : when the CA ends (UTC).
    modern : whether the edge speaks TLS 1.3 only.
    client_certificates : the DICOM client certificate policy: off, optional or required.
    client : files of a client certificate to show; a PKCS #12 file of the same name lies beside them.
    user : the login for HTTPS.
    """

    name: str
    host: str
    https_port: int
    dicom_port: int
    aet: str
    ca: Path
    trust_store: Path
    ca_subject: str
    ca_sha256: str
    ca_not_after: datetime
    modern: bool = False
    client_certificates: str = "off"
    client: CertificatePair | None = None
    user: str = "admin"

    @property
    def url(self) -> str:
        """The site's address, without a trailing slash."""
        return f"https://{self.host}:{self.https_port}"


def export(folder: Path, site: Site, base: Path, out: Path) -> Connection:
    """Write the CA as PEM and as a PKCS #12 trust store, and say how the site is reached with them.

    Parameters
    ----------
    folder : the PKI folder of the site.
    base : the folder of the site file.
    out : where ``NAME-ca.pem`` and ``NAME-truststore.p12`` are written (made when missing; readable by everyone).

    Raises
    ------
    OrthwebError : the site has no CA yet.
    UsageError : the folder cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

    from orthweb.pki import layout, listing, pair

    source = layout.paths(folder, site, base).trusted_by_clients
    pem = pair.content(source)
    if pem is None:
        raise OrthwebError(f"{source}: the site has no CA yet", "start the site first: orthweb up")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise OrthwebError(f"{source}: is damaged", "run orthweb up: it says how to mend this") from error
    store = serialize_java_truststore(
        [PKCS12Certificate(certificate, f"{site.name}-ca".encode())],
        BestAvailableEncryption(TRUST_STORE_PASSWORD.encode()),
    )
    out = out.absolute()
    ca, trust_store = out / f"{site.name}-ca.pem", out / f"{site.name}-truststore.p12"
    try:
        if not out.is_dir():
            out.mkdir(parents=True)
            # In the state folder, where nothing is open to others; what lies elsewhere is for everybody to read.
            out.chmod(0o700 if out.parent == folder.parent else 0o755)
        pair.write_files({ca: (pem, 0o644), trust_store: (store, 0o644)})
    except OSError as error:
        raise UsageError(f"--out: {out}: {error.strerror}; should be a folder that can be written") from error
    return Connection(
        name=site.name,
        host=site.hostname,
        https_port=site.edge.https_port,
        dicom_port=site.edge.dicom_port,
        aet=site.dicom.aet,
        ca=ca,
        trust_store=trust_store,
        ca_subject=certificate.subject.rfc4514_string(),
        ca_sha256=listing.fingerprint(certificate),
        ca_not_after=certificate.not_valid_after_utc,
        modern=site.tls.profile == "modern",
        client_certificates=site.tls.client_certificates,
    )


def with_client(connection: Connection, name: str | None, folder: Path) -> Connection:
    """Add the client certificate that the commands show.

    Parameters
    ----------
    name : its name; without one, a site that requires client certificates gets the placeholder ``NAME``.
    folder : where ``orthweb certificates client`` keeps certificates; files that are not there are looked for in
        the folder that the commands are pasted in.
    """
    if name is None:
        if connection.client_certificates != "required":
            return connection
        name = "NAME"
    place = folder if (folder / f"{name}.key").exists() else Path()
    return replace(connection, client=CertificatePair(place / f"{name}.pem", place / f"{name}.key"))

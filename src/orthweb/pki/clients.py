"""DICOM client certificates: issued by the site CA for modalities and other peers, accepted by the edge."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from orthweb.access import CertificatePair
from orthweb.errors import UsageError
from orthweb.pki import pair
from orthweb.pki.issue import CLIENT, LONGEST_LEAF, Leaf, certificate_pem, key_pem, new_leaf
from orthweb.pki.layout import pair_of, paths
from orthweb.pki.renewal import authority

if TYPE_CHECKING:
    from orthweb.site import Site

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class ClientCertificate(CertificatePair):
    """A client certificate: the PEM pair, and the same in one PKCS #12 file with its password.

    Parameters
    ----------
    container : PKCS #12 (key, certificate, site CA).
    password : a file of its own (0600) with the password of ``container``.
    not_after : when it ends (UTC).
    """

    container: Path
    password: Path
    not_after: datetime


def issue_client(
    folder: Path, site: Site, name: str, days: int = 365, out: Path | None = None, now: datetime | None = None
) -> ClientCertificate:
    """Issue a DICOM client certificate.

    Issuing again under the same name replaces the files; the earlier certificate stays valid until it ends.

    Parameters
    ----------
    folder : the PKI folder.
    name : the peer's name: letters, digits, ``.``, ``_``, ``-``; becomes the common name and the name of the files.
    days : how long it is valid, 1 to 397.
    out : where the files are written; the folder ``clients`` in the PKI folder by default. A copy of the certificate
        (not of the key) stays there in any case, for `inventory`.

    Raises
    ------
    UsageError : the name or the number of days is not allowed.
    OrthwebError : the site has no CA yet, or the files cannot be written.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"NAME: {name}: should have 1 to 63 letters, digits, '.', '_' or '-', a letter or digit first")
    if not 1 <= days <= LONGEST_LEAF.days:
        raise UsageError(f"--days: {days}: should be 1 to {LONGEST_LEAF.days}")
    now = now or datetime.now(UTC)
    layout = paths(folder, site, folder)
    ca = authority(folder, site, folder, now)
    made = new_leaf(Leaf(name, (), (CLIENT,)), ca, now, timedelta(days=days))
    place = layout.client_folder if out is None else out
    pair.prepare(layout.client_folder)
    if out is not None:
        try:
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out: {out}: {error.strerror}") from error
    files = pair_of(place, name)
    password = secrets.token_urlsafe(18)
    client = ClientCertificate(
        files.certificate,
        files.key,
        container=place / f"{name}.p12",
        password=place / f"{name}.p12.password",
        not_after=made.certificate.not_valid_after_utc,
    )
    container = serialize_key_and_certificates(
        name.encode(), made.key, made.certificate, [ca.certificate], BestAvailableEncryption(password.encode())
    )
    pem = certificate_pem(made.chain)
    pair.write_files(
        {
            client.password: (f"{password}\n".encode(), 0o600),
            client.container: (container, 0o600),
            client.key: (key_pem(made.key), 0o600),
            client.certificate: (pem, 0o644),
            pair_of(layout.client_folder, name).certificate: (pem, 0o644),
        }
    )
    return client

"""The site's own certificate (`tls.certificate`, `tls.key`): judged before anything is started with it."""

from __future__ import annotations

import ipaddress
import itertools
import os
import ssl
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from orthweb.errors import SiteFileError
from orthweb.pki.issue import SERVER, Identity, PrivateKey, general_name, names_of, usages_of
from orthweb.pki.pair import DAMAGED

if TYPE_CHECKING:
    from orthweb.site import Site

CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What BoringSSL, and with it the edge, serves ECDSA certificates on."""


@dataclass(frozen=True)
class OwnCertificate:
    """An own certificate that has been found good.

    Parameters
    ----------
    identity : what the edge sends: the certificate and its intermediates, without the root.
    root : what clients must trust.
    not_after : when the first certificate of the chain ends (UTC).
    """

    identity: Identity
    root: x509.Certificate
    not_after: datetime


def load(site: Site, base: Path, now: datetime) -> OwnCertificate:
    """Read and judge the site's own certificate and key.

    Parameters
    ----------
    site : one with `tls.certificate` and `tls.key`.
    base : the folder of the site file, which relative paths start from.

    Raises
    ------
    SiteFileError : one line for each problem, naming `tls.certificate` or `tls.key`.
    """
    if site.tls.certificate is None or site.tls.key is None:
        raise ValueError("the site has no own certificate")
    certificate_file, key_file = base / site.tls.certificate, base / site.tls.key
    problems: list[str] = []
    chain = _read_chain(certificate_file, problems)
    key = _read_key(key_file, problems)
    if chain and key is not None:
        _judge_match(chain, key, f"tls.key: {key_file}", problems)
    root: x509.Certificate | None = None
    if chain:
        line = f"tls.certificate: {certificate_file}"
        _judge_certificate(chain[0], site.hostname, line, problems)
        _judge_times(chain, now, line, problems)
        if _judge_order(chain, line, problems):
            root = _root(chain, line, problems)
    if problems or root is None or key is None:
        raise SiteFileError(problems)
    sent = chain[:-1] if len(chain) > 1 and chain[-1] == root else chain
    return OwnCertificate(
        identity=Identity(sent, key), root=root, not_after=min(one.not_valid_after_utc for one in chain)
    )


def covers(certificate: x509.Certificate, hostname: str) -> bool:
    """Tell whether a certificate is valid for a host name or address (RFC 9525: `*` is one whole first label)."""
    wanted = general_name(hostname)
    if isinstance(wanted, x509.IPAddress):
        addresses = (name for name in names_of(certificate) if _is_address(name))
        return any(ipaddress.ip_address(name) == wanted.value for name in addresses)
    _, _, parent = hostname.lower().partition(".")
    accepted = {hostname.lower(), f"*.{parent}"} if "." in parent else {hostname.lower()}
    return any(name.lower() in accepted for name in names_of(certificate))


def _is_address(name: str) -> bool:
    return isinstance(general_name(name), x509.IPAddress)


def _read(path: Path, line: str, problems: list[str]) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        problems.append(f"{line}: no such file")
    except IsADirectoryError:
        problems.append(f"{line}: is a folder; should be a PEM file")
    except PermissionError:
        problems.append(f"{line}: may not be read by user id {os.geteuid()}")
    except OSError as error:
        problems.append(f"{line}: {error.strerror}")
    return None


def _read_chain(path: Path, problems: list[str]) -> tuple[x509.Certificate, ...]:
    line = f"tls.certificate: {path}"
    pem = _read(path, line, problems)
    if pem is None:
        return ()
    try:
        chain = tuple(x509.load_pem_x509_certificates(pem))
        for certificate in chain:
            _ = certificate.extensions, certificate.public_key()
    except DAMAGED:
        problems.append(f"{line}: holds no readable certificate; should be PEM (-----BEGIN CERTIFICATE-----)")
        return ()
    return chain


def _read_key(path: Path, problems: list[str]) -> PrivateKey | None:
    line = f"tls.key: {path}"
    pem = _read(path, line, problems)
    if pem is None:
        return None
    if path.stat().st_mode & 0o007:
        problems.append(f"{line}: everyone on this machine may read or change it; should be closed: chmod 600 {path}")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        problems.append(
            f"{line}: is protected by a passphrase; should be without: openssl pkey -in {path} -out NEW_FILE"
        )
        return None
    except (ValueError, UnsupportedAlgorithm):
        problems.append(f"{line}: holds no readable private key; should be PEM (-----BEGIN PRIVATE KEY-----)")
        return None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < 2048:
            problems.append(f"{line}: RSA with {key.key_size} bits; should have 2048 or more")
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name not in CURVES:
            problems.append(f"{line}: EC on curve {key.curve.name}; should be on P-256, P-384 or P-521")
        return key
    problems.append(f"{line}: is neither an RSA nor an EC key; browsers and DICOM toolkits need one of the two")
    return None


def _judge_match(chain: tuple[x509.Certificate, ...], key: PrivateKey, line: str, problems: list[str]) -> None:
    public = key.public_key()
    if chain[0].public_key() == public:
        return
    for position, certificate in enumerate(chain[1:], start=2):
        if certificate.public_key() == public:
            problems.append(
                f"{line}: belongs to certificate {position} of tls.certificate; should be the server's own certificate "
                "first, then the one that signed it, and so on"
            )
            return
    problems.append(f"{line}: does not belong to tls.certificate ({_subject(chain[0])})")


def _judge_certificate(certificate: x509.Certificate, hostname: str, line: str, problems: list[str]) -> None:
    if not covers(certificate, hostname):
        names = ", ".join(names_of(certificate)) or "no name at all (no subjectAltName)"
        problems.append(f"{line}: is for {names}; should cover the site's hostname {hostname}")
    usages = usages_of(certificate)
    if usages and SERVER not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
        problems.append(f"{line}: is not for servers; its extended key usage should have serverAuth")
    if isinstance(certificate.signature_hash_algorithm, (hashes.SHA1, hashes.MD5)):
        name = certificate.signature_hash_algorithm.name.upper()
        problems.append(f"{line}: is signed with {name}, which clients refuse; should be SHA-256 or better")


def _judge_times(chain: tuple[x509.Certificate, ...], now: datetime, line: str, problems: list[str]) -> None:
    for certificate in chain:
        if now > certificate.not_valid_after_utc:
            problems.append(
                f"{line}: {_subject(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; should be "
                f"renewed by its CA (this machine's clock says {now:%Y-%m-%d})"
            )
        elif now < certificate.not_valid_before_utc:
            problems.append(
                f"{line}: {_subject(certificate)} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; "
                f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC: one of the two is wrong"
            )


def _judge_order(chain: tuple[x509.Certificate, ...], line: str, problems: list[str]) -> bool:
    for position, (lower, upper) in enumerate(itertools.pairwise(chain), start=1):
        if not _signed(lower, upper):
            problems.append(
                f"{line}: certificate {position + 1} ({_subject(upper)}) did not sign certificate {position} "
                f"({_subject(lower)}); should be the server's own certificate first, then the one that signed it, "
                "and so on"
            )
            return False
    return True


def _root(chain: tuple[x509.Certificate, ...], line: str, problems: list[str]) -> x509.Certificate | None:
    """Find what clients trust: the chain's own root, or the one among this machine's trusted CAs that signed it."""
    top = chain[-1]
    if _signed(top, top):
        return top
    for candidate in _machine_roots():
        if _signed(top, candidate):
            return candidate
    problems.append(
        f"{line}: ends with {_subject(top)}, whose issuer {top.issuer.rfc4514_string()} is neither in the file nor "
        "trusted by this machine; append the issuer's certificate, so that clients can be told what to trust"
    )
    return None


def _machine_roots() -> list[x509.Certificate]:
    # The bundle that OpenSSL was built for first (SSL_CERT_FILE included), then where Debian and Red Hat keep theirs.
    places: list[str | None] = [
        ssl.get_default_verify_paths().cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
    ]
    for place in places:
        if place is None or not Path(place).is_file():
            continue
        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with suppress(ssl.SSLError, OSError):
            trusted.load_verify_locations(place)
            return [root for der in trusted.get_ca_certs(binary_form=True) if (root := _parsed(der)) is not None]
    return []


def _parsed(der: bytes) -> x509.Certificate | None:
    # Bundles hold roots from before today's rules (negative serial numbers); theirs is not our problem.
    with warnings.catch_warnings(), suppress(*DAMAGED):
        warnings.simplefilter("ignore")
        return x509.load_der_x509_certificate(der)
    return None


def _signed(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or ", ".join(names_of(certificate)) or "a certificate without a name"

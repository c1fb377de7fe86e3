"""Making certificates: pure, nothing is read or written here.

What a certificate of this site looks like: RFC 5280 (profile), RFC 9618 and the CA/Browser Forum's baseline
requirements where browsers enforce them (names only in subjectAltName, at most 397 days), PS3.15 B.12 for DICOM TLS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

LEAF_LIFETIME = timedelta(days=90)
"""Mozilla's recommendation, and the longest that its modern profile allows."""

RENEW_BEFORE = timedelta(days=30)
"""A leaf with less left than this is renewed."""

LONGEST_LEAF = timedelta(days=397)
"""Browsers refuse server certificates that are valid for longer."""

CA_LIFETIME = timedelta(days=3650)

BACKDATE = timedelta(hours=1)
"""How far notBefore lies back, for peers whose clock is a little behind."""

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Identity:
    """A certificate, what it is to be sent with, and its private key.

    Parameters
    ----------
    chain : the identity's own certificate first, then intermediate CAs; never a root.
    key : the private key of the first certificate.
    """

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        """The identity's own certificate."""
        return self.chain[0]


@dataclass(frozen=True)
class Leaf:
    """What a certificate that a CA of the site signs shall say.

    Parameters
    ----------
    common_name : for people who read lists; nothing verifies it. Cut to 64 characters (RFC 5280, ub-common-name).
    names : DNS names and addresses (subjectAltName); none for a client.
    usages : extended key usages: what the certificate may be used for, and nothing else.
    rsa : an RSA 2048 key in place of P-256.
    """

    common_name: str
    names: tuple[str, ...]
    usages: tuple[x509.ObjectIdentifier, ...]
    rsa: bool = False


def general_name(name: str) -> x509.GeneralName:
    """Turn a host name or address into a subjectAltName entry; addresses must be IPAddress or clients refuse them."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def new_key(use_rsa: bool = False) -> PrivateKey:
    """Generate a private key: P-256, or RSA 2048."""
    if use_rsa:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def leaf_end(now: datetime, authority: x509.Certificate | None, lifetime: timedelta = LEAF_LIFETIME) -> datetime:
    """Say when a leaf issued now ends: after its lifetime, and never after its CA."""
    # notBefore and notAfter are both inside the validity (RFC 5280 4.1.2.5): a second less makes the span exact.
    end = now - BACKDATE + lifetime - timedelta(seconds=1)
    return end if authority is None else min(end, authority.not_valid_after_utc)


def new_authority(label: str, now: datetime, key: PrivateKey | None = None) -> Identity:
    """Make a self-signed P-256 CA that may sign leaves only (path length 0).

    Parameters
    ----------
    label : what the CA is for; the start of its key identifier is appended, so that a site that was destroyed and
        made again does not present the *same* issuer with another key, which clients report as a bad signature.
    key : an existing key to keep, else a new one.
    """
    key = key or new_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Orthweb"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{label} {identifier.digest.hex()[:8]}"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now - BACKDATE + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity((certificate,), key)


def new_leaf(leaf: Leaf, authority: Identity, now: datetime, lifetime: timedelta = LEAF_LIFETIME) -> Identity:
    """Make a key and a certificate signed by a CA of the site."""
    if lifetime > LONGEST_LEAF:
        raise ValueError(f"{lifetime.days} days: at most {LONGEST_LEAF.days}")
    key = new_key(leaf.rsa)
    issuer = authority.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Orthweb"),
                    x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name[:64]),
                ]
            )
        )
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, issuer.not_valid_before_utc))
        .not_valid_after(leaf_end(now, issuer, lifetime))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
    )
    if leaf.names:
        names = [general_name(name) for name in leaf.names]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Identity((builder.sign(authority.key, hashes.SHA256()),), key)


def _key_usage(authority: bool) -> x509.KeyUsage:
    """CAs sign certificates; leaves sign handshakes (no key encipherment: RSA key exchange is never offered)."""
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """List the DNS names and addresses of a certificate's subjectAltName, in its order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, (x509.DNSName, x509.IPAddress)))


def usages_of(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier]:
    """List a certificate's extended key usages; empty means any."""
    try:
        return frozenset(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return frozenset()


def certificate_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Serialise certificates as one PEM text, in their order."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def key_pem(key: PrivateKey) -> bytes:
    """Serialise a private key as PEM (PKCS #8, no passphrase)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

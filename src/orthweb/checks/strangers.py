"""Certificates of a CA that nobody trusts, made on the spot: what a stranger would show, or trust."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from orthweb.access import CertificatePair
from orthweb.checks import probe
from orthweb.checks.check import CheckFailed


def client_certificate(folder: Path) -> CertificatePair:
    """Write a fresh self-signed CA certificate, good for TLS clients too, and its key (PEM, 0600)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a stranger")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = CertificatePair(folder / "stranger.pem", folder / "stranger.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.touch(0o600)
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


def distrusts(host: str, port: int) -> str:
    """Do a handshake as a client that trusts another CA alone; give the evidence of its refusal.

    Raises
    ------
    CheckFailed : the handshake succeeds, or fails for another reason.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="orthweb-") as folder:
        context = ssl.create_default_context(cafile=client_certificate(Path(folder)).certificate)
    try:
        probe.handshake(host, port, context)
    except ssl.SSLCertVerificationError as refusal:
        return f"refused: {refusal.verify_message}"
    except OSError as error:
        raise CheckFailed(f"the handshake failed before a certificate was judged: {error}") from error
    raise CheckFailed("accepted by a client that trusts another CA")

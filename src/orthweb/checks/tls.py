"""Group ``tls``: versions, cipher suites and certificates of both public ports."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from orthweb.checks import mozilla, probe
from orthweb.checks.check import Check, CheckFailed, check

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from orthweb.checks.context import Context

LEAST_LEFT = timedelta(days=7)
"""A certificate that ends sooner should have been renewed long ago (``orthweb up`` renews at 30 days)."""

_RENEW = "renew it: `orthweb certificates renew`, or bring a new one (tls.certificate in the site file)"
_WEAK = {ssl.TLSVersion.TLSv1: "TLS 1.0", ssl.TLSVersion.TLSv1_1: "TLS 1.1"}

# What makes a server show its ECDSA or its RSA certificate (RFC 8422, TLS 1.2); TLS 1.3 clients offer both.
_KINDS = {"ECDSA": "ECDHE+ECDSA", "RSA": "ECDHE+aRSA"}


@dataclass(frozen=True)
class _Port:
    """One public port: its name in ids, and in words."""

    key: str
    words: str

    def number(self, context: Context) -> int:
        """Give the TCP port."""
        return context.access.https_port if self.key == "https" else context.access.dicom_port

    def client(self, context: Context) -> ssl.SSLContext:
        """Make a TLS context that judges nothing, with the client certificate that the DICOM port may want."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        # Level 0 lets OpenSSL look at weak keys instead of refusing to.
        made.set_ciphers("ALL:@SECLEVEL=0")
        if self.key == "dicom" and context.access.client is not None:
            made.load_cert_chain(context.access.client.certificate, context.access.client.key)
        return made

    def certificates(self, context: Context) -> list[Certificate]:
        """Collect the certificates that the port shows to different clients."""
        from cryptography import x509

        contexts = [self.client(context)]
        for suites in _KINDS.values():
            narrow = self.client(context)
            narrow.maximum_version = ssl.TLSVersion.TLSv1_2
            narrow.set_ciphers(f"{suites}:@SECLEVEL=0")
            contexts.append(narrow)
        shown: dict[bytes, None] = {}
        for number, tls in enumerate(contexts):
            try:
                shown[probe.handshake(context.access.host, self.number(context), tls).certificate] = None
            except OSError as error:
                # A port of TLS 1.3 alone, or with one certificate alone, refuses the narrow ones.
                if number == 0:
                    raise CheckFailed(f"the TLS handshake fails: {error}") from error
        return [x509.load_der_x509_certificate(der) for der in shown]


def _kind(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__


def _checks(port: _Port) -> tuple[Check, ...]:
    """Make the same checks for each port."""

    @check(
        f"tls.{port.key}_profile",
        f"{port.words}: Mozilla profile",
        "Versions, suites, curves, certificates and known weaknesses pass sslyze's check of Mozilla's recommendation",
        hint="tls.profile in the site file names the profile; an own certificate must be ECDSA P-256 or RSA 2048",
        timeout=75,
    )
    def profile(context: Context) -> str:
        wanted = context.access.tls_profile
        client = context.access.client if port.key == "dicom" else None
        verdict = mozilla.judge(
            context.access.host, port.number(context), wanted, context.access.ca, client, timeout=70
        )
        if not verdict.compliant:
            raise CheckFailed(f"not {wanted}: {'; '.join(verdict.problems)[:400]}")
        return f"compliant with {wanted}: {verdict.seen}"

    @check(
        f"tls.{port.key}_versions",
        f"{port.words}: old TLS refused",
        "TLS 1.0 and TLS 1.1 are refused",
        hint="the edge's configuration is not what orthweb renders: `orthweb up` mends it",
    )
    def versions(context: Context) -> str:
        probe.handshake(context.access.host, port.number(context), port.client(context))
        for version, name in _WEAK.items():
            old = port.client(context)
            old.minimum_version = old.maximum_version = version
            try:
                probe.handshake(context.access.host, port.number(context), old)
            except OSError:
                continue
            raise CheckFailed(f"{name} is accepted")
        return "TLS 1.0 and TLS 1.1 refused, newer accepted"

    @check(
        f"tls.{port.key}_chain",
        f"{port.words}: certificate chain",
        "The certificate verifies against the CA that clients are told to trust",
        hint="give clients the CA of `orthweb trust`; with an own certificate include its chain",
    )
    def chain(context: Context) -> str:
        tls = port.client(context)
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(context.access.ca)
        session = probe.handshake(context.access.host, port.number(context), tls)
        return f"verified, {session.version} {session.cipher}"

    @check(
        f"tls.{port.key}_names",
        f"{port.words}: certificate names",
        "Each certificate covers the name that clients call the site by",
        hint="set hostname in the site file to the name that clients use, then `orthweb up`",
    )
    def names(context: Context) -> str:
        tls = port.client(context)
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(context.access.ca)
        tls.check_hostname = True
        session = probe.handshake(context.access.host, port.number(context), tls)
        shown = port.certificates(context)
        covered = [_names(certificate) for certificate in shown]
        if any(set(other) != set(covered[0]) for other in covered):
            raise CheckFailed("the port's certificates cover different names", _RENEW)
        return f"{context.access.host} is among {', '.join(covered[0])} ({session.version})"

    @check(
        f"tls.{port.key}_validity",
        f"{port.words}: certificate validity",
        f"Each certificate is valid now and for {LEAST_LEFT.days} more days",
        hint=_RENEW,
    )
    def validity(context: Context) -> str:
        now = datetime.now(UTC)
        seen = []
        for certificate in port.certificates(context):
            first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            if first > now:
                raise CheckFailed(f"{_kind(certificate)}: not valid before {first:%Y-%m-%d %H:%M} UTC")
            if last - now < LEAST_LEFT:
                raise CheckFailed(f"{_kind(certificate)}: ends {last:%Y-%m-%d %H:%M} UTC")
            seen.append(f"{_kind(certificate)}: {(last - now).days} days left")
        return ", ".join(seen)

    @check(
        f"tls.{port.key}_keys",
        f"{port.words}: key strength",
        "Keys are ECDSA of 256 bits or RSA of 2048 or more; signatures SHA-256 or better",
        hint=_RENEW,
    )
    def keys(context: Context) -> str:
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        seen = []
        for certificate in port.certificates(context):
            key = certificate.public_key()
            strong = (isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256) or (
                isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048
            )
            if not strong:
                raise CheckFailed(f"{_kind(certificate)}: too weak")
            digest = certificate.signature_hash_algorithm
            if digest is None or digest.digest_size < 32:
                raise CheckFailed(f"{_kind(certificate)}: signed with {digest.name if digest else 'no digest'}")
            seen.append(f"{_kind(certificate)} signed with {digest.name}")
        return ", ".join(seen)

    return (profile, versions, chain, names, validity, keys)


def _names(certificate: Certificate) -> list[str]:
    from cryptography import x509

    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in alternative]


CHECKS = (*_checks(_Port("https", "HTTPS")), *_checks(_Port("dicom", "DICOM TLS")))

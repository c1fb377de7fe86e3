"""Who is called and how: address, AE titles, TLS, timeouts."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.dicom.errors import TlsError, UnreachableError
from orthweb.errors import UsageError
from orthweb.verification import client_context

if TYPE_CHECKING:
    from orthweb.access import CertificatePair, SiteAccess

CALLING_AET = "ORTHWEB"
"""The AE title that this program calls itself, unless told otherwise."""

_AE_TITLE = re.compile(r"(?! )[\x20-\x5b\x5d-\x7e]{1,16}(?<! )")
_ADDRESS = re.compile(r"(?P<aet>[^@]+)@(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:@\[\]]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class TlsOptions:
    """How to verify the peer and what to show it.

    The peer's certificate and its name are always verified.

    Parameters
    ----------
    ca : PEM file of the CA to trust, alone; None trusts the system's CAs.
    certificate : client certificate and key, if the peer wants one.
    server_name : name that the certificate must cover; None means the peer's host.
    """

    ca: Path | None = None
    certificate: CertificatePair | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Build the client's TLS context: TLS 1.2 or later, certificate and name verified.

        Raises
        ------
        UsageError
            A file is missing, unreadable or not what it should be.
        """
        if self.ca is not None and not self.ca.is_file():
            raise UsageError(f"{self.ca}: no such CA file", "give a PEM file with --ca")
        try:
            context = client_context(self.ca)
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"{self.ca}: not a usable CA file: {error}", "give a PEM file with --ca") from error
        if self.certificate is not None:
            pair = self.certificate
            for path in (pair.certificate, pair.key):
                if not path.is_file():
                    raise UsageError(f"{path}: no such file", "give a PEM certificate and its key")
            try:
                # An encrypted key must fail, not ask: a prompt in the middle of a parallel send helps nobody.
                context.load_cert_chain(pair.certificate, pair.key, password=_no_passphrase)
            except (ssl.SSLError, OSError) as error:
                raise UsageError(
                    f"{pair.certificate}: cannot be used with the key {pair.key}: {_reason(error)}",
                    "both must be PEM, belong together, and the key must have no passphrase",
                ) from error
        return context


def _no_passphrase() -> str:
    raise OSError("the key has a passphrase")


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error)


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds.

    Parameters
    ----------
    connect : TCP connection and TLS handshake, each.
    association : the answer to an association request.
    response : one DIMSE response, and one write to the network.
    """

    connect: float = 10.0
    association: float = 30.0
    response: float = 120.0


@dataclass(frozen=True)
class Peer:
    """A DICOM peer and how to talk to it.

    Parameters
    ----------
    aet : the called AE title.
    host, port : where it listens.
    tls : how to speak TLS; None speaks plain DICOM.
    calling_aet : the AE title to call oneself.
    timeouts : see :class:`Timeouts`.

    Raises
    ------
    UsageError
        An AE title or the port is not valid.
    """

    aet: str
    host: str
    port: int
    tls: TlsOptions | None = None
    calling_aet: str = CALLING_AET
    timeouts: Timeouts = Timeouts()

    def __post_init__(self) -> None:
        """Check what DICOM itself limits (PS3.5 6.2, VR AE)."""
        for title in (self.aet, self.calling_aet):
            if not _AE_TITLE.fullmatch(title):
                raise UsageError(f"{title!r}: not an AE title", "1 to 16 printable ASCII characters, no backslash")
        if not 1 <= self.port <= 65535:
            raise UsageError(f"{self.port}: not a TCP port", "1 to 65535")

    def __str__(self) -> str:
        """Name the peer as messages do."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.aet}@{host}:{self.port}"

    @classmethod
    def of_site(cls, access: SiteAccess, calling_aet: str = CALLING_AET, timeouts: Timeouts | None = None) -> Peer:
        """Give the DICOM TLS port of a running site, with the site's trust."""
        return cls(
            aet=access.aet,
            host=access.host,
            port=access.dicom_port,
            tls=TlsOptions(ca=access.ca, certificate=access.client),
            calling_aet=calling_aet,
            timeouts=timeouts or Timeouts(),
        )

    def connect(self) -> socket.socket:
        """Open a TCP connection with TCP_NODELAY, and TLS on it if asked for.

        Without TCP_NODELAY the last, short segment of each C-STORE waits for the receiver's delayed ACK
        (40 ms): the largest single cost of sending small images.

        Raises
        ------
        UnreachableError, TlsError
            With the peer and the reason.
        UsageError
            A TLS file is unusable.
        """
        context = self.tls.context() if self.tls is not None else None
        try:
            plain = socket.create_connection((self.host, self.port), timeout=self.timeouts.connect)
        except OSError as error:
            raise unreachable(self, error) from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if context is None or self.tls is None:
                return plain
            return context.wrap_socket(plain, server_hostname=self.tls.server_name or self.host)
        except OSError as error:
            plain.close()
            raise tls_failure(self, error) from error
        except BaseException:
            plain.close()
            raise


def parse_address(text: str) -> tuple[str, str, int]:
    """Read ``AET@HOST:PORT`` (an IPv6 address in brackets) into AE title, host and port.

    Raises
    ------
    UsageError
        The text is not of that form.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r}: not a DICOM peer", "write AET@HOST:PORT, for example ORTHANC@pacs.example.org:11112"
        )
    return match["aet"], match["v6"] or match["host"], int(match["port"])


def unreachable(peer: Peer, error: OSError) -> UnreachableError:
    """Explain why no TCP connection came about."""
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"{peer}: unknown host {peer.host!r}", "check the spelling, and DNS")
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(
            f"{peer}: connection refused",
            f"is anything listening on port {peer.port}? `orthweb status` tells for a site",
        )
    if isinstance(error, TimeoutError):
        return UnreachableError(
            f"{peer}: no answer within {peer.timeouts.connect:g} s", "check address, port and firewalls on the way"
        )
    return UnreachableError(f"{peer}: cannot connect: {error.strerror or error}", "check address and network")


_VERIFY_HINTS = {
    7: ("the peer's certificate comes from a CA that is not trusted", "give the right CA file with --ca"),
    9: ("the peer's certificate is not yet valid", "check the clocks on both sides"),
    10: (
        "the peer's certificate has expired",
        "renew it (`orthweb certificates renew` for a site), or check this clock",
    ),
    18: ("the peer's certificate is self-signed and not trusted", "give that certificate with --ca"),
    19: ("the peer's certificate comes from a CA that is not trusted", "give the right CA file with --ca"),
    20: ("the peer's certificate comes from a CA that is not trusted", "give the right CA file with --ca"),
    21: ("the peer's certificate comes from a CA that is not trusted", "give the right CA file with --ca"),
    23: ("the peer's certificate has been revoked", "ask the peer's administrator for a new one"),
}
"""OpenSSL's verification results (x509_vfy.h) that people meet."""

_CLIENT_CERTIFICATE_HINT = "give --cert and --key (`orthweb certificates client NAME` issues a pair for a site)"
_ALERT_HINTS = {
    "CERTIFICATE_REQUIRED": ("the peer requires a client certificate", _CLIENT_CERTIFICATE_HINT),
    "HANDSHAKE_FAILURE": (
        "the peer refused the TLS handshake: no common cipher, or it requires a client certificate",
        _CLIENT_CERTIFICATE_HINT,
    ),
    "UNKNOWN_CA": ("the peer does not trust the client certificate's CA", "show one that the peer's CA issued"),
    "BAD_CERTIFICATE": ("the peer refused the client certificate", "show one that the peer's CA issued"),
    "CERTIFICATE_EXPIRED": ("the client certificate has expired", "issue a new one"),
    "CERTIFICATE_UNKNOWN": ("the peer refused the client certificate", "show one that the peer's CA issued"),
    "PROTOCOL_VERSION": ("no TLS version in common with the peer", "this program speaks TLS 1.2 and 1.3"),
    "WRONG_VERSION_NUMBER": ("the peer does not speak TLS on this port", "use --no-tls only if the network is trusted"),
}


def tls_failure(peer: Peer, error: OSError) -> TlsError | UnreachableError:
    """Explain why TLS failed, during the handshake or, with TLS 1.3, at the first read after it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code in (62, 64):
            named = peer.tls.server_name if peer.tls is not None and peer.tls.server_name else peer.host
            return TlsError(
                f"{peer}: the peer's certificate does not cover the name {named!r}",
                "call the peer by a name in its certificate",
            )
        what, hint = _VERIFY_HINTS.get(code, (f"the peer's certificate is not accepted: {error.verify_message}", None))
        return TlsError(f"{peer}: TLS: {what}", hint)
    if isinstance(error, ssl.SSLError):
        # Missing when the error was not raised by OpenSSL itself, whatever the type stubs say.
        reason = str(getattr(error, "reason", None) or "")
        for part, (what, hint) in _ALERT_HINTS.items():
            if reason.endswith(part):
                return TlsError(f"{peer}: TLS: {what}", hint)
        if reason == "RECORD_LAYER_FAILURE" or "PACKET_LENGTH" in reason or "HTTP_REQUEST" in reason:
            what, hint = _ALERT_HINTS["WRONG_VERSION_NUMBER"]
            return TlsError(f"{peer}: TLS: {what}", hint)
        if isinstance(error, ssl.SSLEOFError):
            return TlsError(
                f"{peer}: TLS: the peer closed the connection during the handshake", "does it speak TLS there?"
            )
        return TlsError(f"{peer}: TLS: {reason or error}", "check certificate, CA and TLS versions of both sides")
    if isinstance(error, TimeoutError):
        return TlsError(
            f"{peer}: no answer to the TLS handshake within {peer.timeouts.connect:g} s",
            "does the peer speak TLS there?",
        )
    return TlsError(
        f"{peer}: the connection broke during the TLS handshake: {error.strerror or error}",
        "does the peer speak TLS there?",
    )

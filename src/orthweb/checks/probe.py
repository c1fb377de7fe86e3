"""Probes below HTTP and DICOM: what a port answers to plaintext, and what it shows in a TLS handshake."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from orthweb.checks.check import CheckFailed

PATIENCE = 5.0
"""Seconds to wait for a connection, a handshake, or a byte."""


@dataclass(frozen=True)
class Session:
    """What a TLS handshake agreed on.

    Parameters
    ----------
    version, cipher : as OpenSSL names them.
    alpn : the application protocol (RFC 7301), or None.
    certificate : what the server showed, DER.
    """

    version: str
    cipher: str
    alpn: str | None
    certificate: bytes


@contextmanager
def connection(host: str, port: int) -> Iterator[socket.socket]:
    """Open a TCP connection.

    Raises
    ------
    CheckFailed : nothing listens there. A port that is down refuses everything and proves nothing.
    """
    try:
        plain = socket.create_connection((host, port), timeout=PATIENCE)
    except OSError as error:
        raise CheckFailed(
            f"no connection to {host}:{port}: {error.strerror or error}", "start the site with `orthweb up`"
        ) from error
    with plain:
        yield plain


def handshake(host: str, port: int, context: ssl.SSLContext) -> Session:
    """Do a TLS handshake, and end the session.

    Raises
    ------
    ssl.SSLError, OSError : it fails.
    CheckFailed : nothing listens there.
    """
    with connection(host, port) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
        cipher = secure.cipher()
        return Session(
            version=secure.version() or "",
            cipher=cipher[0] if cipher else "",
            alpn=secure.selected_alpn_protocol(),
            certificate=secure.getpeercert(binary_form=True) or b"",
        )


def plaintext_answer(host: str, port: int, question: bytes) -> bytes:
    """Send bytes without TLS; give what comes back until the other side closes, at most 4 kB.

    Raises
    ------
    CheckFailed : nothing listens there, or it neither answers nor closes.
    """
    answer = b""
    with connection(host, port) as plain:
        try:
            plain.sendall(question)
            while len(answer) < 4096 and (more := plain.recv(4096)):
                answer += more
        except TimeoutError:
            if not answer:
                raise CheckFailed(f"port {port} neither answers nor closes within {PATIENCE:g} s") from None
        except OSError:
            pass  # A reset is a refusal too.
    return answer


def association_request(called: str, calling: str) -> bytes:
    """Make an A-ASSOCIATE-RQ for Verification (PS3.8 9.3.2), as a client without TLS would send it."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = calling
    primitive.called_ae_title = called
    context = build_context("1.2.840.10008.1.1")
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    longest = MaximumLengthNotification()
    longest.maximum_length_received = 16382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.9.3811.2.1.0"
    primitive.user_information = [longest, implementation]
    request = A_ASSOCIATE_RQ()
    request.from_primitive(primitive)
    return request.encode()


DICOM_ANSWERS = {0x02: "accepted the association", 0x03: "answered in plain DICOM (rejected the association)"}
"""First byte of the answers to an A-ASSOCIATE-RQ (PS3.8 9.3.1) that prove a plaintext DICOM server."""

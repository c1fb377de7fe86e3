"""C-ECHO (PS3.4 Annex A): does the peer answer?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from orthweb.dicom.association import associate, lost
from orthweb.dicom.errors import StatusError
from orthweb.dicom.peer import Peer
from orthweb.dicom.status import describe


@dataclass(frozen=True)
class EchoResult:
    """What a C-ECHO found.

    Parameters
    ----------
    association_seconds : TCP, TLS and association negotiation.
    echo_seconds : the C-ECHO alone: about one round trip.
    tls_version, cipher : as negotiated; None for plain DICOM.
    implementation : the peer's implementation version name (PS3.7 D.3.3.2), if it gave one.
    """

    association_seconds: float
    echo_seconds: float
    tls_version: str | None
    cipher: str | None
    implementation: str | None


def echo(peer: Peer) -> EchoResult:
    """Verify that a peer answers C-ECHO with success.

    Raises
    ------
    PeerError
        It does not; the message says why.
    """
    started = time.monotonic()
    with associate(peer, [build_context(Verification)]) as association:
        established = time.monotonic()
        answer = association.send_c_echo()
        answered = time.monotonic()
        if "Status" not in answer:
            raise lost(peer, association, answered - established)
        if answer.Status != 0x0000:
            raise StatusError(f"{peer}: C-ECHO: {describe(answer.Status)}", answer.Status)
        transport = association.dul.socket
        raw = transport.socket if transport is not None else None
        cipher = getattr(raw, "cipher", lambda: None)()
        return EchoResult(
            association_seconds=established - started,
            echo_seconds=answered - established,
            tls_version=getattr(raw, "version", lambda: None)(),
            cipher=cipher[0] if cipher else None,
            implementation=association.acceptor.implementation_version_name,
        )

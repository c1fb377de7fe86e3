"""One DICOM association, opened with pynetdicom, closed whatever happens, with errors that explain themselves.

pynetdicom swallows the reasons of failed connections (it logs them); the socket here keeps them, connects
with TCP_NODELAY, tries all addresses of a host and reads more than 4 kB at a time.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from orthweb.dicom.errors import ContextError, LostError, PeerError, RejectedError, TimedOutError
from orthweb.dicom.peer import Peer, tls_failure
from orthweb.errors import OrthwebError

MAX_PDU = 131072
"""Largest P-DATA-TF PDU we take, in bytes (PS3.8 D.1): the most that DCMTK can be told to send."""

# Identifiers hold patient data: they must never reach a log.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
_config.STORE_SEND_CHUNKED_DATASET = True


class _Socket(AssociationSocket):
    """pynetdicom's socket, connected by :meth:`Peer.connect`, keeping the reason of a failure."""

    def __init__(self, association: Association, address: AddressInformation, peer: Peer) -> None:
        self._peer = peer
        self.failure: OrthwebError | OSError | None = None
        super().__init__(association, address=address)

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect, and report success or failure to the state machine as the base class does."""
        try:
            if self.socket is not None:
                self.socket.close()
            self.socket = self._peer.connect()
            self.socket.settimeout(self._peer.timeouts.response)
            self.assoc.requestor.address_info = AddressInformation.from_tuple(self.socket.getsockname())
            self._is_connected = True
            evt.trigger(self.assoc, evt.EVT_CONN_OPEN, {"address": primitive.address_info.as_tuple})
            primitive.result = "Evt2"
        except (OrthwebError, OSError) as error:
            self.failure = error
            self.socket = None
            primitive.result = "Evt17"
        finally:
            self.provider_queue.put(primitive)
            self._ready.set()

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly ``nr_bytes``, or less when the connection ends."""
        buffer = bytearray(nr_bytes)
        view = memoryview(buffer)
        done = 0
        assert self.socket is not None
        try:
            while done < nr_bytes:
                got = self.socket.recv_into(view[done:])
                if not got:
                    break
                done += got
        except OSError as error:
            self.failure = error
            raise
        finally:
            view.release()
        del buffer[done:]
        return buffer


class _Checkpoint(threading.Event):
    """Where pynetdicom's reactor thread waits while the caller waits for an answer.

    pynetdicom clears a plain event there and looks at a flag that the reactor may not have updated yet; the reactor
    then takes the answer off the queue and throws it away, and the caller waits until its timeout (seen once in about
    a thousand operations). Here `clear` returns when the reactor really waits.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self._turn = threading.Condition()
        self._open = True
        self._held = False

    def set(self) -> None:
        """Let the reactor go on."""
        with self._turn:
            self._open, self._held = True, False
            self._turn.notify_all()

    def clear(self) -> None:
        """Hold the reactor; return when it is held, or has ended."""
        with self._turn:
            self._open = False
            if threading.current_thread() is self._association:
                return
            while not self._held and self._association.is_alive() and not self._association._kill:
                self._turn.wait(0.05)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, on the reactor's thread, until it may go on."""
        with self._turn:
            while not self._open:
                self._held = True
                self._turn.notify_all()
                if not self._turn.wait(timeout) and timeout is not None:
                    break
            self._held = False
            return self._open


class _Requestor(AE):
    """pynetdicom's application entity with our socket."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(ae_title=peer.calling_aet)
        self.peer = peer
        self.acse_timeout = peer.timeouts.association
        self.dimse_timeout = peer.timeouts.response
        self.network_timeout = None
        self.maximum_pdu_size = MAX_PDU

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: object) -> AssociationSocket:
        del tls_args  # Peer.connect speaks TLS itself
        return _Socket(assoc, address, self.peer)


@contextmanager
def associate(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    scp_roles: Sequence[str] = (),
    handlers: Sequence[tuple[Any, ...]] = (),
) -> Iterator[Association]:
    """Open an association; release it at the end of the block, abort it if the block fails.

    Parameters
    ----------
    peer : whom to call.
    contexts : at most 128 presentation contexts (PS3.8 9.3.2).
    scp_roles : SOP class UIDs for which we are the SCP (role selection, PS3.7 D.3.3.4), as C-GET needs.
    handlers : pynetdicom's event handlers.

    Raises
    ------
    PeerError
        One of its subclasses: see :mod:`orthweb.dicom.errors`.
    """
    application = _Requestor(peer)
    roles: list[SCP_SCU_RoleSelectionNegotiation] = []
    for uid in scp_roles:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = uid
        role.scu_role, role.scp_role = False, True
        roles.append(role)
    refusals: list[A_ASSOCIATE_RJ] = []

    def keep_refusal(event: evt.Event) -> None:
        # Under load pynetdicom can find the connection closed before it looks at the A-ASSOCIATE-RJ that came first.
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            refusals.append(event.pdu)

    started = time.monotonic()
    # The address given here is a placeholder for pynetdicom's books: Peer.connect resolves the host itself.
    association = application.associate(
        "127.0.0.1",
        peer.port,
        contexts=list(contexts),
        ae_title=peer.aet,
        max_pdu=MAX_PDU,
        ext_neg=[*roles] or None,
        evt_handlers=[(evt.EVT_PDU_RECV, keep_refusal), *handlers],
    )
    if not association.is_established:
        if refusals:
            raise rejection(peer, refusals[0].to_primitive())
        raise _refusal(peer, association, time.monotonic() - started)
    association._reactor_checkpoint = _Checkpoint(association)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    else:
        if association.is_established:
            association.release()


def _refusal(peer: Peer, association: Association, seconds: float) -> OrthwebError:
    """Explain why an association did not come about."""
    failure = _failure(association)
    if isinstance(failure, OrthwebError):
        return failure
    if failure is None and association.rejected_contexts:
        return ContextError(
            f"{peer}: accepted the association but none of what was asked for",
            "the peer does not offer this service or SOP class to this AE title",
        )
    if failure is None and seconds >= peer.timeouts.association:
        return TimedOutError(
            f"{peer}: no answer to the association request within {peer.timeouts.association:g} s",
            "is that a DICOM port?" if peer.tls is not None else "is that a DICOM port, and does it want TLS?",
        )
    return lost(peer, association)


def rejection(peer: Peer, answer: A_ASSOCIATE | None) -> RejectedError:
    """Put an A-ASSOCIATE-RJ into words (PS3.8 table 9-21)."""
    source = getattr(answer, "result_source", None)
    diagnostic = getattr(answer, "diagnostic", None)
    reason = {
        (1, 2): ("application context not supported", None),
        (1, 3): (f"it does not know the calling AE title {peer.calling_aet!r}", "give a title it knows with --aet"),
        (1, 7): (f"it is not called {peer.aet!r}", "check the called AE title"),
        (3, 1): ("it is congested for the moment", "try again, with fewer associations"),
        (3, 2): ("its limit of associations is reached", "try again, with fewer associations"),
    }.get((source or 0, diagnostic or 0))
    if reason is None:
        said = getattr(answer, "reason_str", "") or "no reason given"
        reason = (said, "ask the peer's administrator")
    transient = source == 3 or getattr(answer, "result", None) == 0x02
    return RejectedError(f"{peer}: association rejected: {reason[0]}", reason[1], transient=transient)


def _failure(association: Association) -> OrthwebError | OSError | None:
    transport = association.dul.socket
    return transport.failure if isinstance(transport, _Socket) else None


def lost(peer: Peer, association: Association, waited: float = 0.0) -> PeerError:
    """Explain why an association ended, or an answer did not come.

    Parameters
    ----------
    waited : seconds spent waiting for the answer that did not come.
    """
    failure = _failure(association)
    if isinstance(failure, ssl.SSLError):
        return tls_failure(peer, failure)
    if isinstance(failure, PeerError):
        return failure
    if waited >= peer.timeouts.response:
        return TimedOutError(
            f"{peer}: no answer within {peer.timeouts.response:g} s",
            "is the peer overloaded? `orthweb logs` tells for a site",
        )
    if peer.tls is None:
        return LostError(f"{peer}: the peer ended the association", "does it want TLS (leave out --no-tls)?")
    return LostError(
        f"{peer}: the peer ended the association",
        "see its log; does it require a client certificate?" if peer.tls.certificate is None else "see its log",
    )

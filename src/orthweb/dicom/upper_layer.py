"""A storage SCU that does one thing fast: C-STORE of encoded data sets over one association.

pynetdicom runs each association on two polling threads and takes every P-DATA-TF PDU through three queues:
for 0.5 MB images that costs more than the peer's work. Here one blocking socket sends large writes, and
pynetdicom supplies what is delicate: the PDUs of negotiation and release, and the reading of answers.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from io import BytesIO
from typing import IO

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom._globals import APPLICATION_CONTEXT_NAME
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import (
    A_ABORT,
    A_ASSOCIATE,
    A_RELEASE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context
from pynetdicom.transport import AddressInformation

from orthweb.dicom.association import MAX_PDU, rejection
from orthweb.dicom.errors import LostError, PeerError, TimedOutError
from orthweb.dicom.instance import read_into
from orthweb.dicom.peer import Peer, tls_failure

_PDU_HEADER = struct.Struct(">BxL")
_PDV_HEADER = struct.Struct(">BxLLBB")
"""P-DATA-TF type and length, PDV length, context ID, message control header (PS3.8 9.3.5, Annex E.2)."""

_ELEMENT = struct.Struct("<HHL")
"""Group, element and value length of an element in Implicit VR Little Endian (PS3.5 7.1.3)."""

_PDV_OVERHEAD = 6
"""Bytes of a PDU's variable field that are not data: PDV length, context ID, control header."""

_LARGEST_ANSWER = 1024 * 1024
"""No answer to a C-STORE is longer than this; more is not DICOM."""

WRITE_SIZE = 1024 * 1024
"""Bytes of data set in one write to the socket, about."""

_P_DATA_TF, _ASSOCIATE_AC, _ASSOCIATE_RJ, _RELEASE_RQ, _RELEASE_RP, _ABORT = 4, 2, 3, 5, 6, 7


class StoreAssociation:
    """An association over which instances are stored one after the other.

    Parameters
    ----------
    peer : whom to call.
    proposed : (SOP class, transfer syntax) for each presentation context, at most 128.

    Attributes
    ----------
    accepted : context ID for each accepted (SOP class, transfer syntax).
    usable : False once a message was sent in part: only an abort can follow.
    round_trip : seconds from the association request to its answer: a round trip and a little work.

    Raises
    ------
    PeerError
        No association.
    """

    def __init__(self, peer: Peer, proposed: Sequence[tuple[str, str]]) -> None:
        """Connect and negotiate."""
        self.peer = peer
        self.accepted: dict[tuple[str, str], int] = {}
        self.usable = True
        self._message_id = 0
        self._buffer = bytearray()
        self._socket = peer.connect()
        try:
            self._socket.settimeout(peer.timeouts.association)
            started = time.monotonic()
            self._send(_request(peer, proposed))
            kind, content = self._receive()
            self.round_trip = time.monotonic() - started
            self._take_answer(kind, content, proposed)
            self._socket.settimeout(peer.timeouts.response)
        except BaseException:
            self._socket.close()
            raise

    def _take_answer(self, kind: int, content: bytes, proposed: Sequence[tuple[str, str]]) -> None:
        if kind == _ASSOCIATE_RJ:
            refused = A_ASSOCIATE_RJ()
            refused.decode(content)
            raise rejection(self.peer, refused.to_primitive())
        if kind != _ASSOCIATE_AC:
            raise LostError(
                f"{self.peer}: the peer answered the association request with PDU type {kind}", "see its log"
            )
        accept = A_ASSOCIATE_AC()
        accept.decode(content)
        answer = accept.to_primitive()
        for context in answer.presentation_context_definition_results_list:
            if context.result == 0x00 and context.context_id is not None:
                self.accepted[proposed[(context.context_id - 1) // 2]] = context.context_id
        # 0 means no limit (PS3.8 D.1); a PDU of our own choice is as good.
        self._piece = piece_size(answer.maximum_length_received or MAX_PDU)

    def store(
        self, sop_class: str, sop_instance: str, transfer_syntax: str, data: IO[bytes], length: int
    ) -> tuple[int, str | None]:
        """Send one instance; give status and *Error Comment* of the answer.

        Parameters
        ----------
        data : the encoded data set, from its start.
        length : its length in bytes.

        Raises
        ------
        KeyError
            No accepted context for this SOP class and transfer syntax.
        OSError
            ``data`` cannot be read; see ``usable``.
        PeerError
            The association is lost; whether the peer stored the instance is unknown.
        """
        context = self.accepted[sop_class, transfer_syntax]
        self._message_id = self._message_id % 65535 + 1
        piece = self._piece
        pending = self._command(sop_class, sop_instance, context)
        sent = 0
        # A deflated data set may have an odd length, a fragment may not (PS3.5 A.5, PS3.8 E.1): a null byte fills it.
        whole = length + length % 2
        while sent < whole:
            batch = min(whole - sent, max(piece, WRITE_SIZE // piece * piece))
            last = sent + batch == whole
            self._fill(pending, data, batch, context, last=last, padding=whole - length if last else 0)
            self.usable = False
            self._send(self._buffer)
            pending = b""
            sent += batch
        self.usable = True
        return self._answer()

    def _command(self, sop_class: str, sop_instance: str, context: int) -> bytes:
        """Encode the C-STORE-RQ command set as P-DATA-TF PDUs (PS3.7 9.3.1.1)."""
        command = command_set(sop_class, sop_instance, self._message_id)
        pdus = []
        piece = self._piece
        for start in range(0, len(command), piece):
            part = command[start : start + piece]
            control = 0x03 if start + piece >= len(command) else 0x01
            pdus.append(_PDV_HEADER.pack(_P_DATA_TF, len(part) + 6, len(part) + 2, context, control) + part)
        return b"".join(pdus)

    def _fill(self, before: bytes, data: IO[bytes], count: int, context: int, *, last: bool, padding: int) -> None:
        """Put ``before`` and ``count`` bytes, cut into PDUs, into the buffer; the last ``padding`` ones are null."""
        piece = self._piece
        pieces = -(-count // piece)
        total = len(before) + pieces * _PDV_HEADER.size + count
        if len(self._buffer) != total:
            self._buffer = bytearray(total)
        self._buffer[: len(before)] = before
        position = len(before)
        with memoryview(self._buffer) as view:
            for number in range(pieces):
                part = min(piece, count - number * piece)
                control = 0x02 if last and number == pieces - 1 else 0x00
                _PDV_HEADER.pack_into(self._buffer, position, _P_DATA_TF, part + 6, part + 2, context, control)
                position += _PDV_HEADER.size
                empty = padding if number == pieces - 1 else 0
                read_into(data, view[position : position + part - empty])
                view[position + part - empty : position + part] = bytes(empty)
                position += part

    def _answer(self) -> tuple[int, str | None]:
        """Read P-DATA-TF PDUs until the C-STORE-RSP command set is complete."""
        command = BytesIO()
        while True:
            kind, content = self._receive()
            if kind != _P_DATA_TF:
                raise LostError(
                    f"{self.peer}: {_ENDINGS.get(kind, f'sent PDU type {kind} instead of an answer')}", "see its log"
                )
            position = _PDU_HEADER.size
            while position + _PDV_OVERHEAD <= len(content):
                (size,) = struct.unpack_from(">L", content, position)
                control = content[position + 5]
                if control & 1:
                    command.write(content[position + 6 : position + 4 + size])
                    if control & 2:
                        answer = decode(command, True, True)
                        if answer.get("CommandField") != 0x8001 or "Status" not in answer:
                            raise LostError(
                                f"{self.peer}: sent something that is no answer to a C-STORE", "see its log"
                            )
                        return int(answer.Status), answer.get("ErrorComment")
                position += 4 + size

    def release(self) -> None:
        """End the association in good order; never raises."""
        try:
            release = A_RELEASE_RQ()
            release.from_primitive(A_RELEASE())
            self._socket.settimeout(min(5.0, self.peer.timeouts.response))
            self._send(release.encode())
            self._receive()
        except PeerError:
            pass
        finally:
            self._socket.close()

    def abort(self) -> None:
        """End the association at once (A-ABORT); never raises."""
        try:
            primitive = A_ABORT()
            primitive.abort_source = 0x00
            abort = A_ABORT_RQ()
            abort.from_primitive(primitive)
            self._socket.settimeout(1.0)
            self._send(abort.encode())
        except PeerError:
            pass
        finally:
            self._socket.close()

    def interrupt(self) -> None:
        """Wake whoever waits on this association, from another thread: their call raises LostError."""
        with contextlib.suppress(OSError):
            # On the plain socket: an SSL shutdown from here would race with the reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._explain(error) from error

    def _receive(self) -> tuple[int, bytes]:
        """Read one PDU; give its type and all its bytes."""
        head = self._exactly(_PDU_HEADER.size)
        kind, length = _PDU_HEADER.unpack(head)
        if length > _LARGEST_ANSWER:
            raise LostError(f"{self.peer}: sent something that is not DICOM", "is that a DICOM port?")
        return kind, bytes(head + self._exactly(length))

    def _exactly(self, count: int) -> bytearray:
        content = bytearray(count)
        done = 0
        with memoryview(content) as view:
            while done < count:
                try:
                    got = self._socket.recv_into(view[done:])
                except OSError as error:
                    raise self._explain(error) from error
                if not got:
                    raise LostError(
                        f"{self.peer}: the peer closed the connection",
                        "see its log" if self.peer.tls is not None else "see its log; does it want TLS?",
                    )
                done += got
        return content

    def _explain(self, error: OSError) -> PeerError:
        if isinstance(error, TimeoutError):
            return TimedOutError(
                f"{self.peer}: no answer within {self._socket.gettimeout():g} s", "is the peer overloaded?"
            )
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return tls_failure(self.peer, error)
        return LostError(f"{self.peer}: the connection broke: {error.strerror or error}", "see the peer's log")


_ENDINGS = {
    _RELEASE_RQ: "the peer released the association",
    _RELEASE_RP: "the peer released the association",
    _ABORT: "the peer aborted the association",
}


def command_set(sop_class: str, sop_instance: str, message_id: int) -> bytes:
    """Encode the command set of a C-STORE-RQ: Implicit VR Little Endian (PS3.7 6.3.1, 9.3.1.1)."""
    elements = (
        (0x0002, _uid(sop_class)),  # Affected SOP Class UID
        (0x0100, b"\x01\x00"),  # Command Field: C-STORE-RQ
        (0x0110, message_id.to_bytes(2, "little")),  # Message ID
        (0x0700, b"\x02\x00"),  # Priority: low
        (0x0800, b"\x01\x00"),  # Command Data Set Type: there is one
        (0x1000, _uid(sop_instance)),  # Affected SOP Instance UID
    )
    body = b"".join(_ELEMENT.pack(0x0000, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0x0000, 0x0000, 4) + len(body).to_bytes(4, "little") + body


def _uid(text: str) -> bytes:
    """Encode a UID at even length (PS3.5 9.1)."""
    value = text.encode("ascii")
    return value + b"\0" * (len(value) % 2)


def piece_size(max_pdu: int) -> int:
    """Give the most bytes of data that fit into a PDU; an even number, as fragments must be (PS3.8 E.1)."""
    return (max_pdu - _PDV_OVERHEAD) // 2 * 2


def _request(peer: Peer, proposed: Sequence[tuple[str, str]]) -> bytes:
    """Encode the A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(APPLICATION_CONTEXT_NAME)
    primitive.calling_ae_title = peer.calling_aet
    primitive.called_ae_title = peer.aet
    nowhere = AddressInformation("127.0.0.1", peer.port)
    primitive.calling_presentation_address = nowhere
    primitive.called_presentation_address = nowhere
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in proposed]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length = MaximumLengthNotification()
    length.maximum_length_received = MAX_PDU
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
    primitive.user_information = [length, implementation, version]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())

"""What the fast sender writes, read by pynetdicom."""

from __future__ import annotations

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from orthweb.dicom.upper_layer import WRITE_SIZE, StoreAssociation, command_set, piece_size

SOP_CLASS, SOP_INSTANCE, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.45", "1.2.840.10008.1.2.1"


class Recorded(StoreAssociation):
    """Keeps what would go to the network; is answered with success."""

    def __init__(self, max_pdu: int) -> None:
        self.written = bytearray()
        self.usable = True
        self.accepted = {(SOP_CLASS, SYNTAX): 3}
        self._piece = piece_size(max_pdu)
        self._message_id = 0
        self._buffer = bytearray()

    def _send(self, data: bytes | bytearray) -> None:
        self.written += data

    def _answer(self) -> tuple[int, str | None]:
        return 0, None


def test_command_set_when_compared_with_pynetdicoms_then_same_bytes() -> None:
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = SOP_CLASS
    primitive.AffectedSOPInstanceUID = SOP_INSTANCE
    primitive.Priority = 2
    primitive.DataSet = BytesIO(b"\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    assert command_set(SOP_CLASS, SOP_INSTANCE, 7) == encode(message.command_set, True, True)


@pytest.mark.parametrize("max_pdu", [128, 4096, 4097, 16384, 131072])
@pytest.mark.parametrize("length", [1, 121, 122, 123, 16378, 100_000, WRITE_SIZE, WRITE_SIZE + 1, 3 * WRITE_SIZE + 17])
def test_store_when_any_length_and_pdu_size_then_pynetdicom_reads_it_with_an_even_length(
    max_pdu: int, length: int
) -> None:
    if length // max_pdu > 2000:
        length = 2000 * max_pdu + 1
    content = bytes(number * 31 % 251 for number in range(1000)) * (length // 1000 + 1)
    content = content[:length]
    association = Recorded(max_pdu)
    assert association.store(SOP_CLASS, SOP_INSTANCE, SYNTAX, BytesIO(content), length) == (0, None)
    assert association.usable
    message, position, complete = DIMSEMessage(), 0, False
    while position < len(association.written):
        assert not complete
        size = int.from_bytes(association.written[position + 2 : position + 6], "big")
        assert size <= max_pdu
        pdu = P_DATA_TF()
        pdu.decode(bytes(association.written[position : position + 6 + size]))
        complete = message.decode_msg(pdu.to_primitive())
        position += 6 + size
    assert complete
    assert message.context_id == 3
    assert message.data_set is not None
    assert message.data_set.getvalue() == content + bytes(length % 2)
    assert message.command_set.AffectedSOPInstanceUID == SOP_INSTANCE


def test_store_when_file_ends_too_early_then_nothing_or_an_unusable_association() -> None:
    association = Recorded(16384)
    with pytest.raises(OSError, match="shorter"):
        association.store(SOP_CLASS, SOP_INSTANCE, SYNTAX, BytesIO(b"short"), 100)
    assert not association.written
    assert association.usable
    with pytest.raises(OSError, match="shorter"):
        association.store(SOP_CLASS, SOP_INSTANCE, SYNTAX, BytesIO(bytes(WRITE_SIZE + 5)), 2 * WRITE_SIZE)
    assert association.written
    assert not association.usable

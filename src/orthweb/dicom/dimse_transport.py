"""Sending over DICOM associations: which presentation contexts, which encoding, what an answer means."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from io import BytesIO

from pydicom import dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from orthweb.dicom.instance import UNREADABLE, Instance
from orthweb.dicom.integrity import whole
from orthweb.dicom.peer import Peer
from orthweb.dicom.status import category, describe
from orthweb.dicom.transport import Answer, Group
from orthweb.dicom.upper_layer import StoreAssociation

MAX_CONTEXTS = 128
"""PS3.8 9.3.2.2: context IDs are the odd numbers from 1 to 255."""

_CONVERTIBLE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
"""Encodings that can be turned into each other without touching pixels."""

_FALLBACKS = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


class DimseTransport:
    """C-STORE to a peer."""

    batch_bytes = 1

    def __init__(self, peer: Peer) -> None:
        """Keep the peer; connects nowhere yet."""
        self.peer = peer
        self.destination = f"{peer}"

    def groups(self, instances: Sequence[Instance]) -> list[Group]:
        """Give as few groups as fit into 128 presentation contexts each.

        Each SOP class and transfer syntax of the files gets a context of its own, so that the peer
        accepts exactly what the files are; uncompressed ones also bring Explicit and Implicit VR Little Endian, the
        default that every peer must accept (PS3.5 10.1).
        """
        by_pair: dict[tuple[str, str], list[Instance]] = defaultdict(list)
        for instance in instances:
            by_pair[instance.sop_class, instance.transfer_syntax].append(instance)
        groups: list[Group] = []
        contexts: dict[tuple[str, str], None] = {}
        members: list[Instance] = []
        for pair in sorted(by_pair):
            wanted = dict.fromkeys(_contexts(*pair))
            if len(contexts | wanted) > MAX_CONTEXTS:
                groups.append(Group(tuple(members), tuple(contexts)))
                contexts, members = {}, []
            contexts |= wanted
            members += by_pair[pair]
        if members:
            groups.append(Group(tuple(members), tuple(contexts)))
        return groups

    def open(self, group: Group) -> DimseChannel:
        """Open an association that proposes the group's contexts."""
        return DimseChannel(self.peer, StoreAssociation(self.peer, group.contexts))


def _contexts(sop_class: str, transfer_syntax: str) -> Iterator[tuple[str, str]]:
    yield sop_class, transfer_syntax
    if transfer_syntax in _CONVERTIBLE:
        for fallback in _FALLBACKS:
            yield sop_class, str(fallback)


class DimseChannel:
    """One association of the sender."""

    def __init__(self, peer: Peer, association: StoreAssociation) -> None:
        """Take over an open association."""
        self._peer = peer
        self._association = association
        self.round_trip = association.round_trip

    @property
    def usable(self) -> bool:
        """Whether another instance can be sent."""
        return self._association.usable

    def send(self, batch: Sequence[Instance]) -> Iterator[Answer]:
        """Send instances one after the other."""
        for instance in batch:
            try:
                yield self._store(instance)
            except OSError as error:
                yield Answer(instance, "unreadable", reason=error.strerror or str(error))
                if not self.usable:
                    return

    def _store(self, instance: Instance) -> Answer:
        association = self._association
        exact = (instance.sop_class, instance.transfer_syntax)
        if exact in association.accepted:
            with whole(instance) as file:
                status, comment = association.store(
                    instance.sop_class, instance.sop_instance, instance.transfer_syntax, file, instance.length
                )
        else:
            fallback = next((s for s in _FALLBACKS if (instance.sop_class, str(s)) in association.accepted), None)
            if fallback is None or instance.transfer_syntax not in _CONVERTIBLE:
                return Answer(instance, "refused", 0x0122, _not_accepted(instance))
            content = _convert(instance, fallback)
            status, comment = association.store(
                instance.sop_class, instance.sop_instance, str(fallback), BytesIO(content), len(content)
            )
        kind = category(status)
        if kind in ("success", "warning"):
            return Answer(instance, "stored", status, describe(status, comment) if kind == "warning" else None)
        busy = 0xA700 <= status <= 0xA7FF
        return Answer(instance, "busy" if busy else "refused", status, describe(status, comment))

    def close(self) -> None:
        """Release the association."""
        self._association.release()

    def abort(self) -> None:
        """Abort the association."""
        self._association.abort()

    def interrupt(self) -> None:
        """Make a waiting thread stop waiting."""
        self._association.interrupt()


def _not_accepted(instance: Instance) -> str:
    return f"the peer does not accept {UID(instance.sop_class).name} in {UID(instance.transfer_syntax).name}"


def _convert(instance: Instance, syntax: UID) -> bytes:
    """Encode an uncompressed data set in another uncompressed transfer syntax.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with instance.source.open() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = dcmread(BytesIO(file.read()), force=True)
            content = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian)
        except UNREADABLE as error:
            raise OSError(f"cannot be re-encoded for the peer as {syntax.name}: {type(error).__name__}") from error
    if not content:
        raise OSError(f"cannot be re-encoded for the peer as {syntax.name}")
    return content

"""Is a data set whole? Found out before it is sent, by walking its top-level elements (PS3.5 7.1).

A peer that gets a truncated data set waits for the missing bytes, for half a minute or more, and then drops the
association with everything on it. The walk reads element headers only; values are skipped by their length.
It judges structure, never content: what looks odd but hangs together is the archive's business.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from orthweb.dicom.instance import ChangedError, Instance, read_into, skip

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""VRs with a 32-bit length after two reserved bytes (PS3.5 7.1.2)."""

_DEEPEST = 64

IN_MEMORY = 4 * 1024 * 1024
"""Data sets up to this many bytes are read into memory before they are sent."""

TRUNCATED = "truncated: an element goes on after the end of the file"
GARBLED = "damaged: its data set does not follow its transfer syntax"


class _DamageError(Exception):
    """The data set does not hang together."""


class _Walker:
    """Moves through a data set, knowing how much of it is left."""

    def __init__(self, file: IO[bytes], length: int, big_endian: bool) -> None:
        self._file = file
        self._left = length
        order = ">" if big_endian else "<"
        self._tag = struct.Struct(f"{order}HH")
        self._short = struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}L")
        self._header = bytearray(8)
        self._extra = bytearray(4)

    def elements(self, depth: int, implicit: bool, *, stop: int | None = None) -> None:
        """Walk elements until nothing is left, or the delimiter ``stop`` comes."""
        while self._left:
            tag = self._read_tag_and_four()
            if tag in (_ITEM_END, _SEQUENCE_END):
                if tag != stop:
                    raise _DamageError(GARBLED)
                return
            vr, length = self._length(implicit)
            if length == _UNDEFINED:
                # UN of undefined length is implicit inside (PS3.5 6.2.2).
                self._items(depth + 1, implicit or vr == b"UN", encapsulated=tag == 0x7FE00010)
            else:
                self._skip(length)
        if stop is not None:
            raise _DamageError(TRUNCATED)

    def _items(self, depth: int, implicit: bool, *, encapsulated: bool) -> None:
        if depth > _DEEPEST:
            raise _DamageError(GARBLED)
        while True:
            tag = self._read_tag_and_four()
            (length,) = self._long.unpack_from(self._header, 4)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise _DamageError(GARBLED)
            if length != _UNDEFINED:
                self._skip(length)
            elif encapsulated:
                raise _DamageError(GARBLED)
            else:
                self.elements(depth, implicit, stop=_ITEM_END)

    def _length(self, implicit: bool) -> tuple[bytes, int]:
        if implicit:
            return b"", int(self._long.unpack_from(self._header, 4)[0])
        vr = bytes(self._header[4:6])
        if vr in _LONG_VRS:
            self._take(self._extra)
            return vr, int(self._long.unpack(self._extra)[0])
        if not (vr.isalpha() and vr.isupper()):
            raise _DamageError(GARBLED)
        return vr, int(self._short.unpack_from(self._header, 6)[0])

    def _read_tag_and_four(self) -> int:
        self._take(self._header)
        group, element = self._tag.unpack_from(self._header)
        return int(group << 16 | element)

    def _take(self, buffer: bytearray) -> None:
        if self._left < len(buffer):
            raise _DamageError(TRUNCATED)
        read_into(self._file, memoryview(buffer))
        self._left -= len(buffer)

    def _skip(self, length: int) -> None:
        if length > self._left:
            raise _DamageError(TRUNCATED)
        skip(self._file, length)
        self._left -= length


def damage(file: IO[bytes], length: int, transfer_syntax: str) -> str | None:
    """Say what is wrong with a data set, or None.

    Parameters
    ----------
    file : at the start of the data set; moved.
    length : of the data set, in bytes.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return None
    implicit = transfer_syntax == ImplicitVRLittleEndian
    walker = _Walker(file, length, transfer_syntax == ExplicitVRBigEndian)
    try:
        walker.elements(0, implicit)
    except _DamageError as error:
        return str(error)
    except ChangedError:
        return TRUNCATED
    return None


class DamagedError(OSError):
    """A data set does not hang together; the text says how."""


@contextmanager
def whole(instance: Instance) -> Iterator[IO[bytes]]:
    """Open an instance at the start of its data set, after making sure that it is whole.

    Small files are read once, into memory: what was judged is what is sent.

    Raises
    ------
    DamagedError
        It is truncated or garbled.
    OSError
        It cannot be read, or has changed since it was found.
    """
    with instance.source.open() as file:
        if instance.source.member is None and os.fstat(file.fileno()).st_size != instance.source.size:
            raise ChangedError("the file has changed since it was found")
        skip(file, instance.offset)
        if instance.length <= IN_MEMORY:
            content = bytearray(instance.length)
            read_into(file, memoryview(content))
            in_memory = BytesIO(content)
            _judge(in_memory, instance)
            in_memory.seek(0)
            yield in_memory
            return
        _judge(file, instance)
    with instance.source.open() as file:
        skip(file, instance.offset)
        yield file


def _judge(file: IO[bytes], instance: Instance) -> None:
    problem = damage(file, instance.length, instance.transfer_syntax)
    if problem is not None:
        raise DamagedError(problem)

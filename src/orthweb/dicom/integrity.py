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

from orthweb.dicom.instance import ChangedError, Instance, read_exactly, skip

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""VRs with a 32-bit length after two reserved bytes (PS3.5 7.1.2)."""

_DEEPEST = 64
_WINDOW = 64 * 1024

IN_MEMORY = 4 * 1024 * 1024
"""Data sets up to this many bytes are read into memory before they are sent."""

TRUNCATED = "truncated: an element goes on after the end of the file"
GARBLED = "damaged: its data set does not follow its transfer syntax"


class _DamageError(Exception):
    """The data set does not hang together."""


class _Walker:
    """Moves through a data set, knowing how much of it is left.

    ``window`` holds some of the file's bytes, ``position`` is in it or beyond its end (then they are skipped).
    """

    def __init__(self, window: bytes, file: IO[bytes] | None, length: int, big_endian: bool) -> None:
        self._window = window
        self._file = file
        self._position = 0
        self._left = length
        order = ">" if big_endian else "<"
        self._tag = struct.Struct(f"{order}HH")
        self._short = struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}L")

    def elements(self, depth: int, implicit: bool, *, stop: int | None = None) -> None:
        """Walk elements until nothing is left, or the delimiter ``stop`` comes."""
        while self._left:
            tag, at = self._next()
            if tag in (_ITEM_END, _SEQUENCE_END):
                if tag != stop:
                    raise _DamageError(GARBLED)
                return
            vr, length = self._length(at, implicit)
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
            tag, at = self._next()
            (length,) = self._long.unpack_from(self._window, at + 4)
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

    def _length(self, at: int, implicit: bool) -> tuple[bytes, int]:
        """Read VR and value length of the element header at ``at``, whose first eight bytes are there."""
        if implicit:
            return b"", int(self._long.unpack_from(self._window, at + 4)[0])
        vr = self._window[at + 4 : at + 6]
        if vr in _LONG_VRS:
            return vr, int(self._long.unpack_from(self._window, self._take(4))[0])
        if not (vr.isalpha() and vr.isupper()):
            raise _DamageError(GARBLED)
        return vr, int(self._short.unpack_from(self._window, at + 6)[0])

    def _next(self) -> tuple[int, int]:
        """Take eight bytes: a tag and four more; give the tag and where they are."""
        at = self._take(8)
        group, element = self._tag.unpack_from(self._window, at)
        return int(group << 16 | element), at

    def _take(self, count: int) -> int:
        """Move over ``count`` bytes; give where they are in the window."""
        if self._left < count:
            raise _DamageError(TRUNCATED)
        if self._position + count > len(self._window):
            self._refill(count)
        at = self._position
        self._position += count
        self._left -= count
        return at

    def _refill(self, count: int) -> None:
        rest = self._window[self._position :]
        if self._file is None:
            raise _DamageError(TRUNCATED)
        skip(self._file, max(0, self._position - len(self._window)))
        while len(rest) < count:
            more = self._file.read(_WINDOW)
            if not more:
                raise _DamageError(TRUNCATED)
            rest += more
        self._window, self._position = rest, 0

    def _skip(self, length: int) -> None:
        if length > self._left:
            raise _DamageError(TRUNCATED)
        self._position += length
        self._left -= length


def damage(content: bytes | IO[bytes], length: int, transfer_syntax: str) -> str | None:
    """Say what is wrong with a data set, or None.

    Parameters
    ----------
    content : the data set, or a file at its start, which is moved.
    length : of the data set, in bytes.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return None
    window, file = (content, None) if isinstance(content, bytes) else (b"", content)
    implicit = transfer_syntax == ImplicitVRLittleEndian
    walker = _Walker(window, file, length, transfer_syntax == ExplicitVRBigEndian)
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
            content = read_exactly(file, instance.length)
            _judge(content, instance)
            yield BytesIO(content)
            return
        _judge(file, instance)
    with instance.source.open() as file:
        skip(file, instance.offset)
        yield file


def _judge(content: bytes | IO[bytes], instance: Instance) -> None:
    problem = damage(content, instance.length, instance.transfer_syntax)
    if problem is not None:
        raise DamagedError(problem)

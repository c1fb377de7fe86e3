"""One DICOM instance to be sent: where its bytes lie and what they are, without its pixels in memory."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydicom.errors import InvalidDicomError

UNREADABLE = (InvalidDicomError, ValueError, KeyError, AttributeError, TypeError, EOFError, NotImplementedError)
"""What pydicom raises at data that it cannot read."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a member of a zip file.

    Parameters
    ----------
    path : the file.
    member : name inside the zip file, None for a plain file.
    size : bytes of the (uncompressed) content.
    modified : modification time of the file, in nanoseconds.
    """

    path: Path
    member: str | None
    size: int
    modified: int

    def __str__(self) -> str:
        """Name the source as messages and the journal do."""
        return f"{self.path}!{self.member}" if self.member is not None else str(self.path)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the content for reading from its start.

        Raises
        ------
        OSError
            The file has gone, cannot be read, or is a damaged zip file.
        """
        if self.member is None:
            with self.path.open("rb", buffering=0) as file:
                yield file
            return
        try:
            with _archive(self.path, self.modified).open(self.member) as file:
                yield file
        except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
            raise OSError(f"damaged zip file: {error}") from error


_opened = threading.local()


def _archive(path: Path, modified: int) -> zipfile.ZipFile:
    """Open a zip file once in each thread: reading its directory for every member would be quadratic."""
    archive: zipfile.ZipFile | None = getattr(_opened, "archive", None)
    if archive is None or _opened.key != (path, modified):
        if archive is not None:
            archive.close()
        _opened.archive = None
        archive = zipfile.ZipFile(path)
        _opened.archive, _opened.key = archive, (path, modified)
    return archive


@dataclass(frozen=True, slots=True)
class Instance:
    """A DICOM instance and how it is encoded.

    Parameters
    ----------
    sop_class, sop_instance, transfer_syntax : UIDs.
    offset : where the data set starts, after the File Meta Information, in bytes.
    complete : whether the source is a DICOM file (PS3.10) with preamble and File Meta Information.
    """

    source: Source
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    offset: int
    complete: bool = True

    @property
    def length(self) -> int:
        """Bytes of the data set."""
        return self.source.size - self.offset


class ChangedError(OSError):
    """The file is shorter or longer than when it was found."""


def read_into(file: IO[bytes], view: memoryview) -> None:
    """Fill ``view`` from ``file``.

    Raises
    ------
    ChangedError
        The file ends too early.
    """
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise ChangedError("the file has become shorter since it was found")
        done += got


def read_exactly(file: IO[bytes], count: int) -> bytes:
    """Read ``count`` bytes.

    Raises
    ------
    ChangedError
        The file ends too early.
    """
    content = file.read(count)
    while len(content) < count:
        more = file.read(count - len(content))
        if not more:
            raise ChangedError("the file has become shorter since it was found")
        content += more
    return content


def skip(file: IO[bytes], count: int) -> None:
    """Move forward by ``count`` bytes, also in a stream that cannot seek."""
    if file.seekable():
        file.seek(count, io.SEEK_CUR)
    else:
        read_exactly(file, count)

"""What index and store say of one file: Orthanc calls it an attachment of a resource.

Its name is a random UUID and its content never changes, so that a copy with the right bytes stays right.
Source: Orthanc's ``OrthancPluginContentType`` and the tables of its PostgreSQL plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from orthweb.errors import OrthwebError

DICOM: Final = 1
DICOM_AS_JSON: Final = 2
DICOM_UNTIL_PIXEL_DATA: Final = 3
OTHER: Final = 0
"""Attachments of people's own (from 1024 on): Orthanc tells a store their type as unknown."""

UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

CHUNK: Final = 4 * 1024**2
"""Bytes that are in memory at once for each file that is read or copied."""


def content_type(file_type: int) -> int:
    """Give the type under which a store knows an attachment whose type in the index is `file_type`."""
    return file_type if file_type in (DICOM, DICOM_AS_JSON, DICOM_UNTIL_PIXEL_DATA) else OTHER


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file, as the index has it (``attachedfiles``).

    Parameters
    ----------
    uuid : its name.
    type : the type under which a store knows it (`content_type`).
    size : bytes as stored.
    md5 : of the bytes as stored, hexadecimal; empty when the index has none.
    """

    uuid: str
    type: int
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A file, as the store has it.

    Parameters
    ----------
    type : None where the store does not tell (a file system).
    size : bytes.
    modified : seconds since the epoch; None where the store does not tell (the database).
    """

    uuid: str
    type: int | None
    size: int
    modified: float | None


class StoreError(OrthwebError):
    """The store does not do what it is asked."""


class ObjectMissingError(StoreError):
    """There is no such file in the store."""


class Backend(Protocol):
    """A place for files.

    All methods but `listing` may be called from several threads at once.

    Parameters
    ----------
    place : where it is, for people: "the folder /srv/dicom".
    workers : how many files are worth copying at once.
    foreign : how many things that are not ours the last `listing` passed by.
    """

    @property
    def place(self) -> str:
        """Where it is, for people."""

    @property
    def workers(self) -> int:
        """How many files are worth copying at once."""

    @property
    def foreign(self) -> int:
        """How many things that are no file of Orthanc's the last `listing` passed by."""

    def listing(self) -> Iterator[StoredObject]:
        """Give all files in the order of their names, in constant memory; whatever else lies there is passed by."""

    def size(self, uuid: str, file_type: int) -> int | None:
        """Give the size of a file in bytes; None when there is none."""

    def read(self, uuid: str, file_type: int) -> Iterator[bytes]:
        """Read a file piece by piece.

        Raises
        ------
        ObjectMissingError : there is none.
        """

    def write(self, attachment: Attachment, source: Source) -> None:
        """Store a file, whole or not at all; on the disk, or acknowledged by the server, when this returns."""

    def remove(self, uuid: str, file_type: int) -> None:
        """Delete a file; nothing when there is none."""

    def prune(self) -> None:
        """Clear away what nobody needs once files were removed and nobody writes there."""

    def close(self) -> None:
        """Give up connections."""


@dataclass(frozen=True)
class Source:
    """The content of a file that is to be stored.

    Parameters
    ----------
    backend : where to read it; it may be read more than once.
    sha256 : of the whole content, hexadecimal.
    size : bytes.
    content : the content itself where it is small; None: to be read from `backend`.
    """

    backend: Backend
    attachment: Attachment
    sha256: str
    size: int
    content: bytes | None

    def chunks(self) -> Iterator[bytes]:
        """Give the content piece by piece."""
        if self.content is not None:
            yield self.content
        else:
            yield from self.backend.read(self.attachment.uuid, self.attachment.type)

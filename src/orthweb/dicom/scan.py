"""Finding DICOM in files, folders and zip files, by content.

Names mean nothing to DICOM; many exports have no extension at all. A file counts as DICOM when it has
the preamble and prefix of PS3.10 7.1, or, without them, reads as a data set with SOP Class and SOP
Instance UID. DICOMDIR files (Media Storage Directory) only point at others and are skipped.
"""

from __future__ import annotations

import os
import stat
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from orthweb.dicom.instance import UNREADABLE, Instance, Source
from orthweb.errors import UsageError

HEAD = 16 * 1024
"""Bytes at the start of a file in which its File Meta Information, or enough of its data set, must lie."""

MAX_MEMBERS = 1_000_000
"""Members of one zip file."""

MAX_MEMBER_SIZE = 16 * 1024**3
"""Uncompressed bytes of one member of a zip file; no DICOM element is longer than 4 GB."""

MAX_RATIO = 200
"""Uncompressed to compressed bytes of a zip file's member above which it is taken for a bomb, from 64 MB on."""

_BOMB_FROM = 64 * 1024**2
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


class Kind(StrEnum):
    """Why something found is not to be sent."""

    NOT_DICOM = "not DICOM"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    DIRECTORY = "DICOMDIR"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something found that is not sent.

    Parameters
    ----------
    name : the file, and the member if it lies in a zip file.
    reason : one line, without anything from the data set.
    """

    name: str
    kind: Kind
    reason: str


def scan(paths: Sequence[Path]) -> Iterator[Instance | Skipped]:
    """Walk files, folders and zip files in a stable order.

    Symbolic links to folders are not followed inside a folder, so that loops cannot happen; links to
    files are. Each file is found once, even when two arguments lead to it.

    Raises
    ------
    UsageError
        One of ``paths`` does not exist.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder", "check the path")
    seen: set[tuple[int, int]] = set()
    for path in paths:
        yield from _walk(path, seen)


def _walk(path: Path, seen: set[tuple[int, int]]) -> Iterator[Instance | Skipped]:
    try:
        status = path.stat()
    except OSError as error:
        yield Skipped(str(path), Kind.UNREADABLE, error.strerror or str(error))
        return
    if stat.S_ISDIR(status.st_mode):
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Skipped(str(path), Kind.UNREADABLE, error.strerror or str(error))
            return
        for entry in entries:
            if entry.is_symlink() and entry.is_dir():
                continue
            yield from _walk(path / entry.name, seen)
        return
    if not stat.S_ISREG(status.st_mode):
        # A pipe or a device would block, or never end.
        yield Skipped(str(path), Kind.NOT_DICOM, "not a regular file")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return
    seen.add(identity)
    yield from _file(path, Source(path, None, status.st_size, status.st_mtime_ns))


def _file(path: Path, source: Source) -> Iterator[Instance | Skipped]:
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD)
    except OSError as error:
        yield Skipped(str(source), Kind.UNREADABLE, error.strerror or str(error))
        return
    if head.startswith(_ZIP_MAGIC):
        yield from _zip(path, source)
    else:
        yield identify(source, head)


def _zip(path: Path, source: Source) -> Iterator[Instance | Skipped]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                yield Skipped(str(path), Kind.UNREADABLE, f"a zip file with more than {MAX_MEMBERS} members")
                return
            for member in members:
                if not member.is_dir():
                    yield _member(archive, member, replace(source, member=member.filename, size=member.file_size))
    except (zipfile.BadZipFile, OSError) as error:
        yield Skipped(str(path), Kind.UNREADABLE, f"damaged zip file: {error}")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: Source) -> Instance | Skipped:
    if member.flag_bits & 0x1:
        return Skipped(str(source), Kind.UNREADABLE, "encrypted in its zip file: unpack it first")
    bomb = member.file_size > _BOMB_FROM and member.file_size > MAX_RATIO * max(1, member.compress_size)
    if member.file_size > MAX_MEMBER_SIZE or bomb:
        return Skipped(str(source), Kind.UNREADABLE, "looks like a zip bomb: unpacks to far more than it should")
    try:
        with archive.open(member) as file:
            head = file.read(HEAD)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return Skipped(str(source), Kind.UNREADABLE, f"damaged zip file: {error}")
    if head.startswith(_ZIP_MAGIC):
        return Skipped(str(source), Kind.NOT_DICOM, "a zip file inside a zip file: unpack it first")
    return identify(source, head)


def identify(source: Source, head: bytes) -> Instance | Skipped:
    """Decide from its first bytes whether a file is DICOM, and what it holds.

    Parameters
    ----------
    head : the file's first :data:`HEAD` bytes, or all of them if it is shorter.
    """
    if not head:
        return Skipped(str(source), Kind.DAMAGED if _named_dicom(source) else Kind.NOT_DICOM, "empty file")
    with warnings.catch_warnings():
        # pydicom warns about odd values, with the value: it could be patient data.
        warnings.simplefilter("ignore")
        try:
            found = _with_meta(source, head) if head[128:132] == b"DICM" else _without_preamble(source, head)
        except (*UNREADABLE, OSError):
            found = None
    if found is None:
        if head[128:132] == b"DICM":
            return Skipped(str(source), Kind.DAMAGED, "its File Meta Information cannot be read")
        return Skipped(str(source), Kind.NOT_DICOM, "no DICOM prefix, and it does not read as a data set")
    if found.sop_class == MediaStorageDirectoryStorage:
        return Skipped(str(source), Kind.DIRECTORY, "only points at other files")
    if not (UID(found.sop_instance).is_valid and UID(found.sop_class).is_valid):
        return Skipped(str(source), Kind.DAMAGED, "its SOP Class or SOP Instance UID is not valid")
    if found.length < 8:
        return Skipped(str(source), Kind.DAMAGED, "nothing follows its File Meta Information")
    return found


def _named_dicom(source: Source) -> bool:
    return (source.member or source.path.name).lower().endswith((".dcm", ".dicom"))


def _with_meta(source: Source, head: bytes) -> Instance | None:
    file = BytesIO(head)
    read_preamble(file, force=False)
    meta = _read_file_meta_info(file)
    return _described(source, head, file.tell(), meta, complete=True)


def _described(source: Source, head: bytes, offset: int, meta: Dataset, *, complete: bool) -> Instance:
    """Take the UIDs from the File Meta Information, or from the data set where it lacks them."""
    syntax = UID(meta.TransferSyntaxUID)
    sop_class, sop_instance = meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID")
    if not sop_class or not sop_instance:
        found = read_dataset(
            BytesIO(head[offset:]),
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > 0x00080018,
        )
        sop_class, sop_instance = found.SOPClassUID, found.SOPInstanceUID
    return Instance(source, str(sop_class), str(sop_instance), str(syntax), offset, complete)


def _without_preamble(source: Source, head: bytes) -> Instance | None:
    """Read a data set that lacks the preamble, as old software writes it."""
    if head[:2] == b"\x02\x00":
        file = BytesIO(head)
        meta = _read_file_meta_info(file)
        return _described(source, head, file.tell(), meta, complete=False)
    # Group 0008 first, in either byte order: anything else is not worth a parse.
    if head[:2] not in (b"\x08\x00", b"\x00\x08"):
        return None
    dataset = dcmread(
        BytesIO(head), force=True, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"]
    )
    if "SOPClassUID" not in dataset or "SOPInstanceUID" not in dataset:
        return None
    implicit, little = dataset.original_encoding
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    return Instance(source, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), str(syntax), 0, complete=False)

"""The store in a folder: Orthanc's own layout, ``ab/cd/abcd....``.

Where root calls, the folder belongs to the archive's user, who may be an intruder one day. So no link in it is ever
followed: folders and files are opened one by one, relative to the folder above.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from orthweb.store.attachment import CHUNK, UUID, Attachment, ObjectMissingError, Source, StoredObject, StoreError
from orthweb.targets.host.store import HARMLESS, MARK

_HEX = re.compile("[0-9a-f]{2}")
_NOT_THERE = (FileNotFoundError, NotADirectoryError)
"""Also where something else, such as a link, is in a folder's place."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FilesystemStore:
    """Files in a folder.

    Parameters
    ----------
    folder : the store; new files and folders get its owner.
    """

    workers = 4

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.foreign = 0

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"the folder {self._folder}"

    def listing(self) -> Iterator[StoredObject]:
        """Give all files in the order of their names; two levels of names are in memory at once."""
        self.foreign = 0
        with self._opened() as top:
            for first in self._folders(top, _HEX):
                # Orthanc deletes folders that became empty.
                with contextlib.suppress(FileNotFoundError), _opened(top, first) as one:
                    for second in self._folders(one, _HEX):
                        with contextlib.suppress(FileNotFoundError), _opened(one, second) as two:
                            yield from self._files(two, first + second)

    def _folders(self, descriptor: int, names: re.Pattern[str]) -> list[str]:
        found = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if names.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
                elif entry.name not in HARMLESS | {MARK}:
                    self.foreign += 1
        return sorted(found)

    def _files(self, descriptor: int, prefix: str) -> list[StoredObject]:
        found = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    told = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # deleted since
                if UUID.fullmatch(entry.name) and entry.name.startswith(prefix) and stat.S_ISREG(told.st_mode):
                    found.append(StoredObject(entry.name, None, told.st_size, told.st_mtime))
                else:
                    self.foreign += 1
        return sorted(found, key=lambda item: item.uuid)

    def size(self, uuid: str, file_type: int) -> int | None:
        """Give the size of a file in bytes; None when there is none."""
        del file_type
        try:
            with self._beside(uuid) as folder:
                told = os.stat(uuid, dir_fd=folder, follow_symlinks=False)
        except _NOT_THERE:
            return None
        return told.st_size if stat.S_ISREG(told.st_mode) else None

    def read(self, uuid: str, file_type: int) -> Iterator[bytes]:
        """Read a file piece by piece.

        Raises
        ------
        ObjectMissingError : there is none.
        """
        del file_type
        try:
            with self._beside(uuid) as folder:
                descriptor = os.open(uuid, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except _NOT_THERE as error:
            raise ObjectMissingError(f"{uuid}: is not in {self.place}") from error
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise StoreError(f"{uuid}: is no file in {self.place}")
            while chunk := stream.read(CHUNK):
                yield chunk

    def write(self, attachment: Attachment, source: Source) -> None:
        """Store a file under a temporary name, bring it to the disk, give it its name and bring that to the disk.

        Raises
        ------
        StoreError : the disk is full, or does not work.
        """
        try:
            self._write(attachment.uuid, source)
        except OSError as error:
            raise StoreError(
                f"{self.place}: {attachment.uuid} cannot be written: {error.strerror}", "mend that, then repeat"
            ) from error

    def _write(self, uuid: str, source: Source) -> None:
        part = f".{uuid}.part"
        with self._opened() as top:
            owner = os.fstat(top)
            with _made(top, uuid[0:2], owner) as one, _made(one, uuid[2:4], owner) as two:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=two)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                try:
                    with os.fdopen(os.open(part, flags, 0o600, dir_fd=two), "wb", buffering=0) as stream:
                        for chunk in source.chunks():
                            _write(stream.fileno(), chunk)
                        _give(stream.fileno(), owner)
                        os.fsync(stream.fileno())
                    os.replace(part, uuid, src_dir_fd=two, dst_dir_fd=two)
                except BaseException:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(part, dir_fd=two)
                    raise
                os.fsync(two)

    def remove(self, uuid: str, file_type: int) -> None:
        """Delete a file. Its folder stays: Orthanc may be about to put a file into it."""
        del file_type
        with contextlib.suppress(FileNotFoundError), self._beside(uuid) as folder:
            os.unlink(uuid, dir_fd=folder)

    def prune(self) -> None:
        """Delete empty folders and what an interrupted `write` left; nobody may be writing there."""
        with self._opened() as top:
            for first in self._folders(top, _HEX):
                with _opened(top, first) as one:
                    for second in self._folders(one, _HEX):
                        with _opened(one, second) as two:
                            for name in os.listdir(two):  # noqa: PTH208 - of an open folder
                                if name.endswith(".part") and UUID.fullmatch(name[1:-5]):
                                    os.unlink(name, dir_fd=two)
                        with contextlib.suppress(OSError):
                            os.rmdir(second, dir_fd=one)
                with contextlib.suppress(OSError):
                    os.rmdir(first, dir_fd=top)

    def close(self) -> None:
        """Nothing is kept open."""

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            top = os.open(self._folder, _FOLDER)
        except OSError as error:
            raise StoreError(
                f"{self._folder}: {error.strerror}", "is the store's disk mounted, and are you the site's owner?"
            ) from error
        try:
            yield top
        finally:
            os.close(top)

    @contextlib.contextmanager
    def _beside(self, uuid: str) -> Iterator[int]:
        """Open the folder that a file is in."""
        with self._opened() as top, _opened(top, uuid[0:2]) as one, _opened(one, uuid[2:4]) as two:
            yield two


@contextlib.contextmanager
def _opened(above: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, _FOLDER, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _made(above: int, name: str, owner: os.stat_result) -> Iterator[int]:
    """Open a folder, made if it is missing."""
    try:
        os.mkdir(name, 0o700, dir_fd=above)
        made = True
    except FileExistsError:
        made = False
    with _opened(above, name) as descriptor:
        # One that an interrupted call made may still be ours alone.
        if made or os.fstat(descriptor).st_uid != owner.st_uid:
            _give(descriptor, owner)
            os.fsync(above)
        yield descriptor


def _give(descriptor: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]

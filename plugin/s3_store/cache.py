# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bounded cache of objects in a local folder: it may lose anything at any time, and never gives anything wrong.

Objects never change, so that what one process wrote is right for all: several may share the folder (each keeps what
it knows of below its own limit). A file holds the SHA-256 of its content first, verified on every read: whatever a
power cut, a full disk or a person did to it, it is dropped and read from the bucket again. Nothing raises an error.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SHARDS = 256
"""Folders that files are spread over."""

BLOCK = 4096
"""What a file takes on a disk at least, in bytes."""

SHARE = 8
"""An object that is larger than the cache's size divided by this is not kept: it would drive out too much."""

LEFT_OVER = 3600
"""Seconds after which an unfinished file belongs to a process that died."""

UNFINISHED = ".part"
DIGEST = hashlib.sha256().digest_size


class Cache:
    """Keep what was used last.

    Parameters
    ----------
    folder : made if it is missing; nobody else can read what is in it.
    size : bytes on the disk, in whole blocks.
    log : takes a line when the folder cannot be written to, and when it can again.
    """

    def __init__(self, folder: Path, size: int, log: Callable[[str], None]) -> None:
        self._folder = folder
        self._size = size
        self._log = log
        self._lock = threading.Lock()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._used = 0
        self._name = secrets.token_hex(8)  # in containers process ids are the same
        self._number = itertools.count()
        self._failing = False
        try:
            self._prepare()
        except OSError as error:
            self._fails(error)

    @property
    def used(self) -> int:
        """Bytes on the disk that this process knows of."""
        return self._used

    def get(self, key: str) -> bytes | None:
        """Give an object's content, or None if it is not here or damaged."""
        path = self._path(key)
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                digest, content = file.read(DIGEST), file.readall()
        except OSError:
            self._forget(key)
            return None
        if hashlib.sha256(content).digest() != digest:
            self.drop(key)
            return None
        self._keep(key, size)
        return content

    def put(self, key: str, content: bytes, digest: str) -> None:
        """Keep an object's content; `digest` is its SHA-256 in hexadecimal digits."""
        if DIGEST + len(content) > self._size // SHARE:
            return
        path = self._path(key)
        unfinished = path.with_name(f"{self._name}-{next(self._number)}{UNFINISHED}")
        try:
            with unfinished.open("xb", buffering=0) as file:
                _write(file.fileno(), bytes.fromhex(digest), content)
            unfinished.replace(path)
        except OSError as error:
            _unlink(unfinished)
            self._fails(error)
            return
        if self._failing:
            self._failing = False
            self._log(f"the cache {self._folder} can be written to again")
        self._keep(key, DIGEST + len(content))

    def drop(self, key: str) -> None:
        """Remove an object."""
        self._forget(key)
        _unlink(self._path(key))

    def _path(self, key: str) -> Path:
        """Name the file of an object: keys may hold slashes and be longer than a file name."""
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / name

    def _prepare(self) -> None:
        """Make the folders, and learn what an earlier process left: older files go first."""
        found = []
        now = time.time()
        for number in range(SHARDS):
            shard = self._folder / f"{number:02x}"
            shard.mkdir(parents=True, exist_ok=True, mode=0o700)
            for entry in os.scandir(shard):
                status = entry.stat(follow_symlinks=False)
                if not entry.name.endswith(UNFINISHED):
                    found.append((status.st_mtime, entry.name, status.st_size))
                elif status.st_mtime < now - LEFT_OVER:
                    _unlink(Path(entry.path))
        for _, name, size in sorted(found):
            self._add(name, size)
        self._evict()

    def _keep(self, key: str, size: int) -> None:
        with self._lock:
            self._add(self._path(key).name, size)
        self._evict()

    def _add(self, name: str, size: int) -> None:
        size = -(-size // BLOCK) * BLOCK
        self._used += size - self._files.pop(name, 0)
        self._files[name] = size

    def _forget(self, key: str) -> None:
        with self._lock:
            self._used -= self._files.pop(self._path(key).name, 0)

    def _evict(self) -> None:
        with self._lock:
            gone = []
            while self._used > self._size and self._files:
                name, size = self._files.popitem(last=False)
                self._used -= size
                gone.append(name)
        for name in gone:
            _unlink(self._folder / name[:2] / name)

    def _fails(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            self._log(f"the cache {self._folder} cannot be written to, so it is not used: {error.strerror}")


def _write(descriptor: int, *parts: bytes) -> None:
    for part in parts:
        left = memoryview(part)
        while left:
            left = left[os.write(descriptor, left) :]


def _unlink(path: Path) -> None:
    with suppress(OSError):  # it was gone, or will be found at the next start
        path.unlink()

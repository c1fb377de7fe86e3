# SPDX-License-Identifier: AGPL-3.0-or-later
"""Let Orthanc keep its attachments in a folder, exactly as it does itself, but for what `confirmation` says.

Only where its configuration has ``Orthweb.Files``: for an Orthanc that removes what it should not. Names and folders
are Orthanc's own, so that either reads what the other has written.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


ATTEMPTS = 1000
"""How often a folder may vanish again."""


class Folder:
    """The three operations of a storage area.

    Parameters
    ----------
    root : Orthanc's ``StorageDirectory``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, uuid: str) -> Path:
        """Give the path of an attachment: ``aa/bb/aabb...``."""
        return self._root / uuid[0:2] / uuid[2:4] / uuid

    def create(self, uuid: str, _content_type: int, content: bytes) -> None:
        """Write an attachment: when this returns, it is on the disk.

        Raises
        ------
        OSError : nothing of it is there.
        """
        path = self.path(uuid)
        with os.fdopen(self._open(path), "wb", buffering=0) as file:
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise

    def _open(self, path: Path) -> int:
        for _ in range(ATTEMPTS):
            if not self._root.is_dir():
                raise FileNotFoundError(f"{self._root}: the store is gone")
            # Whoever removes the last file of a folder removes the folder: it may be gone again.
            with contextlib.suppress(FileExistsError, FileNotFoundError):  # what `mkdir` says of one that vanishes
                path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        raise FileNotFoundError(f"{path.parent}: cannot be made: a link that leads nowhere?")

    def read(self, uuid: str, _content_type: int) -> bytes:
        """Give an attachment's content."""
        with self.path(uuid).open("rb", buffering=0) as file:
            return file.readall()

    def remove(self, uuid: str, _content_type: int) -> None:
        """Remove an attachment, and folders that are empty then; it is no error if it is gone."""
        path = self.path(uuid)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
            path.parent.parent.rmdir()


def plainly(function: Callable[P, T]) -> Callable[P, T]:
    """Give `function` as one whose errors say in a line what failed: Orthanc's Python plugin logs whole tracebacks."""

    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except OSError as error:
            found = OSError(f"{function.__name__} {arguments[0]}: {error.strerror or error}")
        raise found

    return call


def _register(orthanc):
    settings = json.loads(orthanc.GetConfiguration())
    if not settings.get("Orthweb", {}).get("Files"):
        return
    from confirmation import Confirmation

    folder = Folder(Path(settings["StorageDirectory"]))
    sure = Confirmation(folder.create, folder.remove, orthanc.LogError)
    orthanc.RegisterStorageArea(plainly(sure.create), plainly(folder.read), plainly(sure.remove))
    orthanc.RegisterOnStoredInstanceCallback(lambda *_: sure.stored())


try:
    import orthanc
except ImportError:
    pass  # a test
else:
    _register(orthanc)

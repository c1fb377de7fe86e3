# SPDX-License-Identifier: AGPL-3.0-or-later
"""Let Orthanc keep its attachments in a folder, exactly as it does itself, but for what `confirmation` says.

Only where its configuration has ``Orthweb.Files``: for an Orthanc that removes what it should not. Names and folders
are Orthanc's own, so that either reads what the other has written.
"""

import contextlib
import json
import os


class Folder:
    """The three operations of a storage area.

    Parameters
    ----------
    root : Orthanc's ``StorageDirectory``.
    """

    def __init__(self, root):
        self._root = root

    def path(self, uuid):
        """Give the path of an attachment: ``aa/bb/aabb...``."""
        return os.path.join(self._root, uuid[0:2], uuid[2:4], uuid)

    def create(self, uuid, content_type, content):
        """Write an attachment: when this returns, it is on the disk. An OSError leaves nothing of it."""
        path = self.path(uuid)
        handle = self._open(path)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(handle)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def _open(self, path):
        while True:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Whoever removes the last file of a folder removes the folder: it may be gone again.
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            if not os.path.isdir(self._root):
                raise FileNotFoundError(f"{self._root}: the store is gone")

    def read(self, uuid, content_type):
        """Give an attachment's content."""
        with open(self.path(uuid), "rb", buffering=0) as file:
            return file.readall()

    def remove(self, uuid, content_type):
        """Remove an attachment, and folders that are empty then; it is no error if it is gone."""
        path = self.path(uuid)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))
            os.rmdir(os.path.dirname(os.path.dirname(path)))


def _register(orthanc):
    settings = json.loads(orthanc.GetConfiguration())
    if not settings.get("Orthweb", {}).get("Files"):
        return
    from confirmation import Confirmation

    folder = Folder(settings["StorageDirectory"])
    sure = Confirmation(folder.create, folder.remove, orthanc.LogError)
    orthanc.RegisterStorageArea(sure.create, folder.read, sure.remove)
    orthanc.RegisterOnStoredInstanceCallback(lambda *_: sure.stored())


try:
    import orthanc
except ImportError:
    pass  # a test
else:
    _register(orthanc)

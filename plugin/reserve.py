# SPDX-License-Identifier: AGPL-3.0-or-later
"""Refuse instances in time: while the store is nearly full, read-only or gone.

Orthanc answers a C-STORE whose file cannot be written with 0xA700. But where it cannot make the *folder* of the file,
it answers nothing and keeps the association open: the sender waits until its timeout. To STOW-RS it answers 200 with
neither a stored nor a failed instance in it, which many a client takes for success. Here an instance is refused
before, while there is still room for folders, and for the index when it lies on the same disk.

Orthanc's Python plugin loads this file. Without Orthanc it can be imported and tested: `problem` decides.
"""

import json
import os

MEBIBYTE = 1024**2
SMALLEST, LARGEST = MEBIBYTE, 1024 * MEBIBYTE
"""Limits of the reserve in bytes; between them it is a fiftieth of the disk."""

FILES = 64
"""Files and folders that must still fit, where the file system counts them."""

OUT_OF_RESOURCES = 0xA700
"""DIMSE status "Refused: Out of Resources" (PS3.4 table B.2-1): the sender may try again later."""

SUCCESS = 0x0000

BRINGS_INSTANCES = ("/instances", "/dicom-web/studies")
"""Upload, and STOW-RS (PS3.18 10.5)."""


def problem(store, size=0):
    """Say why an instance of `size` bytes should not be taken now, or None."""
    try:
        found = os.statvfs(store)
    except OSError as error:
        return f"it cannot be reached: {error.strerror}"
    if found.f_flag & os.ST_RDONLY:
        return "its file system is read-only"
    if not os.access(store, os.W_OK | os.X_OK):
        return "it may not be written to"
    reserve = min(max(found.f_blocks * found.f_frsize // 50, SMALLEST), LARGEST)
    free = found.f_bavail * found.f_frsize
    if free < reserve + size:
        return f"{free // MEBIBYTE} MiB are free, and {reserve // MEBIBYTE} MiB are kept in reserve"
    if found.f_files and found.f_favail < FILES:
        return "its file system has no room for more files"
    return None


class Guard:
    """The decision for each instance; writes a line to the log when it changes."""

    def __init__(self, store, log):
        self._store = store
        self._log = log
        self._refusing = False

    def status(self, size):
        """Give the DIMSE status for an instance of `size` bytes."""
        found = problem(self._store, size)
        if found is not None and not self._refusing:
            self._log(f"the store {self._store} takes no more instances: {found}")
        elif found is None and self._refusing:
            self._log(f"the store {self._store} takes instances again")
        self._refusing = found is not None
        return OUT_OF_RESOURCES if self._refusing else SUCCESS

    def admits(self, uri, headers):
        """Tell whether a POST or PUT may pass: one that brings instances needs room for its body."""
        if not uri.startswith(BRINGS_INSTANCES):
            return True
        length = headers.get("content-length", "")
        return self.status(int(length) if length.isdigit() else 0) == SUCCESS


def _register(orthanc):
    settings = json.loads(orthanc.GetConfiguration())
    if settings.get("Orthweb", {}).get("Store", "filesystem") != "filesystem":
        return  # its files are not in a folder
    guard = Guard(settings["StorageDirectory"], orthanc.LogError)
    orthanc.RegisterIncomingCStoreInstanceFilter(lambda instance: guard.status(instance.GetInstanceSize()))
    writing = (orthanc.HttpMethod.POST, orthanc.HttpMethod.PUT)
    orthanc.RegisterIncomingHttpRequestFilter(
        lambda uri, **request: request["method"] not in writing or guard.admits(uri, request["headers"])
    )


try:
    import orthanc
except ImportError:
    pass  # a test
else:
    _register(orthanc)

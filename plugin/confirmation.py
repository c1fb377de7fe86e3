# SPDX-License-Identifier: AGPL-3.0-or-later
"""Delete nothing of an instance whose fate in the index is not known.

Orthanc writes an instance's attachments, then commits its row, all in one thread. When the commit fails, Orthanc
(1.12) takes for granted that there is no row, removes the attachments, and refuses the instance. But a connection that
is lost while the index commits leaves open whether it did. Where it did, there would be a row without a file; sent
again, the instance would be acknowledged as already stored, and be lost.

What tells the two apart: when Orthanc knows the outcome (the instance is new, or was there already), it calls
OnStoredInstance in the same thread, after any removal. So what is to be removed in the thread that has just written it
waits for that call, and stays when it does not come: at worst a file without a row, which `orthweb store check` finds.

An index that takes nothing for hours would leave a file of each attempt. After `DOUBTS` of them instances are refused
before they are written, but for one now and then that tries.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable

Attachment = tuple[str, int]
"""UUID and Orthanc's type."""

DICOM = 1
"""Orthanc's type of the attachment that is written first."""

OTHERS = 1024
"""From here on types are those of people and plugins: no part of an instance, written and removed on their own."""

DOUBTS = 50
"""How many instances in a row may end without Orthanc's word."""

PAUSE = 10.0
"""Seconds between two that try, then."""


class Confirmation:
    """The operations of a storage area, with removals that wait for what Orthanc knows.

    Parameters
    ----------
    create, remove : of the storage area.
    log : takes a line for a person.
    clock : seconds.
    """

    def __init__(
        self,
        create: Callable[[str, int, bytes], None],
        remove: Callable[[str, int], None],
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._create = create
        self._remove = remove
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._doubts = 0
        self._next = 0.0
        # By thread. Not `threading.local`: to Python, an Orthanc thread is another one in each callback.
        self._written: defaultdict[int, list[Attachment]] = defaultdict(list)
        self._waiting: defaultdict[int, list[Attachment]] = defaultdict(list)

    def create(self, uuid: str, content_type: int, content: bytes) -> None:
        """Write an attachment.

        Raises
        ------
        OSError : too many instances before it ended without Orthanc's word.
        """
        thread = threading.get_native_id()
        if content_type == DICOM:  # another instance: nothing was said of the one before
            self._keep(thread)
            self._admit()
        self._create(uuid, content_type, content)
        if content_type < OTHERS:
            self._written[thread].append((uuid, content_type))

    def remove(self, uuid: str, content_type: int) -> None:
        """Remove an attachment; one that this thread has just written, only when the outcome is known."""
        thread = threading.get_native_id()
        if (uuid, content_type) in self._written.get(thread, ()):
            self._waiting[thread].append((uuid, content_type))
        else:
            self._remove(uuid, content_type)

    def stored(self) -> None:
        """Take note that Orthanc knows what became of the instance that this thread has written."""
        thread = threading.get_native_id()
        self._written.pop(thread, None)
        with self._lock:
            self._doubts = 0
        for uuid, content_type in self._waiting.pop(thread, ()):
            try:
                self._remove(uuid, content_type)
            except Exception as error:  # nobody waits for an answer: the others are to go all the same
                self._log(f"left: {uuid}: {error}")

    def _keep(self, thread: int) -> None:
        self._written.pop(thread, None)
        kept = self._waiting.pop(thread, ())
        if not kept:
            return
        with self._lock:
            self._doubts += 1
            full = self._doubts == DOUBTS
        names = ", ".join(uuid for uuid, _ in kept)
        self._log(f"kept: {names}: the index did not say whether it has the instance (orthweb store check)")
        if full:
            self._log(f"{DOUBTS} instances in a row: the index takes none; one is tried every {PAUSE:.0f} seconds")

    def _admit(self) -> None:
        with self._lock:
            if self._doubts < DOUBTS:
                return
            now = self._clock()
            if now < self._next:
                raise OSError("the index takes no instances now")
            self._next = now + PAUSE

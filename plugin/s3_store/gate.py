# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the bucket takes objects now, for those who must be refused before they begin.

A C-STORE whose object cannot be written is answered with a failure, so it needs no gate. But Orthanc's DICOMweb plugin
answers a STOW-RS with 200 and neither a stored nor a failed instance, which many a client takes for success.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .failures import StoreError

FRESH = 1.0
"""Seconds for which a successful write, or an unsuccessful probe, says how the bucket is."""

BRINGS_INSTANCES = ("/instances", "/dicom-web/studies")
"""Upload, and STOW-RS (PS3.18 10.5)."""


class Gate:
    """Remember how the last writes went.

    Parameters
    ----------
    probe : tries to write; raises StoreError.
    log : takes a line when the bucket takes no more objects, and when it does again.
    """

    def __init__(self, probe: Callable[[], None], log: Callable[[str], None]) -> None:
        self._probe = probe
        self._log = log
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._known = float("-inf")
        self._problem: str | None = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Note how a write goes that is done for its own sake."""
        try:
            yield
        except StoreError as error:
            self._note(str(error))
            raise
        self._note(None)

    def problem(self) -> str | None:
        """Say why nothing can be written now, or None; asks the bucket unless it has just been used."""
        # One asks, and the others wait for what it learns.
        with self._probing:
            with self._lock:
                if time.monotonic() - self._known < FRESH:
                    return self._problem
            try:
                self._probe()
            except StoreError as error:
                self._note(str(error))
            else:
                self._note(None)
            with self._lock:
                return self._problem

    def admits(self, uri: str) -> bool:
        """Tell whether a POST or PUT may pass."""
        return not uri.startswith(BRINGS_INSTANCES) or self.problem() is None

    def _note(self, problem: str | None) -> None:
        with self._lock:
            before, self._problem, self._known = self._problem, problem, time.monotonic()
        if problem is not None and before is None:
            self._log(f"the bucket takes no more objects: {problem}")
        elif problem is None and before is not None:
            self._log("the bucket takes objects again")

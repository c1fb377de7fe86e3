# SPDX-License-Identifier: AGPL-3.0-or-later
"""Threads with an ordinary stack, for what Orthanc's own threads have no room for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .failures import StoreError, briefly

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 512
"""More than Orthanc has callers at once; each is made when it is first needed."""


class Elsewhere:
    """Carry calls to threads of our own, and their results and errors back.

    A callback of Orthanc's Python plugin fails by raising: a code that it returned would be ignored, and the instance
    acknowledged. The plugin logs the whole traceback; of a StoreError, whose message says it all, only the last step is
    left.

    Orthanc's HTTP threads have a stack of 100 KiB (civetweb's ``USE_STACK_SIZE``). A TLS handshake in one of them
    overruns it: Orthanc 1.10.1 ended with SIGSEGV in the first upload over HTTP to a bucket behind TLS.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Give `function` as one that may be called from any thread."""

        def call(*arguments: P.args, **named: P.kwargs) -> T:
            return self._pool.submit(function, *arguments, **named).result()

        return briefly(call, StoreError)

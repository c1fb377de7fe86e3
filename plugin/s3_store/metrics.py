# SPDX-License-Identifier: AGPL-3.0-or-later
"""Count what the store does: operations, errors, bytes, seconds, and what came from the cache."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

OPERATIONS = ("create", "read", "remove")
PREFIX = "orthweb_s3"


class Metrics:
    """Sums since the start, by operation; all names begin with ``orthweb_s3_``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: defaultdict[str, float] = defaultdict(float)
        for operation in OPERATIONS:
            for what in ("total", "errors_total", "bytes_total", "seconds_total"):
                self._sums[f"{operation}_{what}"] = 0
        for what in ("hits_total", "misses_total"):
            self._sums[f"cache_{what}"] = 0

    def add(self, name: str, value: float) -> None:
        """Add to a sum."""
        with self._lock:
            self._sums[name] += value

    def all(self) -> dict[str, float]:
        """Give every sum by its whole name."""
        with self._lock:
            return {f"{PREFIX}_{name}": value for name, value in self._sums.items()}

    def __getitem__(self, name: str) -> float:
        """Give a sum."""
        with self._lock:
            return self._sums[name]

    @contextmanager
    def operation(self, name: str, size: int = 0) -> Iterator[None]:
        """Count an operation and the seconds it takes; `size` is what it carries, in bytes, if it succeeds."""
        started = time.monotonic()
        try:
            yield
        except Exception:
            self.add(f"{name}_errors_total", 1)
            raise
        else:
            self.add(f"{name}_bytes_total", size)
        finally:
            self.add(f"{name}_total", 1)
            self.add(f"{name}_seconds_total", time.monotonic() - started)

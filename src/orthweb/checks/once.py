"""A value that many threads want and that must be made once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Once(Generic[Value]):
    """Make a value at the first call and give the same value, or the same error, at every later one.

    Parameters
    ----------
    make : makes the value; called at most once, while other callers wait.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        """Make nothing yet."""
        self._make = make
        self._lock = threading.Lock()
        self._made: list[Value] = []
        self._error: Exception | None = None

    def __call__(self) -> Value:
        """Give the value.

        Raises
        ------
        Exception : the one that making it raised, each time.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            if not self._made:
                try:
                    self._made.append(self._make())
                except Exception as error:
                    self._error = error
                    raise
            return self._made[0]

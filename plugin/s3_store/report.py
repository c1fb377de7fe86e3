# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bring the metrics to where others read them, never from a thread that serves somebody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from .metrics import Metrics

SECONDS = 2.0
FILE = "s3.prom"
"""In the text format of Prometheus, as its node exporter's textfile collector takes it."""


class Reporter:
    """Writes what has changed every two seconds.

    Parameters
    ----------
    folder : where the file goes; None for no file.
    publish : takes a name and its value; None where that could block.
    """

    def __init__(self, metrics: Metrics, folder: str | None, publish: Callable[[str, float], None] | None) -> None:
        self._metrics = metrics
        self._file = Path(folder) / FILE if folder else None
        self._publish = publish
        self._known: dict[str, float] = {}

    def start(self) -> None:
        """Go on until the process ends."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(SECONDS)
            self.report()

    def report(self) -> None:
        """Write once; a disk that is full costs the figures, nothing else."""
        now = self._metrics.all()
        changed = {name: value for name, value in now.items() if self._known.get(name) != value}
        if not changed:
            return
        self._known = now
        if self._publish is not None:
            for name, value in changed.items():
                self._publish(name, value)
        if self._file is not None:
            part = self._file.with_suffix(".part")
            try:
                part.write_text("".join(f"{name} {value:.17g}\n" for name, value in now.items()))
                part.replace(self._file)
            except OSError:
                self._known = {}

"""A process of Terraform's, which is left alone until it ends: only then is what it made in its state.

Terraform dies of a pipe that nobody reads any more, and breaks off at a second SIGINT. So it writes to a file, gets
SIGINT once at most, and has a session of its own: neither a terminal that is closed nor the end of this program
reaches it. Whoever comes next waits for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from orthweb.targets.base import Report

STOPPING: Final = "stopping: AWS finishes what it is at"
STILL: Final = "still stopping: AWS finishes what it is at; what is broken off now, nobody would know of"

POLL: Final = 0.05
"""Seconds between two looks."""

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """How often a person asked to stop."""

    def __init__(self) -> None:
        self.count = 0

    def _add(self, _number: int, _frame: object) -> None:
        self.count += 1


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Count signals that ask to stop, for a block, instead of being torn out of it; what is ignored stays ignored."""
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    earlier = {}
    try:
        for number in _ENDING:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                earlier[number] = before
                signal.signal(number, found._add)
        yield found
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _opened(log: Path, report: Report) -> Iterator[int]:
    """Open the file that a process writes to; wait for one of an earlier call that still does.

    The lock is the open file's, and so belongs to the process as well: it holds for as long as that runs, even when
    this program was killed.
    """
    descriptor = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        said = float("-inf")
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - said > 10.0:
                    said = time.monotonic()
                    report(f"Terraform of an earlier call (process {_writer(log)}) is still at work: waiting for it")
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def wait_for_earlier(log: Path, report: Report) -> None:
    """Wait until no process of an earlier call is at work."""
    if log.exists():
        with _opened(log, report):
            pass


def _writer(log: Path) -> str:
    for path in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if path.samefile(log):
                return path.parts[2]
    return "unknown"


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    line: Callable[[str], None],
    report: Report,
    descriptors: Sequence[int] = (),
) -> int:
    """Run a process to its end, whatever happens here, and give its exit code.

    Parameters
    ----------
    log : gets all that it writes.
    line : told each line of that.
    descriptors : handed to it.

    Raises
    ------
    KeyboardInterrupt : a person asked to stop; the process was asked once, and has ended.
    Exception : what `line` or `report` raised first; the process went on, unheard, and has ended.
    """
    with _opened(log, report) as output, interrupts() as asked:
        os.ftruncate(output, 0)
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,
        )
        telling = _Telling()
        tail = _Tail(output)
        handled = 0
        while True:
            ended = process.poll() is not None  # asked first: what it wrote last is read as well
            for each in tail.lines(all_of_it=ended):
                telling.tell(line, each)
            if ended:
                break
            if (count := asked.count) > handled:
                if not handled:
                    process.send_signal(signal.SIGINT)
                telling.tell(report, STILL if handled else STOPPING)
                handled = count
            time.sleep(POLL)
    if asked.count:
        raise KeyboardInterrupt
    if telling.failed is not None:
        raise telling.failed
    return process.returncode


class _Telling:
    """Tells others until one of them fails: a terminal may be gone."""

    def __init__(self) -> None:
        self.failed: Exception | None = None

    def tell(self, whom: Callable[[str], object], text: str) -> None:
        if self.failed is None:
            try:
                whom(text)
            except Exception as error:
                self.failed = error


class _Tail:
    """Reads a file that grows, by line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0
        self._rest = b""

    def lines(self, *, all_of_it: bool) -> Iterator[str]:
        """Give the lines that are whole; the last one too when there will be no more."""
        while chunk := os.pread(self._descriptor, 1 << 16, self._place):
            self._place += len(chunk)
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            yield from (each.decode(errors="replace") for each in whole)
        if all_of_it and self._rest:
            yield self._rest.decode(errors="replace")
            self._rest = b""

"""The agent's rounds: fetch what the site should be, apply what differs, say how it went; then again, for ever.

Nothing that goes wrong ends the loop: it is said in one line, and the next round tries again. What changes the site is
done by one host at a time, whoever holds the site's lock, so that the others serve meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from orthweb.errors import OrthwebError
from orthweb.host.parameters import HostReport
from orthweb.host.status import STALE, State

INTERVAL = 20.0
"""Seconds between two rounds of a host that serves."""

HURRY = 5.0
"""Seconds between two rounds of one that does not yet."""

PATIENCE = 3
"""In so many rounds, one after the other, a site may fail to answer before it is made anew: the engine restarts what
died, and a database that fails over comes back."""

LINES = 25
"""So many of the last lines go with the report of a failure."""


class WaitError(OrthwebError):
    """Nothing is wrong; something that others make is not there yet.

    Parameters
    ----------
    state : what the host says of itself meanwhile.
    """

    def __init__(self, state: State, message: str) -> None:
        super().__init__(message)
        self.state = state


class ReplacedError(OrthwebError):
    """Another version of the agent should go on: this one ends, and what starts it takes the new one."""


@dataclass(frozen=True)
class Wanted:
    """What the site should be.

    Parameters
    ----------
    digest : a name of all of it, the versions of the secrets included.
    site : SHA-256 of the site parameter.
    images : references by role.
    shared : whether other hosts serve while this one does not.
    others : what the other hosts said last, by instance.
    """

    digest: str
    site: str
    images: Mapping[str, str]
    shared: bool
    others: Mapping[str, HostReport]


class Host(Protocol):
    """What a round does, each with its own errors."""

    def fetch(self) -> Wanted:
        """Ask the account; WaitError while something of it is not there yet."""

    def lock(self) -> AbstractContextManager[bool]:
        """Hold the site's lock for a block, when nobody else does; WaitError while there is no database."""

    def drain(self) -> None:
        """Take no new work, and wait until what was begun has ended."""

    def apply(self) -> None:
        """Make the host be as it should; it serves afterwards."""

    def undrain(self) -> None:
        """Take work again."""

    def tend(self) -> None:
        """Do what becomes due by itself: certificates, the password, the network's routes. The lock is not held."""

    def serving(self) -> str | None:
        """Ask whether the site answers on this host: None, or what is wrong."""

    def ready(self) -> None:
        """Tell whoever waits for this instance that it serves."""

    def tell(self, state: State, message: str, wanted: Wanted | None, lines: list[str]) -> None:
        """Write the host's status."""


def failed_elsewhere(wanted: Wanted, now: datetime) -> str | None:
    """Name a host that has just failed with what this one is about to apply.

    While this one serves as before, it must not follow: the site would be gone.
    """
    for name, report in wanted.others.items():
        if report.state != "failed" or report.applied != wanted.digest:
            continue
        try:
            at = datetime.fromisoformat(report.at)
        except ValueError:
            continue
        if now - at.astimezone(UTC) < STALE:
            return name
    return None


class Loop:
    """The rounds of one host.

    Parameters
    ----------
    host : what a round does.
    log : told every line, for the journal.
    clock : gives the time (aware).
    """

    def __init__(
        self, host: Host, log: Callable[[str], None], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._host = host
        self._log = log
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=LINES)
        self._applied: str | None = None
        self._state: State = "booting"
        self._wanted: Wanted | None = None
        self._said = ""
        self._silent = 0

    @property
    def serves(self) -> bool:
        """Whether this agent has made the host serve."""
        return self._applied is not None

    def report(self, line: str) -> None:
        """Take a line of what is being done: for the journal, and for the status should it fail."""
        self._lines.append(line)
        self._log(line)

    def tell(self, state: State, message: str, *, lines: bool = False) -> None:
        """Say what the host is doing, in the journal once, and in its status."""
        self._state = state
        if message != self._said:
            self._said = message
            self._log(f"{state}: {message}")
        try:
            self._host.tell(state, message, self._wanted, list(self._lines) if lines else [])
        except OrthwebError as error:
            self._log(f"the status cannot be written: {error}")

    def round(self) -> bool:
        """Do one round; tell whether the host serves as it should.

        Raises
        ------
        ReplacedError : another version of the agent should go on.
        """
        try:
            self._round()
        except ReplacedError:
            raise
        except WaitError as error:
            self.tell(error.state, error.message)
            return False
        except Exception as error:
            # A fault of ours is one of the things that must not end the loop; its kind is all that a status may say.
            known = isinstance(error, OrthwebError | OSError)
            words = str(error) if known else f"unexpected {type(error).__name__}"
            self.tell("failed", words, lines=True)
            return False
        return self._state == "ready"

    def _round(self) -> None:
        self._wanted = wanted = self._host.fetch()
        if wanted.digest == self._applied:
            self._host.tend()
            problem = self._host.serving()
            self._silent = 0 if problem is None else self._silent + 1
            if problem is None:
                self.tell("ready", "serving")
                return
            self.report(f"the site does not answer: {problem}")
            if self._silent < PATIENCE:
                raise OrthwebError(f"the site does not answer: {problem}")
        elif self.serves and wanted.shared:
            other = failed_elsewhere(wanted, self._clock())
            if other is not None:
                self.tell("ready", f"serving as before: {other} failed with what is wanted now")
                return
        with self._host.lock() as ours:
            if not ours:
                self.tell("ready" if self.serves else "starting", "waiting for another host's turn to end")
                return
            self._apply(wanted)

    def _apply(self, wanted: Wanted) -> None:
        # Also an agent that has just been started may find its host serving.
        drained = wanted.shared and self._host.serving() is None
        if drained:
            self.tell("draining", "letting what was begun end")
            self._host.drain()
        else:
            self.tell("starting", "applying what the site should be")
        try:
            self._host.apply()
        finally:
            if drained:
                self._host.undrain()
        self._host.ready()
        self._applied, self._silent = wanted.digest, 0
        self._lines.clear()
        self.tell("ready", "serving")

    def run(
        self,
        stop: threading.Event,
        interval: float = INTERVAL,
        hurry: float = HURRY,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Do rounds until told to stop.

        Parameters
        ----------
        after : called after each round.

        Raises
        ------
        ReplacedError : another version of the agent should go on.
        """
        self.tell("booting", "reading what the site should be")
        while not stop.is_set():
            serves = self.round()
            after()
            stop.wait(interval if serves or self.serves else hurry)

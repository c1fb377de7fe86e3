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
from datetime import UTC, datetime, timedelta
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

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=1)
"""A host that serves beside others leaves alone what it failed with for so long; then twice as long, up to an hour."""


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


class StoppedError(Exception):
    """The agent was told to end in the middle of something, which it has undone."""


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

    def remembered(self) -> Wanted | None:
        """Give what was applied last, by this agent or one before it; None when that is not known."""

    def remember(self, wanted: Wanted | None) -> None:
        """Note what is applied, for the next agent; None: something is about to change."""

    def check(self) -> None:
        """Refuse what cannot be applied, with nothing touched."""

    def drain(self) -> None:
        """Take no new work, and wait until what was begun has ended; StoppedError when told to end meanwhile."""

    def apply(self) -> None:
        """Make the host be as it should; it serves afterwards."""

    def undrain(self) -> None:
        """Take work again; nothing when the host does."""

    def tend(self) -> None:
        """Do what becomes due by itself: certificates, the password, the network's routes. The lock is not held."""

    def serving(self) -> str | None:
        """Ask whether the site answers on this host: None, or what is wrong."""

    def ready(self) -> bool:
        """Tell whoever waits for this instance that it serves; give whether that is settled."""

    def tell(self, state: State, message: str, wanted: Wanted | None, running: Wanted | None, lines: list[str]) -> None:
        """Write the host's status.

        Parameters
        ----------
        wanted : what the state is about.
        running : what was applied last; None when that is not known.
        """


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


@dataclass(frozen=True)
class _Failure:
    """A change that a serving host failed with."""

    digest: str
    words: str
    pause: timedelta
    until: datetime


def _words(error: Exception) -> str:
    """Say an error; of a fault of ours, its kind is all that a status may say."""
    return str(error) if isinstance(error, OrthwebError | OSError) else f"unexpected {type(error).__name__}"


class Loop:
    """The rounds of one host.

    Parameters
    ----------
    host : what a round does.
    log : told every line, for the journal.
    clock : gives the time (aware).
    alarm : told why a round failed, each time.
    """

    def __init__(
        self,
        host: Host,
        log: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        alarm: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._host = host
        self._log = log
        self._clock = clock
        self._alarm = alarm
        self._lines: deque[str] = deque(maxlen=LINES)
        self._running: Wanted | None = None
        self._state: State = "booting"
        self._wanted: Wanted | None = None
        self._failure: _Failure | None = None
        self._said = ""
        self._silent = 0
        self._settled = False
        self._answers: bool | None = None
        self._answered = False
        self._recalled = False
        self._whole = False
        """Whether nothing has been begun since then that did not come to its end."""

    @property
    def serves(self) -> bool:
        """Whether this agent has made the host serve."""
        return self._running is not None

    @property
    def healthy(self) -> bool | None:
        """Whether the site works on this host; None while it is made for the first time."""
        return self._answers if self._answered or self._state == "failed" else None

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
        if state == "failed":
            self._alarm(message)
        # Who is ready is so with what was applied; every other state is about what is wanted.
        about = self._running if state == "ready" else self._wanted
        try:
            self._host.tell(state, message, about, self._running, list(self._lines) if lines else [])
        except OrthwebError as error:
            self._log(f"the status cannot be written: {error}")

    def round(self) -> bool:
        """Do one round; tell whether the host serves as it should.

        Raises
        ------
        ReplacedError : another version of the agent should go on.
        StoppedError : this one was told to end.
        """
        try:
            self._round()
        except (ReplacedError, StoppedError):
            raise
        except WaitError as error:
            self.tell(error.state, error.message)
            return False
        except Exception as error:  # a fault of ours is one of the things that must not end the loop
            self.tell("failed", _words(error), lines=True)
            return False
        return self._state == "ready"

    def _serving(self) -> str | None:
        problem = self._host.serving()
        self._answers = problem is None
        self._answered |= self._answers
        return problem

    def _round(self) -> None:
        # Whoever begins a round drains nothing: an agent that was killed may have left the host so.
        self._host.undrain()
        self._recall()
        self._wanted = wanted = self._host.fetch()
        if self._whole and self._running is not None and wanted.digest == self._running.digest:
            if self._tend():
                return
        elif wanted.shared and self._serving() is None and self._leave(wanted):
            return
        with self._host.lock() as ours:
            if not ours:
                self.tell("starting" if self._serving() else "ready", "waiting for another host's turn to end")
                return
            if wanted.shared and self._serving() is None:
                # Whoever had the lock before may have said that it failed since this one asked.
                self._wanted = wanted = self._host.fetch()
                if self._leave(wanted):
                    return
            self._apply(wanted)

    def _recall(self) -> None:
        """Go on where the agent before this one was, if the site still answers: nothing has to be made anew."""
        if self._recalled:
            return
        self._recalled = True
        before = self._host.remembered()
        if before is not None and self._serving() is None:
            self._running, self._whole = before, True

    def _tend(self) -> bool:
        """Do what becomes due by itself; tell whether the site answers, and so nothing has to be made anew."""
        failure: Exception | None = None
        try:
            self._host.tend()
        except (ReplacedError, StoppedError, WaitError):
            raise
        except Exception as error:  # that the site is silent has to be noticed all the same
            failure = error
        problem = self._serving()
        self._silent = 0 if problem is None else self._silent + 1
        if failure is not None and self._silent < PATIENCE:
            raise failure
        if problem is None:
            self._settle()
            self.tell("ready", "serving")
            return True
        self.report(f"the site does not answer: {problem}")
        if self._silent < PATIENCE:
            raise OrthwebError(f"the site does not answer: {problem}")
        return False

    def _leave(self, wanted: Wanted) -> bool:
        """Say why a host that serves beside others does not follow a change now; False: it does."""
        now, failure = self._clock(), self._failure
        other = failed_elsewhere(wanted, now)
        if failure is not None and failure.digest == wanted.digest and now < failure.until:
            words = f"{failure.words}; serving as before, tried again at {failure.until:%H:%M} UTC"
            self.tell("failed", words, lines=True)
        elif other is not None:
            self.tell("ready", f"serving as before: {other} failed with what is wanted now")
        else:
            return False
        return True

    def _apply(self, wanted: Wanted) -> None:
        # Also an agent that has just been started may find its host serving.
        drains = wanted.shared and self._serving() is None
        if drains:
            self._host.check()
        try:
            if drains:
                self.tell("draining", "letting what was begun end")
                self._host.drain()
            else:
                self.tell("starting", "applying what the site should be")
            self._host.remember(None)
            self._whole = False
            self._host.apply()
            self._host.remember(wanted)
        except Exception as error:
            if drains and not isinstance(error, ReplacedError | StoppedError):
                self._remember(wanted.digest, _words(error))
                # Before another host has the lock: it must not follow.
                self.tell("failed", _words(error), lines=True)
            raise
        finally:
            if drains:
                self._host.undrain()
        self._running, self._whole, self._failure, self._silent = wanted, True, None, 0
        self._answers = self._answered = True
        self._settle()
        self._lines.clear()
        self.tell("ready", "serving")

    def _remember(self, digest: str, words: str) -> None:
        """Keep from draining this host again and again for what it failed with."""
        before = self._failure
        again = before is not None and before.digest == digest
        pause = min(before.pause * 2, LONGEST_PAUSE) if before is not None and again else FIRST_PAUSE
        self._failure = _Failure(digest, words, pause, self._clock() + pause)

    def _settle(self) -> None:
        """Tell who waits for this instance, until that was taken; the site has to serve whatever comes of it."""
        if self._settled:
            return
        try:
            self._settled = self._host.ready()
        except OrthwebError as error:
            self._log(f"nobody could be told that this host serves: {error}")

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
            try:
                serves = self.round()
            except StoppedError:
                return
            after()
            stop.wait(interval if serves or self.serves else hurry)

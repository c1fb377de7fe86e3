"""Sending many instances: in parallel, again after failures, each acknowledged instance once.

Threads, not processes: a C-STORE costs this program about a millisecond of its own, the rest is waiting
and TLS, both without Python's lock; so one process feeds as many associations as an archive takes.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from orthweb.dicom.errors import LostError, PeerError, RejectedError
from orthweb.dicom.instance import Instance
from orthweb.dicom.journal import Journal
from orthweb.dicom.scan import Skipped
from orthweb.dicom.transport import Answer, Channel, Group, Transport
from orthweb.errors import OrthwebError

NEARBY_ASSOCIATIONS = 4
"""Associations when the peer is near: more do not make an archive on the same network faster."""

MAX_ASSOCIATIONS = 16
"""Associations at most, unless asked for: the requests that a site's archive works on at once by default."""

INSTANCES_PER_ASSOCIATION = 4
"""An association must be worth its handshakes: no more than one for this many instances."""

ATTEMPTS = 3
"""How often one instance may lose its association, or be refused for lack of resources, before it is given up."""

_LONGEST_PAUSE = 10.0
_PATIENCE_AT_STOP = 5.0


def associations_for(round_trip: float) -> int:
    """Choose how many associations hide the network's latency.

    Each C-STORE waits at least one round trip for its answer (asynchronous operations, PS3.7 D.3.3.3, are
    granted by hardly any peer), so only more associations fill that time: one more for each 2.5 ms.

    Parameters
    ----------
    round_trip : seconds.
    """
    extra = math.ceil(max(0.0, round_trip - 0.010) / 0.0025)
    return min(MAX_ASSOCIATIONS, NEARBY_ASSOCIATIONS + extra)


@dataclass
class Summary:
    """What became of everything that was found.

    Parameters
    ----------
    found : instances found, sent before or not.
    sent : acknowledged now, those with a warning included.
    sent_bytes : their size.
    warnings : sent with a warning: reason -> number.
    already : acknowledged by an earlier run.
    duplicates : files with the same content as another one found, not sent again.
    refused : reason -> names of the files.
    not_sent : instances that were not tried to the end.
    skipped : found and not sent: not DICOM, unreadable, ...
    fatal : why sending ended early, if it did.
    retries : associations or requests that were lost and made again.
    associations : most of them at once.
    """

    found: int = 0
    sent: int = 0
    sent_bytes: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    already: int = 0
    duplicates: int = 0
    refused: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    not_sent: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    fatal: OrthwebError | None = None
    retries: int = 0
    associations: int = 0
    seconds: float = 0.0

    @property
    def refused_count(self) -> int:
        """Instances refused or unreadable."""
        return sum(map(len, self.refused.values()))


class Sender:
    """Sends instances over several channels at once.

    Parameters
    ----------
    associations : how many channels; None measures the round trip and decides.
    retry_for : seconds without any success after which a lost peer is given up.
    """

    def __init__(
        self, transport: Transport, journal: Journal, *, associations: int | None = None, retry_for: float = 120.0
    ) -> None:
        """Keep the settings; connects nowhere yet."""
        self.summary = Summary()
        self._transport = transport
        self._journal = journal
        self._wanted = associations
        self._retry_for = retry_for
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._stop = threading.Event()
        self._queues: list[tuple[Group, deque[Instance]]] = []
        self._outstanding = 0
        self._open: dict[int, Channel] = {}
        self._threads: list[threading.Thread] = []
        self._connected = False
        self._trouble_since: float | None = None
        self._attempts: Counter[str] = Counter()

    def run(
        self,
        instances: Sequence[Instance],
        *,
        resend: bool = False,
        on_progress: Callable[[Summary], None] | None = None,
    ) -> Summary:
        """Send; return when everything has an answer or nothing more can be done.

        On an interruption (KeyboardInterrupt, SystemExit) what is on its way gets a few seconds for its
        answer; then the interruption goes on, and ``summary`` tells how far it came.

        Parameters
        ----------
        resend : send also what the journal says was acknowledged.
        on_progress : called from this thread, ten times a second and at the end.
        """
        started = time.monotonic()
        self.summary.found = len(instances)
        todo = self._without_duplicates(instances)
        if not resend:
            known = self._journal.acknowledged(todo)
            todo = [instance for instance in todo if instance not in known]
            self.summary.already = len(known)
        self._queues = [(group, deque(group.instances)) for group in self._transport.groups(todo)]
        self._outstanding = len(todo)
        try:
            if todo:
                self._start_workers(1)
            else:
                self._done.set()
            while not self._done.wait(0.1) and any(thread.is_alive() for thread in list(self._threads)):
                if on_progress is not None:
                    on_progress(self.summary)
        finally:
            self._finish()
            self.summary.not_sent = self._outstanding
            self.summary.seconds = time.monotonic() - started
            if on_progress is not None:
                on_progress(self.summary)
        return self.summary

    def _without_duplicates(self, instances: Iterable[Instance]) -> list[Instance]:
        """Keep one of the files that hold the same instance; refuse those that claim to and differ."""
        first: dict[str, Instance] = {}
        for instance in instances:
            other = first.setdefault(instance.sop_instance, instance)
            if other is instance:
                continue
            if _same(other, instance):
                self.summary.duplicates += 1
            else:
                # The archive would keep one of them and say success to both.
                reason = "another file has the same SOP Instance UID and other content"
                self.summary.refused[reason].append(str(instance.source))
        return list(first.values())

    def _start_workers(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._work, name=f"send-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _finish(self) -> None:
        """Let the workers end; after a few seconds make them."""
        interrupted = self._outstanding > 0
        self._stop.set()
        deadline = time.monotonic() + _PATIENCE_AT_STOP
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if interrupted or any(thread.is_alive() for thread in self._threads):
            with self._lock:
                for channel in self._open.values():
                    channel.interrupt()
            for thread in self._threads:
                thread.join(2.0)

    def _work(self) -> None:
        """Run one worker: take, send, record, until nothing is left."""
        me = threading.get_ident()
        group: Group | None = None
        channel: Channel | None = None
        failures = 0
        try:
            while not self._stop.is_set() and (task := self._take(group)) is not None:
                wanted, batch = task
                waiting = dict.fromkeys(batch)
                try:
                    if channel is None or wanted is not group:
                        if channel is not None:
                            channel.close()
                            channel = None
                        channel = self._connect(me, wanted)
                        group = wanted
                    for answer in channel.send(batch):
                        waiting.pop(answer.instance, None)
                        failures = 0 if self._record(wanted, answer) else failures + 1
                    if waiting:
                        raise LostError(f"{self._transport.destination}: no answer for {len(waiting)} instances")
                    if not channel.usable:
                        channel.abort()
                        channel = None
                    if failures:
                        busy = PeerError(
                            f"{self._transport.destination}: has been refusing for lack of resources for "
                            f"{self._retry_for:g} s",
                            "is its disk full? Send again when there is room: what was acknowledged is skipped",
                        )
                        if not self._may_retry(busy):
                            self._end(busy)
                            return
                        self._done.wait(_pause(failures))
                except OrthwebError as error:
                    in_flight = channel is not None
                    if channel is not None:
                        channel.abort()
                        channel = None
                    self._give_back(wanted, waiting, error, in_flight=in_flight)
                    failures += 1
                    if not self._may_retry(error):
                        self._end(error)
                        return
                    self._done.wait(_pause(failures))
        except Exception as error:
            # A thread that dies silently would leave its instances unsent and unmentioned.
            self._end(OrthwebError(f"{self._transport.destination}: sending failed: {type(error).__name__}: {error}"))
        finally:
            with self._lock:
                self._open.pop(me, None)
            if channel is not None:
                channel.close()

    def _connect(self, me: int, group: Group) -> Channel:
        channel = self._transport.open(group)
        with self._lock:
            self._open[me] = channel
            self.summary.associations = max(self.summary.associations, len(self._open))
            first, self._connected = not self._connected, True
        if first:
            wanted = self._wanted or associations_for(channel.round_trip)
            worth = (
                math.ceil(self._outstanding / INSTANCES_PER_ASSOCIATION) if self._wanted is None else self._outstanding
            )
            self._start_workers(max(0, min(wanted, worth) - 1))
        return channel

    def _take(self, current: Group | None) -> tuple[Group, list[Instance]] | None:
        """Take the next batch, from the current group as long as it has any."""
        with self._lock:
            left = [(group, queue) for group, queue in self._queues if queue]
            if not left:
                return None
            group, queue = next(((g, q) for g, q in left if g is current), left[0])
            batch = [queue.popleft()]
            size = batch[0].source.size
            while queue and size + queue[0].source.size <= self._transport.batch_bytes:
                batch.append(queue.popleft())
                size += batch[-1].source.size
            return group, batch

    def _record(self, group: Group, answer: Answer) -> bool:
        """Count an answer; give False if the instance goes back to be tried again."""
        instance = answer.instance
        if answer.outcome == "stored":
            # First the journal: what is counted as sent must be in it.
            self._journal.add(instance, answer.status)
        with self._lock:
            if answer.outcome == "busy":
                self._attempts[instance.sop_instance] += 1
                if self._attempts[instance.sop_instance] < ATTEMPTS:
                    self._queue_of(group).append(instance)
                    self.summary.retries += 1
                    return False
            if answer.outcome == "stored":
                self.summary.sent += 1
                self.summary.sent_bytes += instance.source.size
                self._trouble_since = None
                if answer.reason is not None:
                    self.summary.warnings[answer.reason] += 1
            else:
                reason = answer.reason or answer.outcome
                name = f"unreadable: {reason}" if answer.outcome == "unreadable" else reason
                self.summary.refused[name].append(str(instance.source))
            self._settled()
        return True

    def _give_back(self, group: Group, waiting: Iterable[Instance], error: OrthwebError, *, in_flight: bool) -> None:
        """Queue unanswered instances again, unless one of them keeps breaking the association."""
        with self._lock:
            self._open.pop(threading.get_ident(), None)
            self.summary.retries += 1
            blamed = in_flight and isinstance(error, PeerError) and not isinstance(error, RejectedError)
            for number, instance in enumerate(waiting):
                if blamed and number == 0 and not self._stop.is_set():
                    self._attempts[instance.sop_instance] += 1
                    # The association came about each time: then it is the instance, not the peer, that is in the way.
                    if self._attempts[instance.sop_instance] >= ATTEMPTS:
                        self.summary.refused[f"given up after {ATTEMPTS} attempts: {error.message}"].append(
                            str(instance.source)
                        )
                        self._trouble_since = None
                        self._settled()
                        continue
                self._queue_of(group).append(instance)

    def _queue_of(self, group: Group) -> deque[Instance]:
        return next(queue for candidate, queue in self._queues if candidate is group)

    def _settled(self) -> None:
        self._outstanding -= 1
        if self._outstanding == 0:
            self._done.set()

    def _may_retry(self, error: OrthwebError) -> bool:
        """Decide whether trying again makes sense."""
        if not isinstance(error, PeerError) or not self._connected or self._stop.is_set():
            return False
        if isinstance(error, RejectedError) and not error.transient:
            return False
        with self._lock:
            now = time.monotonic()
            if self._trouble_since is None:
                self._trouble_since = now
            return now - self._trouble_since < self._retry_for

    def _end(self, error: OrthwebError) -> None:
        with self._lock:
            if self.summary.fatal is None and not self._stop.is_set():
                self.summary.fatal = error
        self._stop.set()
        self._done.set()


def _pause(failures: int) -> float:
    """Wait longer after each failure, not all at the same moment."""
    return min(_LONGEST_PAUSE, 0.25 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


def _same(one: Instance, other: Instance) -> bool:
    """Whether two sources hold the same bytes."""
    if one.source.size != other.source.size:
        return False
    try:
        with one.source.open() as first, other.source.open() as second:
            digests = [hashlib.file_digest(file, "sha256").digest() for file in (first, second)]  # type: ignore[arg-type]
    except OSError:
        return False
    return digests[0] == digests[1]

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from orthweb.errors import OrthwebError
from orthweb.host.loop import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PATIENCE,
    Loop,
    ReplacedError,
    StoppedError,
    WaitError,
    Wanted,
    failed_elsewhere,
)
from orthweb.host.parameters import HostReport

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
FIRST = Wanted("one", "site", {"archive": "a:1"}, shared=False, others={})
SHARED = replace(FIRST, shared=True)


@dataclass
class Recorded:
    """A host that does nothing but remember, and fails where it is told to."""

    wanted: Wanted = FIRST
    fetching: Exception | None = None
    applying: list[BaseException] = field(default_factory=list)
    checking: Exception | None = None
    draining: Exception | None = None
    tending: Exception | None = None
    settling: list[bool | Exception] = field(default_factory=list)
    drained: bool = False
    free: bool = True
    problem: str | None = "not there yet"
    done: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    about: Wanted | None = None
    running: Wanted | None = None
    memory: Wanted | None = None
    others: list[dict[str, HostReport]] = field(default_factory=list)
    said_under_lock: list[str] = field(default_factory=list)

    def remembered(self) -> Wanted | None:
        return self.memory

    def remember(self, wanted: Wanted | None) -> None:
        self.memory = wanted

    def fetch(self) -> Wanted:
        if self.fetching is not None:
            raise self.fetching
        return replace(self.wanted, others=self.others.pop()) if self.others else self.wanted

    @contextmanager
    def lock(self) -> Iterator[bool]:
        self.done.append("lock")
        try:
            yield self.free
            self.done.append("unlock")
        finally:
            self.said_under_lock.append(self.told[-1][0] if self.told else "")

    def check(self) -> None:
        if self.checking is not None:
            raise self.checking

    def drain(self) -> None:
        self.done.append("drain")
        self.drained = True
        if self.draining is not None:
            raise self.draining

    def apply(self) -> None:
        if self.applying:
            raise self.applying.pop()
        self.done.append("apply")
        self.problem = None

    def undrain(self) -> None:
        if self.drained:
            self.done.append("undrain")
            self.drained = False

    def tend(self) -> None:
        self.done.append("tend")
        if self.tending is not None:
            raise self.tending

    def serving(self) -> str | None:
        return self.problem

    def ready(self) -> bool:
        self.done.append("ready")
        said = self.settling.pop() if self.settling else True
        if isinstance(said, Exception):
            raise said
        return said

    def tell(self, state: str, message: str, wanted: Wanted | None, running: Wanted | None, lines: list[str]) -> None:
        self.told.append((state, message))
        self.lines, self.about, self.running = lines, wanted, running


@pytest.fixture
def host() -> Recorded:
    return Recorded()


@pytest.fixture
def loop(host: Recorded) -> Loop:
    return Loop(host, lambda _line: None, lambda: NOW)


def states(host: Recorded) -> list[str]:
    return [state for state, _ in host.told]


def test_first_round_applies_under_the_lock_and_says_ready(loop: Loop, host: Recorded) -> None:
    assert loop.round()
    assert host.done == ["lock", "apply", "ready", "unlock"]
    assert states(host) == ["starting", "ready"]


def test_unchanged_site_is_tended_and_nothing_else(loop: Loop, host: Recorded) -> None:
    loop.round()
    host.done.clear()
    assert loop.round()
    assert host.done == ["tend"]


def test_changed_site_is_applied_again(loop: Loop, host: Recorded) -> None:
    loop.round()
    host.wanted = replace(FIRST, digest="two")
    host.done.clear()
    assert loop.round()
    assert "apply" in host.done
    assert "drain" not in host.done, "nobody else would take what this host refuses"


def test_change_where_others_serve_drains_first(loop: Loop, host: Recorded) -> None:
    host.wanted = SHARED
    loop.round()
    host.wanted = replace(SHARED, digest="two")
    host.done.clear()
    assert loop.round()
    assert host.done == ["lock", "drain", "apply", "undrain", "unlock"]
    assert "draining" in states(host)


def test_host_of_a_new_agent_that_serves_already_drains_too(loop: Loop, host: Recorded) -> None:
    host.wanted, host.problem = SHARED, None
    loop.round()
    assert host.done[:3] == ["lock", "drain", "apply"]


def test_drained_host_that_cannot_apply_takes_work_again(loop: Loop, host: Recorded) -> None:
    host.wanted = SHARED
    loop.round()
    host.wanted = replace(SHARED, digest="two")
    host.applying = [OrthwebError("no such image")]
    host.done.clear()
    assert not loop.round()
    assert host.done == ["lock", "drain", "undrain"]
    assert host.told[-1] == ("failed", "no such image")


def test_host_without_the_lock_waits_for_its_turn(loop: Loop, host: Recorded) -> None:
    host.free = False
    assert not loop.round()
    assert states(host) == ["starting"]
    assert "apply" not in host.done


def test_serving_host_without_the_lock_stays_ready(loop: Loop, host: Recorded) -> None:
    loop.round()
    host.wanted, host.free = replace(FIRST, digest="two"), False
    assert loop.round()
    assert states(host)[-1] == "ready"


def test_failure_is_one_line_and_the_next_round_tries_again(loop: Loop, host: Recorded) -> None:
    host.applying = [OrthwebError("archive does not start", "orthweb logs archive")]
    loop.report("pulling the images")
    assert not loop.round()
    assert host.told[-1] == ("failed", "archive does not start (orthweb logs archive)")
    assert host.lines == ["pulling the images"]
    assert loop.round()
    assert states(host)[-1] == "ready"


def test_fault_of_the_agent_ends_neither_the_loop_nor_says_what_it_saw(loop: Loop, host: Recorded) -> None:
    host.fetching = ValueError("PATIENT^NAME")
    assert not loop.round()
    assert host.told[-1] == ("failed", "unexpected ValueError")


def test_missing_database_is_waited_for_not_failed(loop: Loop, host: Recorded) -> None:
    host.fetching = WaitError("waiting-for-database", "database pacs-index: creating")
    assert not loop.round()
    assert host.told == [("waiting-for-database", "database pacs-index: creating")]


def test_site_that_is_silent_for_long_is_made_anew(loop: Loop, host: Recorded) -> None:
    loop.round()
    host.problem = "HTTPS on port 443: refused"
    host.done.clear()
    for _ in range(PATIENCE - 1):
        assert not loop.round()
    assert "apply" not in host.done
    assert states(host)[-1] == "failed"
    assert loop.round()
    assert "apply" in host.done


def test_site_that_answers_again_in_time_is_left_alone(loop: Loop, host: Recorded) -> None:
    loop.round()
    for _ in range(3):
        host.problem = "HTTPS on port 443: refused"
        loop.round()
        host.problem = None
        loop.round()
    assert host.done.count("apply") == 1


def report(state: str, applied: str, age: timedelta) -> HostReport:
    return HostReport(state, (NOW - age).isoformat(), "no such image", applied)


def test_change_that_another_host_failed_with_is_not_followed(loop: Loop, host: Recorded) -> None:
    host.wanted = SHARED
    loop.round()
    others = {"i-2": report("failed", "two", timedelta(seconds=30))}
    host.wanted = replace(SHARED, digest="two", others=others)
    host.done.clear()
    assert loop.round()
    assert host.done == []
    assert host.told[-1] == ("ready", "serving as before: i-2 failed with what is wanted now")


@pytest.mark.parametrize(
    "other",
    [
        report("ready", "two", timedelta(seconds=30)),
        report("failed", "one", timedelta(seconds=30)),
        report("failed", "two", timedelta(hours=1)),
        HostReport("failed", "nonsense", "", "two"),
    ],
)
def test_other_hosts_that_say_nothing_of_this_change_do_not_matter(other: HostReport) -> None:
    assert failed_elsewhere(replace(SHARED, digest="two", others={"i-2": other}), NOW) is None


def test_status_that_cannot_be_written_does_not_keep_the_site_down(host: Recorded) -> None:
    class Mute(Recorded):
        def tell(self, *_words: object) -> None:
            raise OrthwebError("AccessDenied")

    mute, said = Mute(), list[str]()
    assert Loop(mute, said.append, lambda: NOW).round()
    assert any("status cannot be written" in line for line in said)


def test_newer_agent_ends_this_one(loop: Loop, host: Recorded) -> None:
    host.fetching = ReplacedError("another image")
    with pytest.raises(ReplacedError):
        loop.run(threading.Event(), 0, 0)


def test_run_ends_when_it_is_told_to(host: Recorded) -> None:
    stop = threading.Event()

    class Ending(Recorded):
        def ready(self) -> bool:
            stop.set()
            return True

    ending = Ending()
    Loop(ending, lambda _line: None, lambda: NOW).run(stop, 60, 60)
    assert states(ending)[-1] == "ready"


# --- a change that does not work, and hosts that serve beside each other ----------------------------------------------


def serving(**values: object) -> Recorded:
    """A host that serves as before beside another one, and whose agent has just been started."""
    return Recorded(**({"wanted": SHARED, "problem": None} | values))  # type: ignore[arg-type]


def test_new_agent_of_a_serving_host_does_not_follow_what_another_host_failed_with() -> None:
    others = {"i-2": report("failed", "one", timedelta(seconds=30))}
    host = serving(wanted=replace(SHARED, others=others))
    assert Loop(host, print, lambda: NOW).round()
    assert host.done == []
    assert host.told[-1][0] == "ready"


def test_host_that_fails_says_so_before_another_one_has_the_lock() -> None:
    host = serving(applying=[OrthwebError("archive does not start")])
    Loop(host, print, lambda: NOW).round()
    assert host.said_under_lock == ["failed"]


def test_host_that_gets_the_lock_of_one_that_just_failed_does_not_follow() -> None:
    failed = {"i-2": report("failed", "one", timedelta(seconds=1))}
    host = serving(others=[failed, {"i-2": report("draining", "one", timedelta(seconds=9))}])
    assert Loop(host, print, lambda: NOW).round()
    assert host.done == ["lock", "unlock"]
    assert host.told[-1] == ("ready", "serving as before: i-2 failed with what is wanted now")


def test_serving_host_of_a_new_agent_that_waits_for_its_turn_stays_ready() -> None:
    host = serving(free=False)
    Loop(host, print, lambda: NOW).round()
    assert host.told[-1] == ("ready", "waiting for another host's turn to end")


@pytest.mark.parametrize(
    "host",
    [
        serving(drained=True, free=False),
        serving(drained=True, fetching=OrthwebError("no such parameter")),
        serving(drained=True, problem="does not answer"),
    ],
    ids=["waits for its turn", "cannot ask", "was stopped in the middle of up"],
)
def test_host_that_a_killed_agent_left_draining_takes_work_again(host: Recorded) -> None:
    Loop(host, print, lambda: NOW).round()
    assert not host.drained


def test_drain_that_fails_is_undone() -> None:
    host = serving(draining=OrthwebError("the edge does not answer"))
    assert not Loop(host, print, lambda: NOW).round()
    assert not host.drained
    assert "apply" not in host.done


def test_agent_that_is_told_to_end_while_it_drains_undoes_that_and_says_no_failure() -> None:
    host = serving(draining=StoppedError())
    Loop(host, print, lambda: NOW).run(threading.Event(), 0, 0)
    assert host.done == ["lock", "drain", "undrain"]
    assert "failed" not in states(host)


def test_change_that_can_be_refused_beforehand_drains_nothing() -> None:
    host = serving(checking=OrthwebError("index.ca: should be a certificate"))
    assert not Loop(host, print, lambda: NOW).round()
    assert host.done == ["lock"]
    assert host.told[-1] == ("failed", "index.ca: should be a certificate")


def test_change_that_failed_after_a_drain_is_left_alone_for_longer_and_longer() -> None:
    now = NOW
    host = serving()
    loop = Loop(host, print, lambda: now)
    for pause in (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE):
        host.applying, host.done = [OrthwebError("archive does not start")], []
        assert not loop.round()
        assert host.done == ["lock", "drain", "undrain"]
        now += pause - timedelta(seconds=1)
        host.done.clear()
        assert not loop.round()
        assert host.done == []
        assert host.told[-1][0] == "failed"
        assert "archive does not start; serving as before" in host.told[-1][1]
        now += timedelta(seconds=1)
    assert loop.round()
    assert host.told[-1][0] == "ready"


def test_other_change_than_the_one_that_failed_is_tried_at_once() -> None:
    host = serving(applying=[OrthwebError("archive does not start")])
    loop = Loop(host, print, lambda: NOW)
    loop.round()
    host.wanted = replace(SHARED, digest="two")
    assert loop.round()


def test_change_that_failed_is_tried_again_at_once_when_the_site_no_longer_answers() -> None:
    host = serving(applying=[OrthwebError("archive does not start")])
    loop = Loop(host, print, lambda: NOW)
    loop.round()
    host.problem = "refused"
    assert loop.round()
    assert host.done[-4:] == ["lock", "apply", "ready", "unlock"]


# --- where the agent before this one was ------------------------------------------------------------------------------


def test_new_agent_of_an_unchanged_host_drains_and_applies_nothing() -> None:
    host = serving(memory=SHARED)
    assert Loop(host, print, lambda: NOW).round()
    assert host.done == ["tend", "ready"]
    assert host.running == SHARED


def test_new_agent_of_a_host_that_does_not_answer_makes_it_anew() -> None:
    host = serving(memory=SHARED, problem="refused")
    assert Loop(host, print, lambda: NOW).round()
    assert "apply" in host.done


def test_new_agent_reports_what_runs_while_it_waits_for_its_turn() -> None:
    host = serving(memory=SHARED, wanted=replace(SHARED, digest="two"), free=False)
    Loop(host, print, lambda: NOW).round()
    assert (host.about, host.running) == (SHARED, SHARED)


def test_agent_that_is_killed_while_it_applies_leaves_nothing_to_go_on_with() -> None:
    host = serving(applying=[KeyboardInterrupt()], memory=replace(SHARED, digest="zero"))
    with pytest.raises(KeyboardInterrupt):
        Loop(host, print, lambda: NOW).round()
    assert host.memory is None


def test_change_that_failed_and_was_taken_back_is_undone_by_applying(loop: Loop, host: Recorded) -> None:
    loop.round()
    host.wanted, host.applying = replace(FIRST, digest="two"), [OrthwebError("archive does not start")]
    loop.round()
    host.wanted = FIRST
    host.done.clear()
    assert loop.round()
    assert "apply" in host.done


# --- what the others read ---------------------------------------------------------------------------------------------


def test_host_that_waits_for_its_turn_reports_what_it_runs(loop: Loop, host: Recorded) -> None:
    host.wanted = SHARED
    loop.round()
    host.wanted, host.free = replace(SHARED, digest="two", images={"archive": "a:2"}), False
    loop.round()
    assert (host.about, host.running) == (SHARED, SHARED)


def test_host_that_failed_reports_what_with_and_what_it_runs(loop: Loop, host: Recorded) -> None:
    host.wanted = SHARED
    loop.round()
    host.wanted, host.applying = replace(SHARED, digest="two"), [OrthwebError("no such image")]
    loop.round()
    assert (host.about, host.running) == (host.wanted, SHARED)


def test_new_agent_reports_nothing_as_applied() -> None:
    host = serving(free=False)
    Loop(host, print, lambda: NOW).round()
    assert host.running is None


# --- what becomes due by itself ---------------------------------------------------------------------------------------


def test_silent_site_is_made_anew_though_what_is_due_fails_too(loop: Loop, host: Recorded) -> None:
    loop.round()
    host.tending, host.problem = OrthwebError("orthanc cannot sign in"), "503"
    host.done.clear()
    for _ in range(PATIENCE - 1):
        assert not loop.round()
        assert host.told[-1] == ("failed", "orthanc cannot sign in")
    assert loop.round()
    assert host.done[-3:] == ["lock", "apply", "unlock"]


def test_serving_site_is_never_made_anew_for_what_is_due_and_fails(loop: Loop, host: Recorded) -> None:
    loop.round()
    host.tending = OrthwebError("AccessDenied")
    host.done.clear()
    for _ in range(3 * PATIENCE):
        assert not loop.round()
    assert set(host.done) == {"tend"}


def test_group_that_waits_for_the_host_is_told_until_it_takes_that(loop: Loop, host: Recorded) -> None:
    host.settling = [True, False, OrthwebError("Throttling")]
    assert loop.round(), "the site serves whatever the group says"
    for _ in range(4):
        assert loop.round()
    assert host.done.count("ready") == 3
    assert host.done.count("apply") == 1


def test_failed_rounds_are_errors_of_the_log_each_time(host: Recorded) -> None:
    said, errors = list[str](), list[str]()
    loop = Loop(host, said.append, lambda: NOW, errors.append)
    host.fetching = OrthwebError("AccessDenied")
    loop.round()
    loop.round()
    assert errors == ["AccessDenied"] * 2
    assert said == ["failed: AccessDenied"]


def test_health_is_unknown_until_the_site_has_served_or_failed(loop: Loop, host: Recorded) -> None:
    host.fetching = WaitError("waiting-for-database", "creating")
    loop.round()
    assert loop.healthy is None
    host.fetching, host.free, host.wanted = None, False, SHARED
    loop.round()
    assert loop.healthy is None
    host.free = True
    loop.round()
    said = [loop.healthy]
    host.problem = "refused"
    loop.round()
    assert [*said, loop.healthy] == [True, False]

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from orthweb.errors import OrthwebError
from orthweb.host.loop import PATIENCE, Loop, ReplacedError, WaitError, Wanted, failed_elsewhere
from orthweb.host.parameters import HostReport

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
FIRST = Wanted("one", "site", {"archive": "a:1"}, shared=False, others={})
SHARED = replace(FIRST, shared=True)


@dataclass
class Recorded:
    """A host that does nothing but remember, and fails where it is told to."""

    wanted: Wanted = FIRST
    fetching: Exception | None = None
    applying: list[Exception] = field(default_factory=list)
    free: bool = True
    problem: str | None = "not there yet"
    done: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def fetch(self) -> Wanted:
        if self.fetching is not None:
            raise self.fetching
        return self.wanted

    @contextmanager
    def lock(self) -> Iterator[bool]:
        self.done.append("lock")
        yield self.free
        self.done.append("unlock")

    def drain(self) -> None:
        self.done.append("drain")

    def apply(self) -> None:
        if self.applying:
            raise self.applying.pop()
        self.done.append("apply")
        self.problem = None

    def undrain(self) -> None:
        self.done.append("undrain")

    def tend(self) -> None:
        self.done.append("tend")

    def serving(self) -> str | None:
        return self.problem

    def ready(self) -> None:
        self.done.append("ready")

    def tell(self, state: str, message: str, wanted: Wanted | None, lines: list[str]) -> None:
        self.told.append((state, message))
        self.lines = lines


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
    assert host.done == ["lock", "drain", "apply", "undrain", "ready", "unlock"]
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
        def tell(self, state: str, message: str, wanted: Wanted | None, lines: list[str]) -> None:
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
        def ready(self) -> None:
            stop.set()

    ending = Ending()
    Loop(ending, lambda _line: None, lambda: NOW).run(stop, 60, 60)
    assert states(ending)[-1] == "ready"

"""Running checks: verdicts, time limits, the test patient's removal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import cast

import pytest

from orthweb.checks.check import Check, CheckFailed, NotApplicable, Result
from orthweb.checks.context import Context, Removal
from orthweb.checks.once import Once
from orthweb.checks.runner import perform, run
from orthweb.errors import OrthwebError


class NoSite:
    """What the runner needs of a context, without a site: it counts removals."""

    def __init__(self, removal_error: Exception | None = None) -> None:
        self.order: list[str] = []
        self.removal_error = removal_error
        self.removed = Once(self._remove)

    def _remove(self) -> Removal:
        self.order.append("removal")
        if self.removal_error is not None:
            raise self.removal_error
        return Removal(1, 0)

    def close(self) -> None:
        self.removed()

    def redact(self, text: str) -> str:
        return text.replace("hunter2", "(secret)")


def context(removal_error: Exception | None = None) -> Context:
    return cast(Context, NoSite(removal_error))


def order(of: Context) -> list[str]:
    return cast(NoSite, of).order


def make(name: str, function: Callable[[Context], str], **other: object) -> Check:
    return Check(name, "a title", "an expectation", "a hint", function, **other)  # type: ignore[arg-type]


def noting(notes: list[str], text: str) -> Callable[[Context], str]:
    def function(_: Context) -> str:
        notes.append(text)
        return text

    return function


def raising(error: BaseException) -> Callable[[Context], str]:
    def function(_: Context) -> str:
        raise error

    return function


def test_check_when_it_returns_then_it_passes_with_its_evidence() -> None:
    result = perform(make("web.a", lambda _: "seen"), context())
    assert (result.status, result.evidence, result.hint, result.group) == ("pass", "seen", "", "web")


@pytest.mark.parametrize(
    ("error", "status", "evidence", "hint"),
    [
        (CheckFailed("wrong"), "fail", "wrong", "a hint"),
        (CheckFailed("wrong", "do this"), "fail", "wrong", "do this"),
        (NotApplicable("no host"), "n/a", "no host", ""),
        (OrthwebError("peer gone", "start it"), "fail", "peer gone", "start it"),
        (OrthwebError("peer gone"), "fail", "peer gone", "a hint"),
        (ValueError("two\nlines"), "fail", "two lines (ValueError)", "a hint"),
        (KeyError(), "fail", "KeyError", "a hint"),
    ],
)
def test_check_when_it_raises_then_the_result_says_what_and_what_next(
    error: Exception, status: str, evidence: str, hint: str
) -> None:
    result = perform(make("web.a", raising(error)), context())
    assert (result.status, result.evidence, result.hint) == (status, evidence, hint)


def test_evidence_when_it_holds_a_secret_then_it_is_taken_out() -> None:
    assert perform(make("web.a", raising(ValueError("login hunter2"))), context()).evidence == (
        "login (secret) (ValueError)"
    )


def test_run_when_checks_finish_in_any_order_then_results_keep_the_order_asked_for() -> None:
    first_may_end = threading.Event()

    def end_first(_: Context) -> str:
        first_may_end.set()
        return "quick"

    checks = [
        make("web.slow", lambda _: str(first_may_end.wait(10))),
        make("web.quick", end_first),
    ]
    seen: list[str] = []
    results = run(checks, context(), lambda result: seen.append(result.id))
    assert [result.id for result in results] == ["web.slow", "web.quick"]
    assert seen == ["web.quick", "web.slow"]


def test_run_when_a_check_hangs_then_it_fails_in_its_time_and_the_others_are_not_held_up() -> None:
    never = threading.Event()
    checks = [make("web.hangs", lambda _: str(never.wait()), timeout=0.2), make("web.fine", lambda _: "fine")]
    began = time.monotonic()
    hung, fine = run(checks, context())
    never.set()
    assert time.monotonic() - began < 5
    assert (hung.status, hung.evidence, hung.hint) == ("fail", "no result within 0.2 s", "a hint")
    assert fine.status == "pass"


def test_run_when_more_checks_hang_than_run_at_once_then_all_get_their_turn() -> None:
    never = threading.Event()
    checks = [make(f"web.hangs{number}", lambda _: str(never.wait()), timeout=0.1) for number in range(20)]
    results = run([*checks, make("web.fine", lambda _: "fine")], context())
    never.set()
    assert [result.status for result in results] == ["fail"] * 20 + ["pass"]


def test_removal_when_checks_fail_then_it_comes_after_them_and_before_those_of_what_is_left() -> None:
    site = context()
    done = order(site)
    checks = [
        make("store.left", noting(done, "left"), prepare=noting(done, "prepared")),
        make("web.fails", raising(ZeroDivisionError())),
    ]
    results = run(checks, site)
    assert done == ["prepared", "removal", "left"]
    assert [result.status for result in results] == ["pass", "fail"]


def test_preparation_when_it_fails_then_its_check_fails_with_that_and_does_not_run() -> None:
    ran: list[str] = []
    check = make("store.left", noting(ran, "left"), prepare=raising(CheckFailed("not stored")))
    (result,) = run([check], context())
    assert (result.status, result.evidence, ran) == ("fail", "not stored", [])


def test_removal_when_the_person_interrupts_then_it_is_done_before_the_program_ends() -> None:
    site = context()

    def interrupt(_: Result) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([make("web.a", lambda _: "seen")], site, interrupt)
    assert order(site) == ["removal"]


def test_removal_when_it_fails_then_the_run_fails_even_if_nobody_asked_for_that_check() -> None:
    results = run([make("web.a", lambda _: "seen")], context(CheckFailed("still there")))
    assert [(result.id, result.status) for result in results] == [("web.a", "pass"), ("web.removal", "fail")]
    assert results[-1].evidence == "still there"


def test_once_when_many_ask_then_it_is_made_once_and_errors_are_kept() -> None:
    made: list[int] = []

    def make_it() -> int:
        made.append(1)
        return len(made)

    value = Once(make_it)
    threads = [threading.Thread(target=value) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value() == 1

    def fail() -> int:
        made.append(2)
        raise CheckFailed("no")

    broken = Once(fail)
    for _ in range(3):
        with pytest.raises(CheckFailed, match="no"):
            broken()
    assert made == [1, 2]

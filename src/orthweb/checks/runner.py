"""Run checks side by side, each within its own time; a service that hangs never hangs the run."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orthweb.checks.check import Check, CheckFailed, NotApplicable, Result, Status
from orthweb.checks.context import Context
from orthweb.errors import OrthwebError

PARALLEL = 8
"""Checks that run at once: most of them wait for the network."""

LEFT_BEHIND = Check(
    id="web.removal",
    title="Test patient removed",
    expected="The test patient is deleted and no longer found",
    hint="delete the patients whose ID begins with ORTHWEB-VALIDATION- in Orthanc Explorer",
    run=lambda context: f"{context.removed().own} test patient removed",
)
"""Reported when removal fails although nobody asked for the check of it."""

Listener = Callable[[Result], None]


@dataclass
class _Running:
    check: Check
    deadline: float
    started: float


def run(checks: Sequence[Check], context: Context, on_result: Listener = lambda _: None) -> list[Result]:
    """Run checks and remove the test patient, also after an interrupt; give results in the order of `checks`.

    Parameters
    ----------
    on_result : called in the caller's thread with each result as it comes.
    """
    results: dict[str, Result] = {}

    def keep(result: Result) -> None:
        results[result.id] = result
        on_result(result)

    prepared: dict[str, Result] = {}

    def sort(result: Result) -> None:
        if result.id in later and result.status == "pass":
            prepared[result.id] = result
        else:
            keep(result)

    later = {check.id for check in checks if check.prepare is not None}
    try:
        _run_side_by_side([_first_half(check) for check in checks], context, sort)
    finally:
        removal = _removal(context)
    _run_side_by_side([check for check in checks if check.id in prepared], context, keep)
    ordered = [results[check.id] for check in checks]
    if removal is not None and removal.status == "fail" and removal.id not in results:
        on_result(removal)
        ordered.append(removal)
    return ordered


def _first_half(check: Check) -> Check:
    """Give what of a check runs before the test patient is removed."""
    if check.prepare is None:
        return check
    prepare = check.prepare
    return replace(check, run=lambda context: str(prepare(context)))


def _removal(context: Context) -> Result | None:
    try:
        context.close()
    except Exception:
        return perform(LEFT_BEHIND, context)
    return None


def _run_side_by_side(checks: Sequence[Check], context: Context, on_result: Listener) -> None:
    """Start each check in a thread that nobody waits for longer than its timeout."""
    waiting = list(reversed(checks))
    running: dict[str, _Running] = {}
    finished: queue.SimpleQueue[Result] = queue.SimpleQueue()

    def work(check: Check) -> None:
        finished.put(perform(check, context))

    while waiting or running:
        while waiting and len(running) < PARALLEL:
            check = waiting.pop()
            now = time.monotonic()
            running[check.id] = _Running(check, now + check.timeout, now)
            # A daemon: a thread that hangs in a system call must not keep the program from ending.
            threading.Thread(target=work, args=(check,), name=check.id, daemon=True).start()
        nearest = min(entry.deadline for entry in running.values())
        try:
            result = finished.get(timeout=max(0.0, nearest - time.monotonic()))
        except queue.Empty:
            for late in [entry for entry in running.values() if entry.deadline <= time.monotonic()]:
                del running[late.check.id]
                on_result(_overdue(late))
            continue
        if running.pop(result.id, None) is not None:
            on_result(result)


def _overdue(late: _Running) -> Result:
    evidence = f"no result within {late.check.timeout:g} s"
    return _result(late.check, "fail", evidence, late.check.hint, time.monotonic() - late.started)


def perform(check: Check, context: Context) -> Result:
    """Run one check here and now; whatever it raises becomes a result."""
    started = time.monotonic()
    status: Status = "pass"
    hint = ""
    try:
        evidence = check.run(context)
    except NotApplicable as reason:
        status, evidence = "n/a", str(reason)
    except CheckFailed as failure:
        status, evidence, hint = "fail", failure.evidence, failure.hint or check.hint
    except OrthwebError as error:
        status, evidence, hint = "fail", error.message, error.hint or check.hint
    except Exception as error:
        status, evidence, hint = "fail", explain(error), check.hint
    return _result(check, status, context.redact(evidence), hint, time.monotonic() - started)


def _result(check: Check, status: Status, evidence: str, hint: str, seconds: float) -> Result:
    return Result(check.id, check.group, check.title, status, check.expected, evidence, hint, round(seconds, 3))


def explain(error: BaseException) -> str:
    """Put an unforeseen exception into one line: its own words, or its kind when it has none."""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{text[:300]} ({kind})" if text else kind

"""Which version of the agent goes on, and on which host first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orthweb.errors import OrthwebError
from orthweb.host import succession
from orthweb.host.loop import ReplacedError
from orthweb.host.parameters import HostReport
from orthweb.host.status import STALE

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


class Engine:
    """Remembers what it was asked to run."""

    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def run(self, *words: str) -> str:
        self.said.append(words)
        return "orthweb 0.2.0\n"


def other(agent: str, state: str = "ready", age: timedelta = timedelta(seconds=30)) -> HostReport:
    return HostReport(state, (NOW - age).isoformat(), agent=agent)


def test_another_ops_image_takes_over_once_it_was_seen_to_run(tmp_path: Path) -> None:
    engine: Any = Engine()
    with pytest.raises(ReplacedError):
        succession.take_over(engine, "ops:2", "ops:1", tmp_path)
    assert (tmp_path / "ops-image").read_text() == "ops:2\n"
    assert engine.said[0][-2:] == ("ops:2", "--version")


@pytest.mark.parametrize(("wanted", "own"), [("ops:1", "ops:1"), ("ops:2", ""), ("", "ops:1")])
def test_agent_goes_on_where_nothing_else_is_wanted(tmp_path: Path, wanted: str, own: str) -> None:
    engine: Any = Engine()
    succession.take_over(engine, wanted, own, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_image_that_gave_way_is_not_tried_again_and_another_one_is(tmp_path: Path) -> None:
    engine: Any = Engine()
    (tmp_path / succession.BAD).write_text("ops:2\n")
    with pytest.raises(OrthwebError, match="ops:2 was tried and ended again and again: ops:1 goes on"):
        succession.take_over(engine, "ops:2", "ops:1", tmp_path)
    assert not (tmp_path / succession.CHOSEN).exists()
    with pytest.raises(ReplacedError):
        succession.take_over(engine, "ops:3", "ops:1", tmp_path)


def test_agent_that_asked_the_account_is_the_one_to_return_to(tmp_path: Path) -> None:
    succession.confirm(tmp_path, "ops:2")
    assert succession.read(tmp_path, succession.GOOD) == "ops:2"
    succession.confirm(tmp_path, "")  # it runs in no image
    assert succession.read(tmp_path, succession.GOOD) == "ops:2"


def test_first_of_the_hosts_tries_another_agent_and_the_others_wait() -> None:
    one, two = {"i-1": other("ops:1")}, {"i-2": other("ops:1")}
    assert succession.before("i-1", "ops:2", two, NOW) is None
    assert succession.before("i-2", "ops:2", one, NOW) == "i-1"


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        (other("ops:2", "draining"), False),
        (other("ops:2", "failed"), False),
        (other("ops:2", "booting"), True),
        (other("ops:1", "failed"), True),
        (other("ops:1", age=STALE), False),
        (other(""), False),
        (HostReport("", ""), False),
    ],
    ids=[
        "runs it",
        "runs it, and the site fails",
        "may die yet",
        "went back",
        "is gone",
        "of no image",
        "said nothing",
    ],
)
def test_second_host_follows_when_the_first_one_has_told_something_with_the_other_agent(
    said: HostReport, *, waits: bool
) -> None:
    assert succession.before("i-2", "ops:2", {"i-1": said}, NOW) == ("i-1" if waits else None)

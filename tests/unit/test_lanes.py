"""`make test` in three processes: every test runs in one of them, and what each finds is neither lost nor hidden."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from live.sites import free_port

ROOT = Path(__file__).parents[2]
LANES = ("quick", "processes", "machines")

# In place of Python: each lane says what it was told, lasts as long and ends as its file says.
STANDIN = """\
#!/usr/bin/env bash
cd "$(dirname "$0")"
lane=$(sed -E 's/.*--lane ([a-z]+).*/\\1/' <<<"$*")
trap 'echo "$lane cleans up"; echo >>"$lane.interrupts"; exit 2' INT
echo "$lane begins: $*"
touch "$lane.began"
. "./$lane"
echo "$lane ends"
exit "$code"
"""


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    """A program in place of Python, in a folder with what each lane does."""
    for lane in LANES:
        (tmp_path / lane).write_text("code=0\n")
    program = tmp_path / "python"
    program.write_text(STANDIN)
    program.chmod(0o755)
    return program


def start(standin: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"ORTHWEB_TEST_PYTHON": str(standin)}
    return subprocess.Popen(
        [str(ROOT / "scripts/tests"), *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_tests_when_all_pass_then_every_lane_has_run_once_with_the_given_options(standin: Path) -> None:
    (standin.parent / "machines").write_text("until [ -e processes.began ]; do sleep 0.05; done; code=0\n")
    running = start(standin, "--maxfail=7")
    said, _ = running.communicate(timeout=20)
    assert running.returncode == 0, said
    for lane in LANES:
        assert said.count(f"{lane} begins: -m pytest tests --lane {lane} ") == 1
        assert said.count(f"{lane} ends") == 1
    assert said.count("--maxfail=7") == 3
    assert said.splitlines()[-3:] == ["quick: passed", "processes: passed", "machines: passed"]


@pytest.mark.parametrize("lane", LANES)
def test_tests_when_one_lane_fails_then_all_have_run_and_the_end_says_which(standin: Path, lane: str) -> None:
    (standin.parent / lane).write_text("code=3\n")
    running = start(standin)
    said, _ = running.communicate(timeout=20)
    assert running.returncode == 1
    assert [each for each in LANES if f"{each} ends" not in said] == []
    expected = {each: f"{each}: passed" for each in LANES} | {lane: f"{lane}: failed (pytest's exit code 3)"}
    assert set(said.splitlines()[-3:]) == set(expected.values())


@pytest.mark.parametrize(("options", "code"), [((), 1), (("-k", "certificate"), 0)])
def test_tests_when_a_lane_has_none_then_fails_unless_options_choose(
    standin: Path, options: tuple[str, ...], code: int
) -> None:
    (standin.parent / "processes").write_text("code=5\n")
    running = start(standin, *options)
    said, _ = running.communicate(timeout=20)
    assert (running.returncode, "processes: passed" in said) == (code, False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_tests_when_interrupted_then_each_lane_cleans_up_once_and_is_heard(
    standin: Path, number: signal.Signals, code: int
) -> None:
    for lane in ("processes", "machines"):
        (standin.parent / lane).write_text("while sleep 0.05; do :; done\n")
    running = start(standin)
    until = time.monotonic() + 10
    while not all((standin.parent / f"{lane}.began").exists() for lane in LANES):
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(running.pid, number)  # as a terminal does
    said, _ = running.communicate(timeout=20)
    assert running.returncode == code
    for lane in ("processes", "machines"):
        assert f"{lane} cleans up" in said
        assert (standin.parent / f"{lane}.interrupts").read_text() == "\n"


@pytest.mark.parametrize(
    ("tier", "fixtures", "lane"),
    [
        ("unit", (), "quick"),
        ("render", ("program",), "quick"),
        ("live", ("own_site",), "processes"),
        ("live", ("site", "docker_host", "docker_engine"), "machines"),
        ("aws", ("terraform_program",), "machines"),
        ("host", (), "machines"),
    ],
)
def test_lane_when_a_test_is_of_a_tier_and_needs_fixtures_then_follows_from_these(
    request: pytest.FixtureRequest, tier: str, fixtures: tuple[str, ...], lane: str
) -> None:
    shared: Any = request.config.pluginmanager.get_plugin(str(ROOT / "tests/conftest.py"))
    assert shared.LANES == LANES
    assert shared.lane(tier, fixtures) == lane


def test_free_port_when_another_process_of_tests_chose_it_then_gives_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = "import sys, time; from live.sites import free_port; print(free_port(), flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    other = subprocess.Popen([sys.executable, "-c", choose], env=environment, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        chosen = int(other.stdout.readline())
        numbers = itertools.count(chosen)
        monkeypatch.setattr(random, "randint", lambda *_: next(numbers))
        assert free_port() != chosen
        other.kill()


def test_folder_when_it_has_tests_of_a_lane_then_that_lane_reads_it(request: pytest.FixtureRequest) -> None:
    shared: Any = request.config.pluginmanager.get_plugin(str(ROOT / "tests/conftest.py"))
    for tier in shared.TIERS:
        readers = {
            chosen
            for chosen in LANES
            if not shared.pytest_ignore_collect(
                ROOT / "tests" / tier, SimpleNamespace(getoption=lambda _, of=chosen: of)
            )
        }
        assert readers == {shared.lane(tier, ()), shared.lane(tier, ("docker_engine",))}

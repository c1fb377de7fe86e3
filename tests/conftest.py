"""What all tests share: the order of the tiers, lanes, foreign programs, and an account of what was left out."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from live.docker_engine import docker_engine, docker_host, images

__all__ = ["docker_engine", "docker_host", "images"]

TIERS = ("unit", "render", "aws", "live", "host")
"""Folders under tests/, quickest first: a mistake shows before anything is started."""

LANES = ("quick", "processes", "machines")
"""What `make test` runs apart: see `lane` and scripts/tests."""

PATHS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""An ordinary user's PATH often lacks the sbin folders."""

# What a script starts in the background ignores Ctrl-C, and so would each program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def leave_out(reason: str) -> None:
    """Skip the running test; with CI=true fail instead, because there nothing may be left out."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true nothing is left out", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def left_out() -> Callable[[str], None]:
    """Give `leave_out` to tests in folders, which cannot import this file."""
    return leave_out


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """Find a program that is no part of orthweb (``program("testssl")``), or leave the test out.

    ``scripts/packages list test`` names the packages that they come from.
    """

    def find(name: str) -> Path:
        found = shutil.which(name, path=PATHS)
        if found is None:
            leave_out(f"no {name} on this machine (make test installs it when it may)")
        assert found is not None
        return Path(found)

    return find


@pytest.fixture(scope="session")
def as_root() -> None:
    """Leave the test out when it is not run by root (network namespaces, services with users of their own)."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


def _tier(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def lane(tier: str, fixtures: Collection[str]) -> str:
    """Tell in which process of `make test` a test runs; every test belongs to exactly one.

    There is one Docker engine, and its images are built once: all that needs it is in the lane of the machines.
    """
    if tier in ("unit", "render"):
        return "quick"
    return "machines" if tier in ("aws", "host") or "docker_engine" in fixtures else "processes"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run be of one lane alone."""
    parser.addoption("--lane", choices=LANES, help="run the tests of this lane alone (scripts/tests runs all)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave folders alone that have nothing of the chosen lane: to read them all takes seconds."""
    chosen, tier = config.getoption("--lane"), collection_path.name
    if chosen is None or collection_path.parent != Path(__file__).parent or tier not in TIERS:
        return None
    return True if chosen not in {lane(tier, ()), lane(tier, ("docker_engine",))} else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the quick tiers first, and mark those as live that start the site's own programs."""
    if (chosen := config.getoption("--lane")) is not None:
        others = {item for item in items if lane(_tier(item), getattr(item, "fixturenames", ())) != chosen}
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=list(others))
    items.sort(key=lambda item: TIERS.index(_tier(item)))
    for item in items:
        if _tier(item) in ("live", "host"):
            item.add_marker("live")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out and why, last before the figures."""
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "no reason given"
        for report in terminalreporter.stats.get("skipped", [])
    )
    if reasons:
        terminalreporter.section("left out")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")

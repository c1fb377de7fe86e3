"""Whether the archive takes instances: decided on folders of this machine."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def reserve() -> ModuleType:
    return importlib.import_module("reserve")


def test_problem_when_there_is_room_then_there_is_none(reserve: ModuleType, tmp_path: Path) -> None:
    assert reserve.problem(tmp_path) is None


def test_problem_when_the_instance_does_not_fit_then_names_the_reserve(reserve: ModuleType, tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert "kept in reserve" in reserve.problem(tmp_path, found.f_bavail * found.f_frsize)


def test_problem_when_the_store_is_gone_then_says_so(reserve: ModuleType, tmp_path: Path) -> None:
    assert "No such file" in reserve.problem(tmp_path / "gone")


def test_problem_when_the_file_system_is_read_only_then_says_so(reserve: ModuleType) -> None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, _, options, *_ = line.split()
        if "ro" in options.split(","):
            assert reserve.problem(folder) == "its file system is read-only"
            return
    pytest.skip("this machine has no read-only file system")


def test_guard_when_the_store_comes_and_goes_then_logs_each_change_once(reserve: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    store = tmp_path / "store"
    guard = reserve.Guard(str(store), said.append)
    assert [guard.status(0), guard.status(0)] == [0xA700, 0xA700]
    store.mkdir()
    assert [guard.status(0), guard.status(0)] == [0, 0]
    assert len(said) == 2


def test_guard_when_the_store_is_gone_then_only_requests_that_bring_instances_are_refused(
    reserve: ModuleType, tmp_path: Path
) -> None:
    guard = reserve.Guard(str(tmp_path / "gone"), lambda _: None)
    assert not guard.admits("/instances", {"content-length": "12"})
    assert not guard.admits("/dicom-web/studies", {"transfer-encoding": "chunked"})
    assert guard.admits("/tools/find", {})

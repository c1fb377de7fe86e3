"""The benchmarks still run: once and small. What they measure is not judged here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("startup", "ingest", "send", "retrieve", "memory", "roles", "store_check", "store_s3")


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_when_run_quickly_then_prints_a_table_and_writes_figures(name: str, tmp_path: Path) -> None:
    done = _run("--quick", "--results", str(tmp_path), name)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert found["quick"] is True
    for table in found["tables"]:
        assert table["title"] in done.stdout
        assert table["rows"]
        for row in table["rows"]:
            assert row.keys() == table["rows"][0].keys()
            assert all(value > 0 for value in row.values() if isinstance(value, int | float))
    assert all(target["measured"] > 0 for target in found["targets"])


def test_run_when_a_benchmark_does_not_exist_then_names_those_that_do() -> None:
    done = _run("speed")
    assert done.returncode == 2
    assert all(name in done.stderr for name in NAMES)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            out, errors = running.communicate()
        except BaseException:
            # Who ends this test ends its sites: killed, the benchmark would leave them running.
            running.send_signal(signal.SIGINT)
            running.communicate()
            raise
        return subprocess.CompletedProcess(command, running.returncode, out, errors)

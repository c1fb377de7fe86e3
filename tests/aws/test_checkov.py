"""checkov finds nothing in the Terraform configuration, but what is passed over with a reason beside it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from aws.terraform import SOURCE

OWN = SOURCE.parent / ".checkov-venv/bin/checkov"
"""Where ``scripts/venv checkov`` puts it: its libraries are older than those of orthweb."""

SUPPRESSION = re.compile(r"#\s*checkov:skip=(?P<checks>[A-Z0-9_,]+)(?::(?P<reason>.*))?$")
SHORTEST_REASON = 3
"""Words; "see above" is no reason."""


@pytest.fixture(scope="module")
def judged(left_out: Callable[[str], None]) -> dict[str, Any]:
    """Give checkov's report on the root module, and through it on all that it is made of."""
    if not OWN.exists():
        left_out("no checkov (scripts/venv checkov installs it)")
    done = subprocess.run(
        [OWN, "--directory", SOURCE, "--framework", "terraform", "--skip-download", "--compact", "--output", "json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] > 100
    return report


def test_checkov_when_it_has_read_everything_then_finds_nothing(
    judged: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    record_property("checkov", judged["summary"])
    found = [
        f"{each['check_id']} {each['resource']}: {each['check_name']}" for each in judged["results"]["failed_checks"]
    ]
    assert found == []


def test_suppressions_when_written_then_each_has_a_reason() -> None:
    lines = [(path, line) for path in sorted(SOURCE.rglob("*.tf")) for line in path.read_text().splitlines()]
    written = [(path, found) for path, line in lines if (found := SUPPRESSION.search(line))]
    assert written
    assert [path for path, line in lines if "checkov:skip" in line] == [path for path, _ in written]
    for path, found in written:
        assert len((found["reason"] or "").split()) >= SHORTEST_REASON, f"{path.name}: {found[0]}"


def test_suppressions_when_written_then_each_is_needed(judged: dict[str, Any]) -> None:
    """One that passes nothing over would hide a finding that comes later."""
    used = {each["check_id"] for each in judged["results"]["skipped_checks"]}
    texts = "\n".join(path.read_text() for path in SOURCE.rglob("*.tf"))
    named = {check for found in re.findall(r"checkov:skip=([A-Z0-9_,]+)", texts) for check in found.split(",")}
    assert named <= used


def test_settings_when_checkov_runs_then_no_file_turns_checks_off() -> None:
    names = (".checkov.yml", ".checkov.yaml", ".checkov.baseline")
    assert [name for name in names for folder in (SOURCE, SOURCE.parent) if (folder / name).exists()] == []

"""`orthweb validate` on real sites: what it finds, what it leaves behind, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from live.sites import LiveSite, live_site
from live.weak_servers import tls_server
from orthweb.checks import archive, catalogue
from orthweb.checks.context import Context
from orthweb.checks.report import SCHEMA
from orthweb.checks.subject import PREFIX, TestPatient, new_patient_id
from validate_schema import violations

pytestmark = pytest.mark.live

NOT_IN_A_BUCKET = dict.fromkeys(
    ("store.strangers", "store.encryption"), "n/a: the files of this site are not in a bucket"
)
"""What does not pass for a healthy site with its files in a folder."""


def test_patients(site: LiveSite) -> list[str]:
    """List the IDs of test patients in the archive."""
    with Context(site.access).client() as client:
        return sorted(archive.patients(client, f"{PREFIX}*").values())


test_patients.__test__ = False  # type: ignore[attr-defined]


def outcome(document: dict[str, Any]) -> dict[str, str]:
    """Give what did not pass: id -> status and evidence."""
    return {
        item["id"]: f"{item['status']}: {item['evidence']}" for item in document["checks"] if item["status"] != "pass"
    }


def test_validate_when_the_site_is_healthy_then_all_pass_and_the_json_obeys_its_schema(site: LiveSite) -> None:
    done = site.orthweb("validate", "--json")
    document = json.loads(done.stdout)
    assert violations(json.loads(SCHEMA.read_text()), document) == []
    assert outcome(document) == NOT_IN_A_BUCKET
    assert [item["id"] for item in document["checks"]] == [check.id for check in catalogue.ALL]
    assert test_patients(site) == []


def test_validate_when_run_again_and_again_then_it_passes_every_time(site: LiveSite) -> None:
    for _ in range(3):
        done = site.orthweb("validate", check=False)
        assert done.returncode == 0, done.stdout


def test_validate_when_not_on_a_terminal_then_it_prints_a_line_for_each_check_and_a_summary(site: LiveSite) -> None:
    done = site.orthweb("validate", "--group", "store", "--check", "dicom.echo")
    *lines, summary = done.stdout.splitlines()
    assert re.fullmatch(r"7 checks: 5 passed, 2 not applicable \(\d+\.\d s\)", summary)
    assert sorted(line.split()[1] for line in lines) == sorted(
        ["dicom.echo", *(check.id for check in catalogue.ALL if check.group == "store")]
    )
    assert all(line.startswith(("ok    ", "n/a   ")) for line in lines)
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("words", [["--group", "nope"], ["--check", "nope"], ["--report", "/nonexistent/report.html"]])
def test_validate_when_the_call_is_wrong_then_it_says_so_and_ends_with_two(site: LiveSite, words: list[str]) -> None:
    done = site.orthweb("validate", *words, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_validate_when_there_is_no_site_yet_then_it_says_so_and_ends_with_one(new_site: LiveSite) -> None:
    done = new_site.orthweb("validate", check=False)
    assert done.returncode == 1
    assert "next: orthweb up" in done.stderr


def test_report_when_asked_for_then_it_is_written_without_patient_or_secret(site: LiveSite, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    site.orthweb("validate", "--report", str(path))
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "Passed" in text
    assert all(check.id in text for check in catalogue.ALL)
    assert PREFIX not in text
    for secret in (site.state / "secrets").iterdir():
        assert secret.read_text().strip() not in text


@pytest.mark.parametrize(
    "tables",
    [
        {"tls": {"client_certificates": "required"}},
        {"tls": {"client_certificates": "optional"}},
        {"tls": {"profile": "modern"}},
        {"dicom": {"aet": "MY ARCHIVE", "unknown_peers": "none"}, "edge": {"listen": ["127.0.0.1", "::1"]}},
    ],
    ids=["client certificates required", "client certificates optional", "modern", "unknown peers none, two addresses"],
)
def test_validate_when_the_site_file_says_otherwise_then_the_checks_follow_it(tables: dict[str, Any]) -> None:
    with live_site(**tables) as other:
        document = json.loads(other.orthweb("validate", "--json", check=False).stdout)
        assert outcome(document) == NOT_IN_A_BUCKET
        assert document["site"]["tls_profile"] == tables.get("tls", {}).get("profile", "intermediate")


def send_as(site: LiveSite, patient_id: str) -> None:
    """Store an instance of a patient with this ID."""
    with Context(site.access).client() as client:
        archive.stow(client, TestPatient(patient_id).slices("left behind", 1, 2048))


def test_leftovers_of_a_killed_run_when_old_then_the_next_run_removes_them_and_no_others(site: LiveSite) -> None:
    old = new_patient_id(datetime.now(UTC) - timedelta(hours=2))
    young = new_patient_id(datetime.now(UTC) - timedelta(minutes=5))
    foreign = f"{PREFIX}JOHN"
    try:
        for name in (old, young, foreign):
            send_as(site, name)
        done = site.orthweb("validate", "--check", "web.removal")
        assert "and 1 of earlier runs" in done.stdout
        assert test_patients(site) == sorted([young, foreign])
    finally:
        with Context(site.access).client() as client:
            for key in archive.patients(client, f"{PREFIX}*"):
                archive.delete_patient(client, key)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Freeze a process while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_for_patient(site: LiveSite, running: subprocess.Popen[str]) -> None:
    """Wait until the run has stored its patient."""
    end = time.monotonic() + 30
    while not test_patients(site):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


SLOW_RUN = """
import sys, time
from pathlib import Path
from orthweb.checks import catalogue
from orthweb.checks.check import Check

def wait(context):
    context.sent()
    time.sleep(60)
    return ""

catalogue.ALL = (Check("web.slow", "slow", "slow", "slow", wait, 90.0),)
sys.argv = ["orthweb", "--site", sys.argv[1], "validate"]
from orthweb.cli import main
main()
"""
"""The command itself, with one check that stores the patient and then takes its time."""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_when_the_patient_is_stored_then_it_is_removed_before_the_end(
    site: LiveSite, how: signal.Signals
) -> None:
    command = [sys.executable, "-c", SLOW_RUN, str(site.file)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_patient(site, running)
    running.send_signal(how)
    _, errors = running.communicate(timeout=30)
    assert running.returncode != 0
    assert "Traceback" not in errors
    assert test_patients(site) == []


def test_validate_when_the_archive_hangs_then_it_ends_in_time_and_says_which_checks_failed(own_site: LiveSite) -> None:
    services = {service.name: service for service in own_site.target.host_facts().services}
    pid = services["archive"].pid
    assert pid is not None
    with stopped(pid):
        began = time.monotonic()
        done = own_site.orthweb("validate", "--json", check=False, timeout=170)
        took = time.monotonic() - began
    assert done.returncode == 1
    document = json.loads(done.stdout)
    status = {item["id"]: item["status"] for item in document["checks"]}
    assert {status[name] for name in ("dicom.echo", "web.stow", "index.row", "store.file")} == {"fail"}
    # Who only asks is answered by the reader.
    assert {status[name] for name in ("tls.https_chain", "index.tls", "security.secret_files")} == {"pass"}
    assert took < 120
    assert all(item["hint"] for item in document["checks"] if item["status"] == "fail")


def test_validate_when_the_site_was_stopped_then_it_says_so(own_site: LiveSite) -> None:
    own_site.orthweb("down")
    done = own_site.orthweb("validate", check=False)
    assert done.returncode == 1
    assert "not running" in done.stderr


def test_validate_when_a_stranger_holds_the_move_port_then_the_check_says_so(site: LiveSite, tmp_path: Path) -> None:
    from dataclasses import replace

    from live.weak_servers import identity, server_context
    from orthweb.checks.runner import run

    with tls_server(server_context(identity(tmp_path))) as taken:
        access = site.access
        assert access.move_destination is not None
        access = replace(access, move_destination=replace(access.move_destination, port=taken))
        (result,) = run(catalogue.select(ids=["dicom.move"]), Context(access))
    assert result.status == "fail"
    assert "cannot listen" in result.evidence


def test_checks_of_the_host_when_the_target_shows_none_then_they_are_not_applicable(site: LiveSite) -> None:
    from orthweb.checks.runner import run

    results = run(list(catalogue.ALL), Context(site.access, None))
    status = {result.id: result.status for result in results}
    assert "fail" not in status.values()
    assert {name for name, found in status.items() if found == "n/a"} >= {
        check.id for check in catalogue.ALL if check.group in ("index", "store", "security")
    }
    assert {status[check.id] for check in catalogue.ALL if check.group in ("dicom", "tls")} == {"pass"}

"""What verbs print: lines that fit a terminal, and whole ones for programs."""

from __future__ import annotations

import pytest

from orthweb.cli import console
from orthweb.errors import OrthwebError
from orthweb.targets.base import Moving, PlanItem

WHY = "HTTPS: the whole internet may reach it, and every password can be tried from anywhere"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.usefixtures("narrow")
def test_plan_when_the_terminal_is_narrow_then_reasons_go_on_below(capsys: pytest.CaptureFixture[str]) -> None:
    console.changes([PlanItem("warn", "aws.https_from", WHY), PlanItem("create", "database", "database")], "nothing")
    assert capsys.readouterr().out.splitlines() == [
        "! warn aws.https_from  HTTPS: the whole internet may reach",
        "    it, and every password can be tried from anywhere",
        "+ create database      database",
    ]


def test_plan_when_it_is_piped_then_every_item_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.changes([PlanItem("warn", "aws.https_from", WHY)], "nothing")
    assert capsys.readouterr().out.splitlines() == ["nothing", f"! warn aws.https_from  {WHY}"]


def test_plan_when_one_name_is_long_then_the_others_reasons_stay_where_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.changes([PlanItem("create", "x" * 60, "long"), PlanItem("create", "bucket", "storage")], "nothing")
    assert capsys.readouterr().out.splitlines()[1] == "+ create bucket  storage"


def test_steps_when_they_are_piped_then_what_is_said_again_or_moves_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.steps() as report:
        for line in ("waiting", "waiting", Moving("1 of 3"), "ready", "waiting"):
            report(line)
    assert capsys.readouterr().err.splitlines() == ["waiting", "ready", "waiting"]


@pytest.mark.usefixtures("narrow")
def test_table_when_the_last_column_is_too_wide_then_goes_on_below_itself(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("service", "note"), [("host i-0123456789abcdef0", "eu-central-1a; failed: no space left on device")])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["service", "note"]
    column = head.index("note")
    assert len(rows) == 2
    assert max(map(len, rows)) <= 60
    assert rows[1][:column].strip() == ""
    assert f"{rows[0][column:]} {rows[1][column:]}" == "eu-central-1a; failed: no space left on device"


@pytest.mark.usefixtures("narrow")
def test_plan_when_a_reason_is_one_long_word_then_it_goes_below_whole(capsys: pytest.CaptureFixture[str]) -> None:
    address = "database.aws_iam_role_policy_attachment.monitoring"
    console.changes([PlanItem("create", "AWS managed policy", address)], "nothing")
    assert capsys.readouterr().out.splitlines() == ["+ create AWS managed policy", f"    {address}"]


def test_line_when_the_terminal_is_narrow_then_commands_in_it_are_not_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    console.problem(
        OrthwebError(
            "the images of this site are in s3\n  and this is a line of a log, which is left as wide as it is",
            "to remove the site with everything that is in it call `orthweb destroy --data` first",
        )
    )
    assert capsys.readouterr().err.splitlines() == [
        "error: the images of this site are in s3",
        "error:   and this is a line of a log, which is left as wide as it is",
        "  next: to remove the site with everything that is in it",
        "        call `orthweb destroy --data` first",
    ]


@pytest.mark.usefixtures("narrow")
def test_error_when_it_is_piped_then_is_one_line_whatever_the_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.problem(OrthwebError(WHY, WHY))
    assert capsys.readouterr().err.splitlines() == [f"error: {WHY}", f"  next: {WHY}"]

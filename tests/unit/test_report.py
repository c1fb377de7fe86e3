"""The report: the JSON contract and the page for auditors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orthweb import __version__
from orthweb.access import Credentials, SiteAccess
from orthweb.checks import catalogue
from orthweb.checks.check import Result, Status
from orthweb.checks.report import SCHEMA, Report
from validate_schema import violations

STARTED = datetime(2030, 5, 17, 14, 0, 5, tzinfo=timezone(timedelta(hours=2)))


def access() -> SiteAccess:
    return SiteAccess(
        "radiology", "pacs.example.org", 443, 11112, "ORTHANC", Path("ca.pem"), Credentials("admin", "hunter2")
    )


def result(name: str, status: Status, evidence: str = "seen") -> Result:
    hint = "do this" if status == "fail" else ""
    return Result(name, name.partition(".")[0], "a title", status, "an expectation", evidence, hint, 0.25)


def report(results: Sequence[Result]) -> Report:
    return Report(access(), results, STARTED, 4.25)


MIXED = report([result("dicom.echo", "pass"), result("web.login", "fail"), result("store.file", "n/a")])


def test_document_when_results_are_mixed_then_it_obeys_its_schema() -> None:
    document = json.loads(json.dumps(MIXED.document()))
    assert violations(json.loads(SCHEMA.read_text()), document) == []
    assert document["orthweb"] == __version__
    assert document["started"] == "2030-05-17T12:00:05Z"
    assert document["summary"] == {"checks": 3, "pass": 1, "fail": 1, "n/a": 1}
    assert document["passed"] is False


def test_document_when_nothing_failed_then_it_passed() -> None:
    assert report([result("dicom.echo", "pass"), result("store.file", "n/a")]).document()["passed"] is True


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("passed"),
        lambda d: d.update(format=2),
        lambda d: d.update(seconds="4"),
        lambda d: d.update(passed=1),
        lambda d: d["site"].update(https_port=0),
        lambda d: d["site"].update(password="hunter2"),
        lambda d: d["checks"][0].update(status="error"),
        lambda d: d["checks"][0].update(id="nope.a"),
        lambda d: d.update(checks=[]),
        lambda d: d.update(started="yesterday"),
    ],
)
def test_schema_when_the_document_breaks_it_then_it_is_noticed(damage: Any) -> None:
    document = MIXED.document()
    damage(document)
    assert violations(json.loads(SCHEMA.read_text()), document)


def test_schema_then_it_knows_each_check_there_is() -> None:
    schema = json.loads(SCHEMA.read_text())["properties"]["checks"]["items"]["properties"]
    for check in catalogue.ALL:
        assert re.search(schema["id"]["pattern"], check.id)
        assert check.group in schema["group"]["enum"]


def test_example_in_the_documentation_then_it_obeys_the_schema() -> None:
    page = (Path(__file__).parents[2] / "docs" / "validate.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert violations(json.loads(SCHEMA.read_text()), json.loads(example)) == []


def test_summary_then_it_counts_and_leaves_out_what_there_is_none_of() -> None:
    assert MIXED.summary == "3 checks: 1 passed, 1 failed, 1 not applicable"
    assert report([result("dicom.echo", "pass")]).summary == "1 checks: 1 passed"


class Page(HTMLParser):
    """Collects what a browser would load, run or show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "action", "data", "srcset")]
        assert not [key for key, _ in attrs if key.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


def test_page_then_it_needs_nothing_else_and_runs_nothing() -> None:
    html = MIXED.html()
    page = parsed(html)
    assert page.links == []
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(page.tags)
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_page_then_it_says_what_an_auditor_asks_for() -> None:
    text = parsed(MIXED.html()).text
    for wanted in (
        "radiology",
        "https://pacs.example.org:443/",
        "ORTHANC at pacs.example.org:11112",
        "2030-05-17T12:00:05Z",
        f"orthweb {__version__}",
        "Not passed",
        MIXED.summary,
        "dicom.echo",
        "an expectation",
        "do this",
        "not applicable",
    ):
        assert wanted in text
    assert "hunter2" not in text


def test_page_when_evidence_has_markup_then_it_is_shown_and_not_run() -> None:
    html = report([result("web.login", "fail", "<script>alert(1)</script> & more")]).html()
    assert "script" not in parsed(html).tags
    assert "<script>alert(1)</script> & more" in parsed(html).text


def test_page_when_written_then_its_owner_alone_may_read_it_and_an_old_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    path.chmod(0o644)
    MIXED.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_page_when_it_cannot_be_written_then_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder"):
        MIXED.write(path)
    assert list(tmp_path.iterdir()) == [path]


def test_time_when_given_in_another_zone_then_it_is_told_in_utc() -> None:
    assert STARTED.astimezone(UTC).hour == 12
    assert "T12:00:05Z" in MIXED.html()

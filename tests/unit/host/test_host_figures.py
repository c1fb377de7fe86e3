"""The line from which a site's alarms are made, as Terraform's filters read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orthweb import pki
from orthweb.errors import OrthwebError
from orthweb.host.figures import INTERVAL, Figures, certificate_days, queues
from orthweb.host.journal import Journal
from orthweb.pki.issue import certificate_pem, new_authority
from orthweb.site import Site
from orthweb.state import FOLDER_NAME

FILTERS = Path(__file__).parents[3] / "terraform/modules/observability/figures.tf"


class Said:
    """What was said, as CloudWatch has it."""

    def __init__(self, tmp_path: Path, healthy: bool | None) -> None:
        self.now = 0.0
        self.journal = Journal(None, "group", "i-1")  # type: ignore[arg-type]  # nothing is sent
        self.asked = 0
        self.figures = Figures(self.journal, tmp_path, tmp_path, lambda: healthy, self._statistics, lambda: self.now)

    def _statistics(self) -> Mapping[str, float]:
        self.asked += 1
        return {"archive_jobs_waiting": 2}

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(str(each["message"])) for each in self.journal._waiting]


def test_line_has_what_the_alarms_are_made_from(tmp_path: Path) -> None:
    pki.ensure(tmp_path / FOLDER_NAME / "pki", Site(), tmp_path)
    said = Said(tmp_path, healthy=True)
    said.figures.tell()
    (line,) = said.lines
    assert line["level"] == "info"
    assert line["event"] == "figures"
    assert line["healthy"] == 1
    assert line["archive_jobs_waiting"] == 2
    for name in ("disk_used_percent", "memory_used_percent"):
        assert 0 <= line[name] <= 100
    wanted = set(
        re.findall(r"\$\.(\w+)", "".join(re.findall(r'log_group = "host"\n\s+pattern.*\n.*', FILTERS.read_text())))
    )
    assert {"level", "event", "disk_used_percent", "memory_used_percent", "healthy", "certificate_days"} <= wanted
    assert wanted <= line.keys()


def test_line_comes_once_a_minute(tmp_path: Path) -> None:
    said = Said(tmp_path, healthy=True)
    for said.now in (0, INTERVAL / 3, INTERVAL - 1, INTERVAL, INTERVAL + 1):
        said.figures.tell()
    assert len(said.lines) == 2


@pytest.mark.parametrize(("healthy", "expected"), [(False, 0), (None, None)])
def test_archive_that_does_not_serve_is_not_asked(
    tmp_path: Path, *, healthy: bool | None, expected: int | None
) -> None:
    said = Said(tmp_path, healthy=healthy)
    said.figures.tell()
    (line,) = said.lines
    assert line.get("healthy") == expected
    assert said.asked == 0


def test_line_comes_though_the_archive_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said(tmp_path, healthy=True)

    def away() -> Mapping[str, float]:
        raise OrthwebError("there is no site file")

    monkeypatch.setattr(said.figures, "_statistics", away)
    said.figures.tell()
    assert "archive_jobs_waiting" not in said.lines[0]


def test_days_are_those_of_the_certificate_that_ends_first(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert certificate_days(tmp_path / "pki", now) is None
    pki.ensure(tmp_path / "pki", Site(), tmp_path)
    days = certificate_days(tmp_path / "pki", now)
    assert days is not None
    assert days > 30
    later = certificate_days(tmp_path / "pki", now + timedelta(days=10))
    assert later == pytest.approx(days - 10, abs=0.2)
    made = new_authority("somebody", now - timedelta(days=3640))
    (tmp_path / "pki/edge-own.pem").write_bytes(certificate_pem(made.chain))
    assert certificate_days(tmp_path / "pki", now) == pytest.approx(10, abs=0.2)


def test_queues_are_read_from_the_archives_own_metrics() -> None:
    text = "orthanc_disk_size_mb 12 1700000000000\northanc_jobs_pending 3 1700000000000\northanc_jobs_failed 0 1\n\n"
    assert queues(text) == {"archive_jobs_waiting": 3, "archive_jobs_failed": 0}

from __future__ import annotations

import json

import pytest

from orthweb.targets.aws.logs import _line

FIGURES = {"level": "info", "message": "how this host is", "event": "figures", "healthy": 1, "disk_used_percent": 12.5}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (json.dumps({"level": "info", "message": "ready: serving"}), "i-1  ready: serving"),
        (json.dumps({"level": "error", "message": "no such image"}), "i-1  error: no such image"),
        (json.dumps(FIGURES), "i-1  how this host is: healthy 1, disk_used_percent 12.5"),
        ('{"status": 200, "path": "/system"}\n', 'i-1  {"status": 200, "path": "/system"}'),
        ("W1123 archive: a line", "i-1  W1123 archive: a line"),
        ("[1, 2]", "i-1  [1, 2]"),
    ],
)
def test_line_of_an_agent_when_read_by_a_person_then_is_words(message: str, expected: str) -> None:
    assert _line({"logStreamName": "i-1/archive", "message": message}) == expected

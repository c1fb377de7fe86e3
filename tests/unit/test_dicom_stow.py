"""Reading STOW-RS answers, writing its requests."""

from __future__ import annotations

import json
from email import message_from_bytes
from pathlib import Path

import pytest

from orthweb.dicom import phantom
from orthweb.dicom.instance import Instance
from orthweb.dicom.scan import scan
from orthweb.dicom.stow import _body, _head, _length, password_from, read_response
from orthweb.errors import UsageError


def item(uid: str, **more: list[int]) -> dict[str, object]:
    return {"00081155": {"vr": "UI", "Value": [uid]}} | {
        tag.strip("_"): {"vr": "US", "Value": v} for tag, v in more.items()
    }


def test_read_response_when_partly_failed_then_each_instance_has_its_own_answer(tmp_path: Path) -> None:
    content = json.dumps(
        {
            "00081199": {"vr": "SQ", "Value": [item("1.1"), item("1.2", _00081196=[0xB007])]},
            "00081198": {"vr": "SQ", "Value": [item("1.3", _00081197=[0xA700]), item("1.4", _00081197=[0xC000])]},
        }
    ).encode()
    found = read_response(content)
    (instance,) = scan([phantom.write(tmp_path, phantom.PhantomStudy("s").slice(1, size=1024))])
    assert isinstance(instance, Instance)
    outcomes = {uid: answer.answer(instance).outcome for uid, answer in found.items()}
    assert outcomes == {"1.1": "stored", "1.2": "stored", "1.3": "busy", "1.4": "refused"}
    assert found["1.2"].answer(instance).reason is not None


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"[1, 2]", b'{"00081199": 7}', b'{"00081199": {"Value": [3]}}']
)
def test_read_response_when_it_is_none_then_empty(content: bytes) -> None:
    assert read_response(content) == {}


def test_body_when_streamed_then_parts_are_the_files_and_the_length_is_right(tmp_path: Path) -> None:
    study = phantom.PhantomStudy("body")
    files = [phantom.write(tmp_path, study.slice(n, size=1024)) for n in (1, 2)]
    content = phantom.encode(study.slice(3, size=1024))
    bare = tmp_path / "zz-bare"
    bare.write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])
    parts = [(thing, _head(thing)) for thing in scan([*files, bare]) if isinstance(thing, Instance)]
    body = b"".join(_body(parts, "limit"))
    assert len(body) == _length(parts, "limit")
    head = b'Content-Type: multipart/related; type="application/dicom"; boundary=limit\r\n\r\n'
    payloads = [part.get_payload(decode=True) for part in message_from_bytes(head + body).get_payload()]  # type: ignore[union-attr]
    assert payloads[:2] == [path.read_bytes() for path in files]
    restored = payloads[2]
    assert isinstance(restored, bytes)
    assert restored[128:132] == b"DICM"
    assert restored.endswith(bare.read_bytes())


def test_password_when_file_is_empty_or_missing_then_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        password_from(tmp_path / "empty")
    with pytest.raises(UsageError, match="missing"):
        password_from(tmp_path / "missing")
    (tmp_path / "password").write_text("secret with spaces \nsecond line\n")
    assert password_from(tmp_path / "password") == "secret with spaces "

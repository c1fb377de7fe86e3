"""Secrets: made once, kept, closed to others, never shown."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from orthweb import secrets
from orthweb.errors import OrthwebError


def test_ensure_for_a_new_site_then_all_are_random_and_of_the_right_form(tmp_path: Path) -> None:
    one, other = secrets.ensure(tmp_path / "one"), secrets.ensure(tmp_path / "other")
    for value in one.values():
        assert re.fullmatch(r"[A-Za-z0-9]{24}", value)
    assert re.fullmatch(r"OW[A-Z0-9]{14}", one.check_aet)
    everything = {*one.values(), *other.values(), one.check_aet, other.check_aet}
    assert len(everything) == 8


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_ensure_whatever_the_umask_then_only_the_owner_can_read(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        secrets.ensure(tmp_path / "secrets")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()} == {0o600}


def test_ensure_when_all_are_there_then_keeps_them(tmp_path: Path) -> None:
    made = secrets.ensure(tmp_path)
    assert secrets.missing(tmp_path) == []
    again = secrets.ensure(tmp_path)
    assert (again.values(), again.check_aet) == (made.values(), made.check_aet)


@pytest.mark.parametrize("name", secrets.FILES)
@pytest.mark.parametrize("content", [b"", None], ids=["empty", "gone"])
def test_ensure_when_one_is_lost_then_makes_that_one_anew(tmp_path: Path, name: str, content: bytes | None) -> None:
    made = secrets.ensure(tmp_path)
    path = tmp_path / secrets.file_name(name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert secrets.missing(tmp_path) == [name]
    again = secrets.ensure(tmp_path)
    assert {field for field in secrets.FILES if getattr(made, field) != getattr(again, field)} == {name}


def test_ensure_when_a_link_lies_under_a_temporary_name_then_it_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / ".admin-password.part").symlink_to(victim)
    secrets.ensure(folder)
    assert victim.read_text() == "precious"


def test_read_when_one_is_missing_then_the_error_names_the_file_and_no_other_secret(tmp_path: Path) -> None:
    made = secrets.ensure(tmp_path)
    (tmp_path / "index-password").unlink()
    with pytest.raises(OrthwebError, match="index-password: cannot be read") as caught:
        secrets.read(tmp_path)
    assert not any(value in str(caught.value) for value in made.values())


def test_secrets_when_printed_then_nothing_shows(tmp_path: Path) -> None:
    made = secrets.ensure(tmp_path)
    assert not any(value in f"{made} {made!r}" for value in (*made.values(), made.check_aet))


def test_htpasswd_then_is_the_line_that_htpasswd_of_apache_writes() -> None:
    # htpasswd -nbs admin secret
    assert secrets.htpasswd("admin", "secret") == "admin:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"


def test_basic_then_is_the_example_of_rfc_7617() -> None:
    assert secrets.basic("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="

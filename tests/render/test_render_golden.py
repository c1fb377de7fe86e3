"""What is written for each program: every change of it shows in review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from orthweb.render.orthanc import EDGE_USER
from orthweb.secrets import basic
from orthweb.targets.host.deployment import Bundle
from render.conftest import GOLDEN
from render.rendered import SECRETS, SITES, Rendered

FOLDER = Path("/srv/site")
FILES = ("orthanc.json", "envoy.json", "postgresql.conf", "pg_hba.conf", "pg_ident.conf", "supervisord.conf")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("case", SITES)
def test_rendered_file_when_nothing_changed_then_is_the_golden_one(
    case: str, name: str, golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    text = Rendered(case, tmp_path).texts()[name]
    for written in (str, lambda path: quote(str(path), safe="")):
        text = text.replace(written(tmp_path), written(FOLDER))
    golden(f"{case}/{name}", text)


def test_golden_files_when_a_case_is_gone_then_go_too() -> None:
    found = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file()}
    assert found == {f"{case}/{name}" for case in SITES for name in FILES}


@pytest.mark.parametrize("case", SITES)
def test_files_with_a_secret_are_the_four_that_must_have_one(case: str, tmp_path: Path) -> None:
    written = Rendered(case, tmp_path).files()
    secrets = [*SECRETS.values(), basic(EDGE_USER, SECRETS.archive_password)]
    contents = {
        str(item.path.relative_to(tmp_path / ".orthweb")): item.content
        for item in written
        if not isinstance(item, Bundle)
    }
    secret = {name for name, content in contents.items() if any(value.encode() in content for value in secrets)}
    hashed = "edge/htpasswd"
    assert secret == {
        "archive/configuration/users.json",
        "archive/index-passfile",
        "edge/sds/archive-credential.json",
    }
    assert contents[hashed].startswith(b"admin:{SHA}")

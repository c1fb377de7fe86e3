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


@pytest.mark.parametrize("case", SITES)
def test_rendered_files_when_nothing_changed_then_are_the_golden_ones(
    case: str, golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    for name, text in Rendered(case, tmp_path).texts().items():
        for written in (str, lambda path: quote(str(path), safe="")):
            text = text.replace(written(tmp_path), written(FOLDER))
        golden(f"{case}/{name}", text)


def test_golden_files_when_a_case_is_gone_then_go_too(tmp_path: Path) -> None:
    found = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file()}
    assert found == {f"{case}/{name}" for case in SITES for name in Rendered(case, tmp_path / case).texts()}


@pytest.mark.parametrize("case", SITES)
def test_files_with_a_secret_are_the_few_that_must_have_one(case: str, tmp_path: Path) -> None:
    rendered = Rendered(case, tmp_path)
    written = rendered.files()
    secrets = [*SECRETS.values(), basic(EDGE_USER, SECRETS.archive_password)]
    contents = {
        str(item.path.relative_to(tmp_path / ".orthweb")): item.content
        for item in written
        if not isinstance(item, Bundle)
    }
    secret = {name for name, content in contents.items() if any(value.encode() in content for value in secrets)}
    hashed = "edge/htpasswd"
    assert secret == {
        "edge/sds/archive-credential.json",
        *(f"{process.name}/configuration/users.json" for process in rendered.endpoints.archives),
        *(f"{process.name}/index-passfile" for process in rendered.endpoints.archives),
    }
    assert contents[hashed].startswith(b"admin:{SHA}")

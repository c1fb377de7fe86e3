"""What is said of a migration that was interrupted."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orthweb.cli import app
from orthweb.site import Site
from orthweb.state import StateFolder
from orthweb.store.journal import Journal
from orthweb.store.migration import JOURNAL, LOCK
from orthweb.store.unfinished import Unfinished, unfinished
from orthweb.targets.docker import DockerTarget
from orthweb.targets.host import folder
from orthweb.targets.local import LocalTarget

BUCKET = "s3 https://s3.example.org pacs images/"


def migrated(base: Path, *, kind: str = "filesystem", copies: int = 3) -> StateFolder:
    """Leave a state folder as a migration from a folder to a bucket leaves it."""
    state = folder.locate(base)
    state.root.mkdir(mode=0o700)
    folder.write_facts(state, folder.Facts(site="a-site", store_kind=kind))
    journal = Journal(state.root / JOURNAL, "filesystem /srv/pacs/store", BUCKET)
    for number in range(copies):
        journal.add(str(number))
    journal.close()
    return state


@pytest.mark.parametrize("target", [LocalTarget, DockerTarget])
def test_migration_when_interrupted_then_places_copies_and_the_next_step(
    tmp_path: Path, target: type[LocalTarget | DockerTarget]
) -> None:
    migrated(tmp_path)
    found = unfinished(target(Site(), tmp_path))
    assert found == Unfinished("filesystem /srv/pacs/store", BUCKET, "s3", 3, at_work=False)
    assert str(found) == (
        "a migration of the images from filesystem (/srv/pacs/store) to s3 (https://s3.example.org pacs images/)"
        " was interrupted: 3 copies verified; go on with: orthweb store migrate --to s3"
    )


def test_migration_when_at_work_then_not_called_interrupted(tmp_path: Path) -> None:
    state = migrated(tmp_path, copies=1)
    with (state.root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "is at work: 1 copy verified" in str(unfinished(LocalTarget(Site(), tmp_path)))
    assert "was interrupted" in str(unfinished(LocalTarget(Site(), tmp_path)))


def test_migration_when_switched_or_none_then_nothing(tmp_path: Path) -> None:
    assert unfinished(LocalTarget(Site(), tmp_path)) is None
    state = migrated(tmp_path, kind="s3")
    assert unfinished(LocalTarget(Site(), tmp_path)) is None
    folder.write_facts(state, folder.Facts())
    assert unfinished(LocalTarget(Site(), tmp_path)) is None


@pytest.mark.parametrize("target", ["local", "docker"])
def test_status_when_the_site_is_stopped_then_says_so_in_words_and_as_json(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    file = tmp_path / "site.toml"
    file.write_text(f'target = "{target}"\n')
    migrated(tmp_path)
    said = CliRunner().invoke(app, ["--site", str(file), "status"])
    assert said.exit_code == 1
    assert "was interrupted: 3 copies verified; go on with: orthweb store migrate --to s3\n" in said.stdout
    said = CliRunner().invoke(app, ["--site", str(file), "status", "--json"])
    assert json.loads(said.stdout)["migration"] == {
        "source": "filesystem /srv/pacs/store",
        "destination": BUCKET,
        "to": "s3",
        "verified": 3,
        "at_work": False,
    }

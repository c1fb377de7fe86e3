"""The index's schema: what a plugin does to it, and copies of the index from before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orthweb.capabilities.build import OrthancBuild, Plugin, Version
from orthweb.capabilities.schema import (
    Memory,
    Schema,
    Snapshot,
    Upgrade,
    check_room,
    read,
    restore,
    settle,
    shortfall,
    snapshots,
    step,
    take,
)
from orthweb.errors import OrthwebError, UsageError


def build(version: Version) -> OrthancBuild:
    return OrthancBuild(Path("Orthanc"), (1, 12, 7), [Plugin("PostgreSQLIndex", Path("index.so"), version)])


def answering(**values: str | None) -> Schema | None:
    def query(sql: str) -> str | None:
        if "pg_class" in sql:
            return values.get("table", "1")
        return values["version"] if sql.endswith(" 1") else values["revision"]

    return read(query)


def test_read_when_no_orthanc_has_used_the_index_then_nothing() -> None:
    assert answering(table="0") is None


def test_read_when_there_is_a_schema_then_its_version_and_revision() -> None:
    assert answering(version="6", revision="10") == Schema(6, 10)
    assert answering(version="6", revision=None) == Schema(6, 1), "plugins before 4.0 wrote no revision"


@pytest.mark.parametrize(
    ("found", "version", "last", "expected"),
    [
        (None, (10, 3), None, None),
        (Schema(6, 1), (4, 0), None, None),
        (Schema(6, 1), (5, 1), (4, 0), None),
        (Schema(6, 10), (10, 3), (10, 0), None),
        (Schema(6, 1), (6, 0), (5, 0), 2),
        (Schema(6, 1), (10, 3), None, 10),
        (Schema(6, 6), (10, 0), (9, 0), 10),
        (Schema(6, 10), (11, 0), (11, 0), None),
    ],
)
def test_step_when_the_plugin_is_as_new_as_the_schema_or_newer_then_what_it_does(
    found: Schema | None, version: Version, last: Version | None, expected: int | None
) -> None:
    upgrade = step(found, build(version), last, [])
    assert (upgrade.to if upgrade else None) == expected


def test_step_when_nothing_is_known_of_the_plugin_then_a_snapshot_to_be_safe() -> None:
    upgrade = step(Schema(6, 10), build((12, 1)), (10, 3), [])
    assert upgrade is not None
    assert str(upgrade) == (
        "schema: revision 10 becomes a newer revision by PostgreSQLIndex 12.1; a snapshot is taken first"
    )


def test_step_when_the_plugin_is_older_then_refused_with_the_newest_snapshot_that_it_can_open(tmp_path: Path) -> None:
    def taken(day: int, revision: int) -> Snapshot:
        return Snapshot(tmp_path / str(day), datetime(2026, 11, day, 4, 56, tzinfo=UTC), revision)

    with pytest.raises(UsageError) as caught:
        step(Schema(6, 10), build((5, 0)), (10, 3), [taken(3, 6), taken(2, 1), taken(1, 1)])
    assert "has schema revision 10, and PostgreSQLIndex 5.0 knows 1" in caught.value.message
    assert caught.value.hint is not None
    assert f"restore the snapshot {tmp_path / '2'} (taken 2026-11-02 04:56 UTC)" in caught.value.hint
    with pytest.raises(UsageError, match="restore a backup from before"):
        step(Schema(6, 10), build((5, 0)), (10, 3), [taken(3, 6)])


def test_step_when_the_schema_is_of_another_version_then_refused() -> None:
    with pytest.raises(UsageError, match="schema of version 5, and PostgreSQL plugins know 6"):
        step(Schema(5, 1), build((10, 3)), None, [])


def test_shortfall_when_the_schema_is_as_announced_then_none() -> None:
    plugin = Plugin("PostgreSQLIndex", Path("index.so"), (10, 3))
    assert shortfall(Upgrade(plugin, 1, 10), Schema(6, 10)) is None
    assert shortfall(Upgrade(plugin, 10, None), Schema(6, 11)) is None
    assert "revision 1, not 10" in str(shortfall(Upgrade(plugin, 1, 10), Schema(6, 1)))
    assert "no schema" in str(shortfall(Upgrade(plugin, 1, 10), None))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "index" / "data"
    (folder / "base").mkdir(parents=True, mode=0o700)
    (folder / "PG_VERSION").write_text("15\n")
    (folder / "base" / "1").write_bytes(b"before")
    (folder / "base" / "1").chmod(0o600)
    (folder / "link").symlink_to("base")
    return folder


def test_take_when_the_index_is_stopped_then_a_whole_copy_under_a_telling_name(data: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    snapshot = take(data, backups, 1)
    assert (snapshot.folder / "base" / "1").read_bytes() == b"before"
    assert (snapshot.folder / "base" / "1").stat().st_mode & 0o777 == 0o600
    assert (snapshot.folder / "link").is_symlink()
    assert backups.stat().st_mode & 0o777 == 0o700
    assert snapshots(backups) == [snapshot]
    assert [path for path in backups.iterdir() if path != snapshot.folder] == []


def test_take_when_the_index_runs_then_refused(data: Path, tmp_path: Path) -> None:
    (data / "postmaster.pid").touch()
    with pytest.raises(OrthwebError, match="has not stopped"):
        take(data, tmp_path / "backups", 1)
    assert snapshots(tmp_path / "backups") == []


def test_take_when_an_earlier_one_was_cut_off_then_its_rest_is_removed(data: Path, tmp_path: Path) -> None:
    part = tmp_path / "backups" / ".index-20261101T000000Z-revision-1.part"
    part.mkdir(parents=True)
    assert snapshots(tmp_path / "backups") == []
    take(data, tmp_path / "backups", 1)
    assert not part.exists()


def test_restore_when_the_index_was_changed_then_as_it_was_and_the_snapshot_stays(data: Path, tmp_path: Path) -> None:
    snapshot = take(data, tmp_path / "backups", 1)
    (data / "base" / "1").write_bytes(b"after")
    (data / "new").touch()
    restore(snapshot, data)
    assert (data / "base" / "1").read_bytes() == b"before"
    assert list(data.parent.iterdir()) == [data]
    assert not (data / "new").exists()
    assert snapshot.folder.is_dir()


def test_restore_when_the_snapshot_is_gone_then_the_index_stays(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OrthwebError, match="could not be copied"):
        restore(Snapshot(tmp_path / "gone", datetime.now(UTC), 1), data)
    assert (data / "base" / "1").read_bytes() == b"before"


def test_settle_when_a_restore_was_cut_off_between_two_names_then_finished(data: Path, tmp_path: Path) -> None:
    data.rename(data.with_name("data.failed"))
    (data.with_name("data.restored")).mkdir()
    (data.with_name("data.restored") / "PG_VERSION").write_text("14\n")
    settle(data)
    assert (data / "PG_VERSION").read_text() == "14\n"
    assert list(data.parent.iterdir()) == [data]


def test_settle_when_nothing_was_cut_off_then_nothing_but_what_was_replaced_goes(data: Path, tmp_path: Path) -> None:
    data.with_name("data.failed").mkdir()
    settle(data)
    assert (data / "base" / "1").read_bytes() == b"before"
    assert list(data.parent.iterdir()) == [data]
    settle(tmp_path / "nowhere" / "data")


def test_check_room_when_the_disk_is_too_small_then_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_room(data, tmp_path / "backups")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1024})())
    with pytest.raises(OrthwebError, match="a snapshot of the index needs"):
        check_room(data, tmp_path / "backups")


def test_memory_when_a_plugin_was_kept_then_its_version(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "index-plugin.json")
    assert memory.last() is None
    memory.keep(Plugin("PostgreSQLIndex", Path("index.so"), (10, 3)))
    assert memory.last() == (10, 3)
    memory.file.write_text("{")
    assert memory.last() is None

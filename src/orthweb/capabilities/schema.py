"""The schema of the index: which revision it has, which one a PostgreSQL plugin works with, and the way between them.

A newer plugin changes the schema by itself when it starts, and there is no way back but a snapshot: an older plugin
refuses a newer schema (plugins before 6.0) or runs on it without knowing it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from orthweb.capabilities.build import OrthancBuild, Plugin, Version
from orthweb.errors import OrthwebError, UsageError
from orthweb.files import sync_folder, write_whole

VERSION: Final = 6
"""Orthanc's own version of the schema, which every PostgreSQL plugin since 0.9.5 has."""

_PROPERTIES: Final = {"version": 1, "revision": 4}
"""``DatabaseSchemaVersion`` and ``DatabasePatchLevel`` among the global properties (Orthanc's ServerEnumerations.h)."""

TABLE: Final = "SELECT count(*) FROM pg_catalog.pg_class WHERE relname = 'globalproperties'"
QUERY: Final = "SELECT max(value) FROM GlobalProperties WHERE property = {}"
_SNAPSHOT: Final = re.compile(r"index-(?P<taken>\d{8}T\d{6}Z)-revision-(?P<revision>\d+)")


@dataclass(frozen=True)
class Schema:
    """What an index says of its schema."""

    version: int
    revision: int


@dataclass(frozen=True)
class Upgrade:
    """A schema that a plugin will change when it starts.

    Parameters
    ----------
    revision : what the index has.
    to : what it will have; None when this plugin is newer than what is known here.
    """

    plugin: Plugin
    revision: int
    to: int | None

    def __str__(self) -> str:
        """Say it for a plan."""
        return self.words(snapshot=True)

    def words(self, *, snapshot: bool) -> str:
        """Say it for a plan; `snapshot` tells whether one is taken, or somebody has taken it."""
        to = "a newer revision" if self.to is None else f"revision {self.to}"
        before = "; a snapshot is taken first" if snapshot else ""
        return f"schema: revision {self.revision} becomes {to} by {self.plugin}{before}"


@dataclass(frozen=True)
class Snapshot:
    """A copy of the stopped index.

    Parameters
    ----------
    revision : of its schema.
    """

    folder: Path
    taken: datetime
    revision: int

    def __str__(self) -> str:
        """Name it with the day and time it was taken."""
        return f"{self.folder} (taken {self.taken:%Y-%m-%d %H:%M} UTC)"


def read(query: Callable[[str], str | None]) -> Schema | None:
    """Ask an index for its schema.

    Parameters
    ----------
    query : runs a query and gives the one value of its answer as text.

    Returns
    -------
    None while the index is empty: no Orthanc has used it yet.
    """
    if query(TABLE) in (None, "0"):
        return None
    found = {name: query(QUERY.format(number)) for name, number in _PROPERTIES.items()}
    # Plugins before 4.0 wrote no revision; 4.0 calls that revision 1.
    return Schema(int(found["version"] or 0), int(found["revision"] or 1))


def asking(connection: psycopg.Connection[Any]) -> Callable[[str], str | None]:
    """Give the query of `read` over an open connection to the index."""

    def query(sql: str) -> str | None:
        row = connection.execute(sql).fetchone()
        return None if row is None or row[0] is None else str(row[0])

    return query


def step(found: Schema | None, build: OrthancBuild, last: Version | None, snapshots: list[Snapshot]) -> Upgrade | None:
    """Say what an Orthanc will do to an index.

    Parameters
    ----------
    last : version of the plugin that last ran on it, when that is known.
    snapshots : those that there are, for the message.

    Returns
    -------
    The change of the schema; None when it stays as it is.

    Raises
    ------
    UsageError : the plugin is older than the schema, which does not go back.
    """
    plugin = build.plugin("PostgreSQLIndex")
    if found is None or plugin is None:
        return None
    if found.version != VERSION:
        raise UsageError(
            f"the index has a schema of version {found.version}, and PostgreSQL plugins know {VERSION}",
            "it was made by another Orthanc: upgrade it there first (Orthanc Book, Upgrading)",
        )
    known = build.index_revision
    if known is None:
        return None if last == plugin.version else Upgrade(plugin, found.revision, None)
    if found.revision > known:
        older = max((each for each in snapshots if each.revision <= known), key=lambda each: each.taken, default=None)
        back = f"restore the snapshot {older}" if older is not None else "restore a backup from before"
        raise UsageError(
            f"the index has schema revision {found.revision}, and {plugin} knows {known}: a schema does not go back",
            f"keep the newer plugin in archive.extra_plugins (or archive.image), or {back}: docs/capabilities.md",
        )
    return Upgrade(plugin, found.revision, known) if found.revision < known else None


@dataclass(frozen=True)
class Memory:
    """Remembers which plugin the index was last brought up with, so that an unchanged site asks nothing.

    Parameters
    ----------
    file : in the state folder.
    """

    file: Path

    def last(self) -> Version | None:
        """Give the plugin's version; None when it is not known."""
        try:
            return tuple(int(part) for part in json.loads(self.file.read_bytes())["plugin"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, plugin: Plugin) -> None:
        """Remember the plugin of a site that answers."""
        if self.last() != plugin.version:
            write_whole(self.file, json.dumps({"plugin": plugin.version}).encode())


def snapshots(folder: Path) -> list[Snapshot]:
    """List the snapshots in a folder, the newest first."""
    found = []
    for path in folder.glob("index-*") if folder.is_dir() else ():
        if name := _SNAPSHOT.fullmatch(path.name):
            taken = datetime.strptime(name["taken"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            found.append(Snapshot(path, taken, int(name["revision"])))
    return sorted(found, key=lambda each: each.taken, reverse=True)


def check_room(data: Path, folder: Path) -> None:
    """Refuse to begin when a snapshot would not fit beside the index.

    Raises
    ------
    OrthwebError : says how many bytes are missing, and where.
    """
    size = sum(path.lstat().st_blocks * 512 for path in data.rglob("*"))
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if free < size * 1.1 + 64 * 1024**2:
        raise OrthwebError(
            f"{folder}: a snapshot of the index needs {size / 1024**3:.1f} GiB, and {free / 1024**3:.1f} GiB are free",
            "free space: without a snapshot the schema is not changed",
        )


def take(data: Path, folder: Path, revision: int) -> Snapshot:
    """Copy the data directory of a stopped PostgreSQL: whole, on the disk, and with its owners, or not at all.

    Raises
    ------
    OrthwebError : it is not stopped, or the copy failed; nothing is left of it.
    """
    if (data / "postmaster.pid").exists():
        raise OrthwebError(f"{data}: PostgreSQL has not stopped", "orthweb down, then orthweb up")
    folder.mkdir(0o700, exist_ok=True)
    taken = datetime.now(UTC).replace(microsecond=0)
    final = folder / f"index-{taken:%Y%m%dT%H%M%SZ}-revision-{revision}"
    part = final.with_name(f".{final.name}.part")
    for old in folder.glob(".index-*.part"):
        shutil.rmtree(old)
    try:
        _copy(data, part)
        part.rename(final)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(folder)
    return Snapshot(final, taken, revision)


def restore(snapshot: Snapshot, data: Path) -> None:
    """Put a snapshot in the place of the data directory of a stopped PostgreSQL; the snapshot stays.

    Raises
    ------
    OrthwebError : the copy failed; the data directory is as it was.
    """
    part, old = _asides(data)
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    _copy(snapshot.folder, part)
    data.rename(old)
    settle(data)


def settle(data: Path) -> None:
    """Finish a `restore` that was cut off when the data directory had gone and its copy had not come yet.

    To be called before anything makes a data directory where there is none.
    """
    part, old = _asides(data)
    if old.exists() and not data.exists():
        part.rename(data)
        sync_folder(data.parent)
    shutil.rmtree(old, ignore_errors=True)


def _asides(data: Path) -> tuple[Path, Path]:
    """Name where a copy is made, and where what it replaces waits to be removed."""
    return data.with_name(f"{data.name}.restored"), data.with_name(f"{data.name}.failed")


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with owners, modes and times; blocks are shared where the file system can (btrfs, XFS)."""
    command = ["cp", "--archive", "--reflink=auto", "--no-target-directory", "--", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    if done.returncode != 0:
        shutil.rmtree(target, ignore_errors=True)
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise OrthwebError(
            f"the index could not be copied: {said[0]}", "free space or mend the disk, then `orthweb up`"
        )
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        elif path.is_dir():
            sync_folder(path)


def shortfall(upgrade: Upgrade, found: Schema | None) -> str | None:
    """Say what is wrong with the schema after an upgrade; None when it is as it should be."""
    if found is None or found.version != VERSION:
        return "the index has no schema any more"
    if found.revision == upgrade.to or (upgrade.to is None and found.revision >= upgrade.revision):
        return None
    return (
        f"the index has schema revision {found.revision}, not "
        f"{upgrade.to if upgrade.to is not None else upgrade.revision}, after {upgrade.plugin} had started"
    )

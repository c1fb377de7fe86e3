"""The store of a site: which one it is now, how it is opened, and what a target must do so that it can move."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from orthweb.errors import OrthwebError, UsageError
from orthweb.store.attachment import Backend

if TYPE_CHECKING:
    from orthweb.checks.facts import HostFacts, IndexFacts
    from orthweb.site import Site
    from orthweb.state import StateFolder
    from orthweb.targets.base import PlanItem, Report

Kind = Literal["filesystem", "s3", "database"]
KINDS: tuple[Kind, ...] = ("filesystem", "s3", "database")


@dataclass(frozen=True)
class Stored:
    """Where a site's images are, whatever its file says by now.

    Parameters
    ----------
    folder : their folder, for the kind filesystem: where it is, or where it would be.
    bucket : for the kind s3: the bucket that was noted for the site (`name_of`), or empty.
    site, claim : the site's identity, and the name of its last claim of a bucket (`ownership.Mark`).
    """

    kind: Kind
    folder: Path
    bucket: str = ""
    site: str = ""
    claim: str = ""


@runtime_checkable
class StoreHost(Protocol):
    """What a target must do so that the store of its site can be looked at and moved."""

    site: Site

    @property
    def state(self) -> StateFolder:
        """The site's state folder."""

    def host_facts(self) -> HostFacts | None:
        """Give what only the host knows: how the index is reached."""

    def running(self) -> bool:
        """Tell whether the site runs, or a part of it."""

    def stored(self) -> Stored:
        """Say where the images are."""

    def prepare_store(self) -> Path:
        """Make and claim the folder, or claim the bucket, that the site file names for the store; give the folder.

        Raises
        ------
        UsageError : it is not, and must not become, this site's store.
        """

    def quiesced(self, report: Report) -> AbstractContextManager[None]:
        """Let nothing but the index run while the block does, and nobody else change the site.

        When the block fails the site goes on as it was; when it does not, only the index is left running, or nothing
        if nothing ran before.
        """

    def remember_store(self, kind: Kind) -> None:
        """Note that the images are in a store of this kind now; to be called while the site is quiesced."""

    def up(self, report: Report) -> Sequence[PlanItem]:
        """Bring the site up as its file says."""


def index_facts(host: StoreHost) -> IndexFacts:
    """Say how the index is reached.

    Raises
    ------
    OrthwebError : it cannot be reached from here.
    """
    facts = host.host_facts()
    if facts is None or facts.index is None:
        raise OrthwebError("the index of this site cannot be reached from here", "run it on the site's own host")
    return facts.index


def open_store(kind: Kind, site: Site, index: IndexFacts, folder: Path) -> Backend:
    """Open a store.

    Raises
    ------
    UsageError : the site file does not say enough about it.
    """
    if kind == "filesystem":
        from orthweb.store.filesystem import FilesystemStore

        return FilesystemStore(folder)
    if kind == "s3":
        from orthweb.store.s3 import bucket_of

        return bucket_of(site.s3)
    from orthweb.store.database import DatabaseStore

    return DatabaseStore(index)


def name_of(kind: Kind, site: Site, folder: Path) -> str:
    """Name a store so that it is known again: its kind and its place."""
    if kind == "filesystem":
        return f"filesystem {folder}"
    if kind == "s3":
        return f"s3 {site.s3.endpoint or 'AWS'} {site.s3.bucket} {site.s3.root}".rstrip()
    return "database"


def kind_and_folder(name: str) -> Stored:
    """Take the name of a store apart again.

    Raises
    ------
    UsageError : it is none.
    """
    kind, _, place = name.partition(" ")
    for known in KINDS:
        if kind == known:
            return Stored(known, Path(place))
    raise UsageError(f"{name}: is no store")

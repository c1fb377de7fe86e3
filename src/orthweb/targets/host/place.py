"""A site's place on this machine, as every target that keeps its state here sees it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb import pki, secrets
from orthweb.capabilities import extra
from orthweb.capabilities.build import OrthancBuild
from orthweb.errors import SiteFileError, UsageError
from orthweb.render import orthanc
from orthweb.render.endpoints import Endpoints, Role
from orthweb.secrets import Secrets
from orthweb.store.site import name_of
from orthweb.targets.host import bucket, cluster, external, folder, rendering, store

if TYPE_CHECKING:
    from orthweb.site import Site
    from orthweb.targets.base import PlanItem, Report


class SitePlace:
    """Where the site of one site file lies, before it is known what runs it.

    Parameters
    ----------
    site : what the site file says.
    base : folder of the site file, absolute.
    file_name : name of the site file in it.
    """

    def __init__(self, site: Site, base: Path, file_name: str = "site.toml") -> None:
        self.site = site
        self.base = base
        self.file_name = file_name
        self.state = folder.locate(base)
        self.run = folder.run_folder(self.state)

    @property
    def build(self) -> OrthancBuild:
        """The Orthanc that this site runs."""
        raise NotImplementedError

    @property
    def postgresql_major(self) -> int:
        """The PostgreSQL that this site runs."""
        raise NotImplementedError

    def running(self) -> bool:
        """Tell whether the site runs."""
        raise NotImplementedError

    def kept_endpoints(self) -> Endpoints:
        """Give the endpoints of the site that was brought up last.

        Raises
        ------
        NotRunningError : there is none.
        """
        raise NotImplementedError

    @cached_property
    def libraries(self) -> tuple[extra.Library, ...]:
        """The plugins that the site file names, read and checked."""
        return extra.read(self.site)

    @property
    def store(self) -> Path:
        """Folder of the DICOM files."""
        return self.base / self.site.store.path if self.site.store.path else self.state.store

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.state.index / "data"

    @property
    def pki(self) -> pki.Pki:
        """The masters of all certificates."""
        return pki.paths(self.state.pki, self.site, self.base)

    @cached_property
    def archives(self) -> list[tuple[str, Role]]:
        """Name and role of every Orthanc, the writers first."""
        return orthanc.processes(self.site, self.build)

    @property
    def services(self) -> tuple[str, ...]:
        """Name the services in the order in which they start."""
        own = () if self.site.index.host is not None else ("index",)
        return (*own, *(name for name, _ in self.archives), "edge")

    def check(self) -> None:
        """Refuse what makes no sense on this machine, before anything is changed.

        Raises
        ------
        UsageError, SiteFileError : names the key or the folder.
        """
        folder.inspect(self.state.root)
        facts = folder.read_facts(self.state)
        if facts.site_file not in ("", self.file_name):
            raise UsageError(
                f"{self.base}: holds the site of {facts.site_file}, and {self.file_name} was given",
                "put each site file into a folder of its own",
            )
        rendering.modality_authorities(self.site)
        orthanc.connection_budget(self.site, self.archives, self.build)
        self._check_store(facts)
        external.check(self, facts, made=cluster.is_complete(self.data))

    def read_secrets(self) -> Secrets:
        """Read the site's secrets; the password of an index that is somebody else's is in the file that says it.

        Raises
        ------
        OrthwebError : one is missing or unreadable.
        """
        kept = secrets.read(self.state.secrets)
        index = self.site.index
        return kept if index.host is None else replace(kept, index_password=external.password(index))

    @property
    def cache(self) -> Path:
        """Folder for copies of a bucket's objects."""
        return self.base / self.site.s3.cache_path if self.site.s3.cache_path else self.state.cache

    @property
    def bucket(self) -> str:
        """Name the bucket so that it is known again: server, name and root; empty when the images are not in one."""
        return name_of("s3", self.site, self.store) if self.site.store.kind == "s3" else ""

    def try_bucket(self, report: Report) -> list[PlanItem]:
        """Claim the bucket for this site, if its images shall be in one; give what was changed. See `bucket.take`.

        Raises
        ------
        UsageError : it takes no objects, or is another site's.
        """
        return bucket.take(self, report) if self.site.store.kind == "s3" else []

    def _check_store(self, facts: folder.Facts) -> None:
        kind = self.site.store.kind
        known = facts.store_kind or ("filesystem" if facts.site else "")
        kept = Path(facts.store) if facts.store else self.state.store
        holds = known != "filesystem" or store.may_hold_files(kept, facts.site, outside=bool(facts.store))
        if known not in ("", kind) and holds:
            raise SiteFileError(
                [
                    f"store.kind: is {kind}, and this site's images are in the store {known}: "
                    f"`orthweb store migrate --to {kind}` moves them"
                ]
            )
        if kind == "s3":
            rendering.s3_files(self.site.s3)
            bucket.check(self.site.s3, facts, self.bucket)
        if kind != "filesystem":
            return
        if self.site.store.path is not None:
            inside = str(self.state.store) if store.holds_files(self.state.store) else ""
            store.check(self.store, facts.site, facts.store or inside)
        elif facts.store:
            raise SiteFileError([f"store.path: is gone; this site's files are in {facts.store}: set it again"])

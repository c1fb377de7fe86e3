"""Bring a site up: everything it needs is made, put in place and started, or nothing is left running.

The order of the steps is here, once; what runs the services, and how that is told, each target says.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from orthweb import pki, secrets
from orthweb.capabilities.schema import Upgrade, settle
from orthweb.checks.facts import IndexFacts
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.base import PlanItem, Report, quiet
from orthweb.targets.host import (
    changes,
    cluster,
    external,
    folder,
    handover,
    leaving,
    migration,
    plugins,
    reaching,
    rendering,
    store,
)
from orthweb.targets.host.accounts import Accounts, ids
from orthweb.targets.host.changes import Item
from orthweb.targets.host.deployment import Bundle, changed, readable
from orthweb.targets.host.place import SitePlace
from orthweb.targets.host.readiness import ready

P = TypeVar("P", bound=SitePlace)


class Bringup(ABC, Generic[P]):
    """One call that makes a site's services be as its file says.

    Parameters
    ----------
    place : where the site lies.
    report : told what is being done or waited for.
    """

    target: ClassVar[str]
    """Name of the target, as the state folder remembers it."""

    ready_seconds: ClassVar[float]
    """How long services may take to answer once they are started."""

    users: Accounts
    kept: secrets.Secrets
    facts: folder.Facts

    def __init__(self, place: P, report: Report = quiet) -> None:
        self.place = place
        self.report = report
        self.running = False
        """Whether the site runs, apart from what this call starts."""

    @abstractmethod
    def apply(self, differing: Sequence[Item]) -> list[PlanItem]:
        """Put changed files in place and let running services take them up: a reload where that does, else a restart.

        Orthanc processes are restarted one by one, each when it has nothing to do; where the edge or the index must be
        restarted too, which ends every connection, all are restarted together.
        """

    @abstractmethod
    def stop(self, report: Report = quiet) -> bool:
        """Stop everything of the site; tell whether anything ran."""

    @abstractmethod
    def find_accounts(self) -> Accounts:
        """Find the services' users."""

    def _ensure_accounts(self) -> Accounts:
        """Find the services' users; make those that are missing."""
        return self.find_accounts()

    def _prepare(self) -> list[PlanItem]:
        """Do what comes before anything of the site can be looked at; say what was done."""
        return []

    @abstractmethod
    def _check_others(self) -> None:
        """Refuse, or end, what another run left at work on this site."""

    @abstractmethod
    def _check_edge_ports(self) -> None:
        """Refuse ports of the edge that somebody else has."""

    @abstractmethod
    def _upgrade(self) -> Upgrade | None:
        """Say how the index's schema will change."""

    @abstractmethod
    def _choose_layout(self, upgrade: Upgrade | None) -> list[PlanItem]:
        """Work the layout out and note it, and `take_data`; say what was done."""

    @abstractmethod
    def _recall_layout(self) -> None:
        """Give a site that was brought up before the layout that it has."""

    @abstractmethod
    def _migration(self) -> migration.Ground:
        """Give what the change of a stopped site's index needs."""

    @abstractmethod
    def _resumption(self) -> Callable[[], None]:
        """Give what starts a running site again as it is now."""

    @abstractmethod
    def _make_sockets(self) -> None:
        """Make the folders of the services' sockets."""

    @abstractmethod
    def _postgresql(self) -> cluster.Run:
        """Give what runs PostgreSQL's programs while no server of the site runs."""

    @abstractmethod
    def _deliver(self) -> None:
        """Put programs and libraries where the services find them."""

    @abstractmethod
    def _files(self) -> list[Item]:
        """Render every file; secrets and certificates must be there."""

    def _halting(self, differing: Sequence[Item]) -> str:  # noqa: ARG002
        """Say why changed files need that everything stops; nothing when they do not."""
        return ""

    @abstractmethod
    def _start(self) -> None:
        """Start every service."""

    @abstractmethod
    def _hopeless(self, waited: float) -> str | None:
        """Name a service that does not start, after `waited` seconds; None while there is hope."""

    @abstractmethod
    def _last_words(self, name: str) -> str:
        """Give the end of a service's log as one line."""

    @abstractmethod
    def _await_archives(self) -> None:
        """Wait until every Orthanc answers by itself: through the edge one would do."""

    @abstractmethod
    def _index_facts(self) -> IndexFacts:
        """Say how the index is reached."""

    @abstractmethod
    def _warnings(self) -> list[PlanItem]:
        """Say what is allowed and should be known."""

    def up(self) -> list[PlanItem]:
        """Make the site be as its file says, wait until it answers, and say what was changed.

        Raises
        ------
        SiteFileError, UsageError : nothing was changed.
        OrthwebError : a service did not start; whatever this call started has been stopped again.
        """
        place = self.place
        done = self._prepare()
        place.check()
        if not place.state.root.exists():
            self._check_edge_ports()  # before the first folder is made
        folder.make_root(place.base)
        with folder.locked(place.state, self.report):
            folder.make(place.base)
            settle(place.data)
            place.check()
            self.running = place.running()
            self._check_others()
            self._check_edge_ports()
            # While the data belongs to another target's users it cannot be asked.
            upgrade = None if handover.moves(place, self.target) else self._due()
            with self._undone():
                done += self._make(upgrade)
                self.wait()
                done += self._keep_indexed()
                migration.remember(place.state, place.build)
                plugins.sweep(place.state, place.libraries)
                for name, _ in place.archives:
                    rendering.forget_credentials(place.site, place.state.service(name))
                return done + self._warnings()

    def _due(self) -> Upgrade | None:
        """Say how the index's schema will change, wherever the index is."""
        return external.due(self.place) if self.place.site.index.host is not None else self._upgrade()

    @contextlib.contextmanager
    def _undone(self) -> Iterator[None]:
        """Stop what this call started when it does not get to its end, Ctrl-C included."""
        try:
            yield
        except BaseException:
            if not self.running:
                self.report("stopping what was started")
                with contextlib.suppress(OrthwebError):
                    self.stop()
            raise

    def halt(self, why: str) -> None:
        """Stop a running site because a change needs that."""
        if self.running:
            self.report(f"stopping: {why}")
            self.running = False
            self.stop()

    def _make(self, upgrade: Upgrade | None) -> list[PlanItem]:
        place = self.place
        done = place.try_bucket(self.report)
        self.report("secrets and certificates")
        self.users = self._ensure_accounts()
        fresh = secrets.missing(place.state.secrets)
        secrets.ensure(place.state.secrets)
        self.kept = place.read_secrets()
        done += changes.new_secrets(fresh)
        done += changes.certificates(pki.ensure(place.state.pki, place.site, place.base))
        known = folder.read_facts(place.state)
        self.facts = replace(known, site=known.site or uuid.uuid4().hex, site_file=place.file_name)
        done += self._choose_layout(upgrade)
        self._make_folders()
        self._claim_store()
        done += self._make_index()
        plugins.deliver(place.state, place.libraries, self.users.archive)
        self._deliver()
        differing = changed(self._files(), self.users)
        done += changes.files(place, differing)
        if why := self._halting(differing):
            self.halt(why)
        if self.running:
            return done + self.apply(differing)
        for item in differing:
            item.put(self.users.of(item.service))
        leaving.forget(place)
        self._start()
        return done + [PlanItem("start", name, "not running") for name in place.services]

    def note(self, facts: folder.Facts) -> None:
        """Remember what was decided."""
        self.facts = facts
        folder.write_facts(self.place.state, facts)

    def take_data(self, upgrade: Upgrade | None) -> list[PlanItem]:
        """Give what the site keeps to this target's users and its index the schema of this Orthanc's plugin."""
        moved = handover.moves(self.place, self.target)
        done = handover.take(self.place, self.users, self.target, self.report)
        if moved:
            upgrade = self._due()
        return done if upgrade is None else [*done, self._migrate(upgrade)]

    def _migrate(self, upgrade: Upgrade) -> PlanItem:
        """Change the index's schema before anything else is; when that fails, let a site that ran go on as it was."""
        resume = self._resumption() if self.running else None
        plugins.deliver(self.place.state, self.place.libraries, self.users.archive)
        self.halt("the index gets a newer schema")
        ground = self._migration()
        change = migration.migrate if self.place.site.index.host is None else migration.migrate_external
        try:
            change(ground, upgrade, self.report)
        except BaseException:
            if resume is not None:
                self.report("starting the site as it was")
                resume()
            raise
        words = upgrade.words(snapshot=self.place.site.index.host is None)
        return PlanItem("change", "index", words)

    def _make_folders(self) -> None:
        """Make the services' folders: those with configuration are ours and readable, those with data are theirs."""
        place, state, users = self.place, self.place.state, self.users
        archives = [state.service(name) for name, _ in place.archives]
        own = () if place.site.index.host is not None else (state.index, state.index / "tls")
        for path, account in (
            *((path, users.index) for path in own),
            *((path, users.archive) for each in archives for path in rendering.archive_folders(place.site, each)),
            (state.edge, users.edge),
            (state.edge / "sds", users.edge),
            (state.edge / "eds", users.edge),
            (state.edge / "tls", users.edge),
        ):
            readable(path, account)
        theirs = [path / "work" for path in archives]
        if place.site.store.kind == "s3":
            place.cache.parent.mkdir(parents=True, exist_ok=True)
            theirs.append(place.cache)
        else:
            shutil.rmtree(place.cache, ignore_errors=True)  # images of a store that the site has left
        for path in theirs:
            folder.folder(path, 0o700, *ids(users.archive))
        self._make_sockets()

    def _claim_store(self) -> None:
        """Make the store's folder, claim it for this site, and note that the images are there."""
        place, outside = self.place, ""
        if place.site.store.kind == "filesystem":
            self.make_store(self.users, self.facts.site)
            outside = str(place.store) if place.site.store.path is not None else ""
        self.note(replace(self.facts, store=outside, store_kind=place.site.store.kind, bucket=place.bucket))

    def make_store(self, users: Accounts, identity: str) -> None:
        """Make the store's folder and claim it for this site, without noting that the images are there.

        Raises
        ------
        UsageError : it cannot be made, or the archive's user cannot reach it.
        """
        place = self.place
        key = "store.path: " if place.site.store.path is not None else ""
        try:
            store.make(place.store)
            folder.folder(place.store, 0o700)  # a link in its place is refused before anything is written through it
            # Before it becomes the archive's own; one in the state folder too, so that it can be moved outside later.
            store.claim(place.store, identity)
            folder.folder(place.store, 0o700, *ids(users.archive))
        except OSError as error:
            raise UsageError(f"{key}{place.store}: {error.strerror}", "make it writable for the caller") from error

    def prepare_store(self) -> Path:
        """Make and claim the folder, or claim the bucket, that the site file names for the store; see `StoreHost`."""
        if self.place.site.store.kind != "filesystem":
            with folder.locked(self.place.state, self.report):
                self.place.try_bucket(self.report)
            return self.place.store
        place, identity = self.place, folder.read_facts(self.place.state).site
        if place.site.store.path is not None:
            store.check(place.store, identity, "")
        self.make_store(self.find_accounts(), identity)
        return place.store

    def _make_index(self) -> list[PlanItem]:
        """Make the index's data directory, or give the one that is there the password that its secret says."""
        place, password = self.place, self.kept.index_password
        if place.site.index.host is not None:
            done = external.renaming(place.site.index, self.facts)
            self.note(replace(self.facts, index=external.name(place.site.index)))
            return done
        digest = hashlib.sha256(password.encode()).hexdigest()
        done = []
        if not cluster.is_complete(place.data):
            major = f"PostgreSQL {place.postgresql_major}"
            self.report(f"creating the index ({major})")
            cluster.create(self._postgresql(), self.users.index, place.data, password)
            done.append(PlanItem("create", "index", f"{major}: data directory, role and database"))
        elif digest != self.facts.index_password:
            self.halt("the index gets a new password")
            cluster.set_password(self._postgresql(), place.data, password)
            done.append(PlanItem("change", "index", "the password that its secret says"))
        self.note(replace(self.facts, index_password=digest))
        return done

    def wait(self) -> None:
        """Wait until the site answers.

        Raises
        ------
        OrthwebError : a service gave up, or nothing answered in time; with the last words of the culprit's log.
        """
        self.report("waiting for the first verified DICOM echo")
        found = reaching.access(self.place)
        started = time.monotonic()
        while (problem := ready(found)) is not None:
            waited = time.monotonic() - started
            if (name := self._hopeless(waited)) is not None:
                self._give_up(name, f"{name} does not start")
            if waited > self.ready_seconds:
                self._give_up("archive", f"the site does not answer: {problem}")
            time.sleep(0.05)
        self._await_archives()

    def _keep_indexed(self) -> list[PlanItem]:
        """Let a store in the database keep what the index has; the archive has made its tables."""
        if self.place.site.store.kind != "database":
            return []
        from orthweb.store.database import DatabaseStore

        self.report("letting the database keep what the index has")
        with contextlib.closing(DatabaseStore(self._index_facts())) as stored:
            try:
                stored.keep_indexed()
            except OrthwebError as error:  # the site runs, and did so before there was any such thing
                why = f"{error.message}; an image can be lost when the index goes away in the middle of a commit"
                return [PlanItem("warn", "store", why)]
        return []

    def _give_up(self, name: str, message: str) -> None:
        raise OrthwebError(f"{message}; its log ends with: {self._last_words(name)}", f"orthweb logs {name}")

    def renew_certificates(self, *, everything: bool) -> list[pki.Change]:
        """Renew certificates and put them to use without dropping an open association.

        The edge loads its new certificates at once and PostgreSQL after a reload. Orthanc reads its internal one at its
        start alone: it is restarted when no association is open, else the new one is used from its next start.
        """
        place = self.place
        place.kept_endpoints()
        with folder.locked(place.state, self.report):
            renewed = pki.ensure(place.state.pki, place.site, place.base, renew=everything)
            self.users = self.find_accounts()
            self._recall_layout()
            certificates = [
                item for item in self._files() if isinstance(item, Bundle) or item.path.parent.name == "tls"
            ]
            differing = changed(certificates, self.users)
            if place.running():
                for done in self.apply(differing):
                    self.report(f"{done.action} {done.what}: {done.why}")
                self.wait()
            else:
                for item in differing:
                    item.put(self.users.of(item.service))
        return renewed

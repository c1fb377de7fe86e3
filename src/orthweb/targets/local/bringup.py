"""Bring a site up as processes of this machine under a supervisor."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orthweb.capabilities.schema import Upgrade
from orthweb.checks.facts import IndexFacts
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.base import PlanItem, Report, quiet
from orthweb.targets.host import accounts, bringup, changes, cluster, folder, leaving, libraries, machine, reaching
from orthweb.targets.host import migration as changing
from orthweb.targets.host.changes import Item
from orthweb.targets.host.readiness import ready
from orthweb.targets.local import database, inspection, migration, planning, ports, replicas, supervision
from orthweb.targets.local.place import Layout, Place


class Bringup(bringup.Bringup[Place]):
    """One call that makes the processes of a site be as its file says; see `host.bringup`."""

    target = "local"
    ready_seconds = 90.0
    layout: Layout

    def find_accounts(self) -> accounts.Accounts:
        """Find the services' users."""
        return accounts.find()

    def _ensure_accounts(self) -> accounts.Accounts:
        return accounts.ensure()

    def _check_others(self) -> None:
        if not self.running:
            self.clear_leftovers()

    def clear_leftovers(self) -> None:
        """End processes of an earlier run whose supervisor is gone."""
        left = supervision.leftovers(self.place.state)
        if left:
            self.report(f"ending {len(left)} processes of an earlier run whose supervisor is gone")
            supervision.end(left)
        database.forget_dead_server(self.place.data, self.place.run / "index")

    def _check_edge_ports(self) -> None:
        planning.check_edge_ports(self.place)

    def _upgrade(self) -> Upgrade | None:
        return migration.due(self.place)

    def _choose_layout(self, upgrade: Upgrade | None) -> list[PlanItem]:
        done = self.take_data(upgrade)
        self._recall_layout()
        self.note(replace(self.facts, ports=ports.as_facts(self.layout.ports), target=self.target))
        return done

    def _recall_layout(self) -> None:
        self.layout = self.place.layout()

    def _migration(self) -> changing.Ground:
        return migration.ground(self.place, self.users, self.kept.index_password)

    def _resumption(self) -> Callable[[], None]:
        found = reaching.access(self.place)

        def resume() -> None:
            self.launch()
            self.running = True
            deadline = time.monotonic() + self.ready_seconds
            while ready(found) is not None and time.monotonic() < deadline:
                time.sleep(0.05)

        return resume

    def _make_sockets(self) -> None:
        for name, account in (("index", self.users.index), ("edge", self.users.edge)):
            folder.folder(self.place.run / name, 0o700, *accounts.ids(account))

    def make_store(self, users: accounts.Accounts, identity: str) -> None:
        """Make the store's folder and claim it for this site; see `host.bringup`."""
        super().make_store(users, identity)
        if users.archive is not None and not accounts.can_reach(self.place.store):
            key = "store.path: " if self.place.site.store.path is not None else ""
            raise UsageError(
                f"{key}{self.place.store}: the user {users.archive.user} cannot pass the folders above it",
                "chmod o+x those folders, or choose another place",
            )

    def _postgresql(self) -> cluster.Run:
        return database.runner(self.place.programs, self.users.index)

    def _deliver(self) -> None:
        self._deliver_envoy()
        if self.place.site.store.kind == "s3":
            libraries.deliver(self.layout.endpoints.libraries, self.users.archive)

    def _deliver_envoy(self) -> None:
        binary, source = self.place.envoy_binary(), self.place.programs.envoy
        if binary == source or (binary.exists() and binary.stat().st_size == source.stat().st_size):
            return
        folder.folder(binary.parent, 0o755)
        part = binary.with_name(".envoy.part")
        part.unlink(missing_ok=True)
        part.touch(0o600)  # whatever the umask: whoever could open it now could change it for ever
        shutil.copyfile(source, part)
        part.chmod(0o755)
        part.replace(binary)

    def _files(self) -> list[Item]:
        return self.place.files(self.layout, self.users)

    def _halting(self, differing: Sequence[Item]) -> str:
        return "the services themselves changed" if planning.services_changed(differing) else ""

    def launch(self) -> None:
        """Start the supervisor, which starts the services that it was told of."""
        supervision.launch(self.place.state.root / "supervisord.conf", self.place.state.logs / "supervisor.log")

    def _start(self) -> None:
        self.report("starting the services")
        self.launch()
        for name in self.place.services:
            self.place.supervisor.start(name)

    def _index_facts(self) -> IndexFacts:
        return inspection.index_facts(self.place)

    def _warnings(self) -> list[PlanItem]:
        return changes.warnings(self.place, machine.fitted(self.place.site))

    def apply(self, differing: Sequence[Item]) -> list[PlanItem]:
        """Put changed files in place and let running services take them up; see `host.bringup`."""
        place, layout, users = self.place, self.layout, self.users
        admin = place.run / "edge" / "admin.sock"
        must = planning.restarts(place, differing)
        done = planning.comings_and_goings(place)
        states = place.supervisor.services()
        wanted, said = changes.restarts(must, differing, states, lambda: bool(inspection.open_associations(admin)))
        done += said
        together = bool(wanted.keys() & {"index", "edge"})
        rolled = [] if together else [name for name in wanted if supervision.is_up(states.get(name, {}))]
        if replicas.leaving(place):
            leaving.drain(place, layout.endpoints, admin, users, self.report)
        if together:
            self.report(f"restarting {', '.join(wanted)}")
            # Orthanc does not end while an association is open, however long nothing is said: the edge has to end them.
            known = [name for name in wanted if name in states]
            place.supervisor.stop(*dict.fromkeys(("edge", *known)) if wanted.keys() - {"index", "edge"} else known)
        for item in differing:
            if item.service not in rolled:
                item.put(users.of(item.service))
        place.supervisor.update()
        leaving.forget(place)
        if changes.wants(differing, "reload", "index") and "index" not in wanted:
            place.supervisor.signal("index", signal.SIGHUP)
        for name in place.services:
            place.supervisor.start(name)
        replicas.roll(place, layout, rolled, differing, users, self.report)
        return done

    def _hopeless(self, waited: float) -> str | None:
        states = self.place.supervisor.services()
        for name in self.place.services:
            state = str(states[name]["statename"])
            if state == "FATAL" or (state == "BACKOFF" and waited > replicas.RETRY_SECONDS):
                return name
        return None

    def _last_words(self, name: str) -> str:
        return inspection.last_words(self.place.state.logs / f"{name}.log")

    def _await_archives(self) -> None:
        replicas.await_all(self.place)

    def stop(self, report: Report = quiet) -> bool:
        """Stop everything of the site; tell whether anything ran."""
        supervisor = self.place.supervisor
        pid = supervisor.pid()
        if pid is not None:
            report("stopping the services")
            # The edge first closes the door; the index goes last, after everything has been written to it.
            with contextlib.suppress(OrthwebError):
                archives = [name for name in supervisor.services() if name not in ("edge", "index")]
                supervisor.stop("edge", *archives)
            supervisor.shut_down()
            if not supervision.wait_gone(pid):
                report("the supervisor does not end by itself; ending it")
        left = supervision.leftovers(self.place.state)
        supervision.end(left)
        return pid is not None or bool(left)

"""Bring a site up in containers of this machine's Docker engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from orthweb.capabilities.schema import Upgrade
from orthweb.checks.facts import IndexFacts
from orthweb.targets.base import PlanItem, Report, quiet
from orthweb.targets.docker import images, inspection, migration, planning, replicas, services
from orthweb.targets.docker.containers import compose_command, compose_up
from orthweb.targets.docker.place import CHECK_PORT, Layout, Place, accounts
from orthweb.targets.host import bringup, cluster, folder, libraries
from orthweb.targets.host import migration as changing
from orthweb.targets.host.accounts import Accounts, ids, is_root
from orthweb.targets.host.changes import Item

FAILURES = 3
"""How often the engine may have to start a container again before `up` gives up."""


class Bringup(bringup.Bringup[Place]):
    """One call that makes the containers of a site be as its file says; see `host.bringup`."""

    target = "docker"
    ready_seconds = 120.0
    layout: Layout

    def find_accounts(self) -> Accounts:
        """Give the users that the containers run as."""
        return accounts()

    def _prepare(self) -> list[PlanItem]:
        planning.check_folder(self.place)
        compose_command(self.place.engine)
        made = images.ensure(self.place.engine, self.place.site, self.report)
        return [PlanItem("create", f"image {name}", "was not there") for name in made]

    def _check_others(self) -> None:
        planning.check_other_target(self.place)

    def _check_edge_ports(self) -> None:
        planning.check_edge_ports(self.place)

    def _upgrade(self) -> Upgrade | None:
        return migration.due(self.place, accounts())

    def _choose_layout(self, upgrade: Upgrade | None) -> list[PlanItem]:
        self.note(self.facts)  # the containers' names and labels are made from the site's identity
        self.layout = self.place.layout()
        if planning.networks_changed(self.place, self.layout, self.users):
            self.halt("the containers' networks changed")
        done = self.take_data(upgrade)
        network, known = str(self.layout.addresses.network), {CHECK_PORT: self.layout.check_port}
        self.note(replace(self.facts, target=self.target, containers=True, network=network, ports=known))
        return done

    def _recall_layout(self) -> None:
        self.layout = self.place.kept_layout()

    def _migration(self) -> changing.Ground:
        self._forget_dead_server()
        return migration.ground(self.place, self.users, self.kept.index_password)

    def _resumption(self) -> Callable[[], None]:
        names = sorted(self.place.states())

        def resume() -> None:
            self.running = True
            compose_up(self.place.engine, self.place.project, self.place.compose_file, names)

        return resume

    def _make_sockets(self) -> None:
        place = self.place
        folder.folder(place.state.run, 0o711 if is_root() else 0o700)
        folder.folder(place.sockets, 0o700, *ids(self.users.edge))
        place.link_sockets()

    def _make_index(self) -> list[PlanItem]:
        if self.place.site.index.host is not None:
            return super()._make_index()
        self.place.passwd(self.users).put(self.users.index)
        return super()._make_index()

    def _postgresql(self) -> cluster.Run:
        self._forget_dead_server()
        return migration.runner(self.place, self.users)

    def _forget_dead_server(self) -> None:
        """Remove the lock file of a server that is gone: its process id means another one in a new container.

        To be called when no container of the site runs.
        """
        with contextlib.suppress(FileNotFoundError):
            (self.place.data / "postmaster.pid").unlink()

    def _deliver(self) -> None:
        if self.place.site.store.kind == "s3" and self.place.site.archive.image != "debian":
            libraries.deliver(self.place.state.root / services.LIBRARIES.name, self.users.archive)

    def _files(self) -> list[Item]:
        return self.place.files(self.layout, self.users)

    def _start(self) -> None:
        place = self.place
        # What a stopped site left has old definitions, and nothing that is kept.
        place.containers.remove([state.name for state in place.states().values()])
        if planning.networks_changed(place, self.layout, self.users):
            place.containers.remove_networks()
        self._forget_dead_server()
        self.report("starting the containers")
        for name in place.services:
            compose_up(place.engine, place.project, place.compose_file, [name])

    def _index_facts(self) -> IndexFacts:
        return inspection.index_facts(self.place)

    def _warnings(self) -> list[PlanItem]:
        return planning.warnings(self.place)

    def apply(self, differing: Sequence[Item]) -> list[PlanItem]:
        """Put changed files in place and let running containers take them up; see `host.bringup`."""
        return replicas.apply(self.place, self.layout, differing, self.users, self.report)

    def _hopeless(self, waited: float) -> str | None:  # noqa: ARG002
        states = self.place.states()
        for name in self.place.services:
            state = states.get(name)
            if state is None or state.failures >= FAILURES or state.status in ("exited", "dead"):
                return name
        return None

    def _last_words(self, name: str) -> str:
        words = [line.strip() for line in self.place.containers.log(self.place.container(name), 3) if line.strip()]
        return " | ".join(words) or "nothing"

    def _await_archives(self) -> None:
        replicas.await_all(self.place)

    def stop(self, report: Report = quiet) -> bool:
        """Stop and remove everything of the site that the engine has; tell whether anything ran."""
        place = self.place
        if not place.identity:
            return False
        states = place.states()
        running = [state for state in states.values() if state.runs or state.status in ("restarting", "paused")]
        if running:
            report("stopping the containers")
        # The edge first closes the door; the index goes last, after everything has been written to it.
        order = (["edge"], [name for name in states if name not in ("edge", "index")], ["index"])
        for names in order:
            place.containers.stop([states[name].name for name in names if name in states and states[name] in running])
        # One-off containers of an interrupted call have the label too.
        place.containers.remove_all()
        place.containers.remove_networks()
        facts = folder.read_facts(place.state)
        if facts.containers:
            folder.write_facts(place.state, replace(facts, containers=False))
        return bool(running)

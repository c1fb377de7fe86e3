"""Bring a site up in containers: everything it needs is made, put in place and started, or nothing is left running."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orthweb import pki, secrets
from orthweb.capabilities.schema import Upgrade, settle
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.base import PlanItem, Report, quiet
from orthweb.targets.docker import images, migration, planning, replicas, services
from orthweb.targets.docker.containers import compose_command, compose_up
from orthweb.targets.docker.migration import runner
from orthweb.targets.docker.place import CHECK_PORT, Layout, Place, accounts
from orthweb.targets.host import (
    changes,
    cluster,
    folder,
    handover,
    leaving,
    libraries,
    plugins,
    reaching,
    rendering,
    store,
)
from orthweb.targets.host import migration as changing
from orthweb.targets.host.accounts import Accounts, is_root
from orthweb.targets.host.accounts import ids as owner
from orthweb.targets.host.deployment import changed, readable
from orthweb.targets.host.readiness import ready

READY_SECONDS = 120.0
FAILURES = 3
"""How often the engine may have to start a container again before `up` gives up."""


def up(place: Place, report: Report) -> list[PlanItem]:
    """Make the site be as its file says, wait until it answers, and say what was changed.

    Raises
    ------
    SiteFileError, UsageError : nothing was changed.
    OrthwebError : a service did not start; whatever this call started has been stopped again.
    """
    planning.check_folder(place)
    compose_command(place.engine)
    made = images.ensure(place.engine, place.site, report)
    place.check()
    if not place.state.root.exists():
        planning.check_edge_ports(place)  # before the first folder is made
    folder.make_root(place.base)
    with folder.locked(place.state, report):
        folder.make(place.base)
        settle(place.data)
        place.check()
        planning.check_other_target(place)
        planning.check_edge_ports(place)
        run = _Run(place.running())
        # While the data belongs to another target's users it cannot be asked.
        moves = handover.moves(place, "docker")
        upgrade = None if moves else migration.due(place, accounts())
        with _undone(place, run, report):
            done = [PlanItem("create", f"image {name}", "was not there") for name in made]
            done += _make(place, run, upgrade, report)
            wait(place, report)
            changing.remember(place.state, place.build)
            plugins.sweep(place.state, place.libraries)
            for name, _ in place.archives:
                rendering.forget_credentials(place.site, place.state.service(name))
            return done + planning.warnings(place)


@dataclass
class _Run:
    """Whether the site runs, apart from what this call starts."""

    running: bool


@contextlib.contextmanager
def _undone(place: Place, run: _Run, report: Report) -> Iterator[None]:
    """Stop what this call started when it does not get to its end, Ctrl-C included."""
    try:
        yield
    except BaseException:
        if not run.running:
            report("stopping what was started")
            with contextlib.suppress(OrthwebError):
                stop(place)
        raise


def halt(place: Place, run: _Run, report: Report, why: str) -> None:
    """Stop a running site because a change needs that."""
    if run.running:
        report(f"stopping: {why}")
        run.running = False
        stop(place)


def _make(place: Place, run: _Run, upgrade: Upgrade | None, report: Report) -> list[PlanItem]:
    place.try_bucket(report)
    report("secrets and certificates")
    users = accounts()
    fresh = secrets.missing(place.state.secrets)
    kept = secrets.ensure(place.state.secrets)
    done = changes.new_secrets(fresh)
    done += changes.certificates(pki.ensure(place.state.pki, place.site, place.base))
    facts = folder.read_facts(place.state)
    facts = replace(facts, site=facts.site or uuid.uuid4().hex, site_file=place.file_name)
    folder.write_facts(place.state, facts)
    layout = place.layout()
    if planning.networks_changed(place, layout, users):
        halt(place, run, report, "the containers' networks changed")
    moves = handover.moves(place, "docker")
    done += handover.take(place, users, "docker", report)
    upgrade = migration.due(place, users) if moves else upgrade
    if upgrade is not None:
        done.append(_migrate(place, users, kept, upgrade, run, report))
    facts = replace(facts, target="docker", containers=True, network=str(layout.addresses.network))
    facts = replace(facts, ports={CHECK_PORT: layout.check_port})
    folder.write_facts(place.state, facts)
    _folders(place, users, layout)
    facts = _store(place, users, facts)
    digest = hashlib.sha256(kept.index_password.encode()).hexdigest()
    if digest != facts.index_password and cluster.is_complete(place.data):
        halt(place, run, report, "the index gets a new password")
    done += _index(place, users, kept, facts.index_password == digest, report)
    folder.write_facts(place.state, replace(facts, index_password=digest))
    plugins.deliver(place.state, place.libraries, users.archive)
    if place.site.store.kind == "s3" and place.site.archive.image != "debian":
        libraries.deliver(place.state.root / services.LIBRARIES.name, users.archive)
    differing = changed(place.files(layout, users), users)
    done += changes.files(place, differing)
    if run.running:
        return done + replicas.apply(place, layout, differing, users, report)
    for item in differing:
        item.put(users.of(item.service))
    leaving.forget(place)
    # What a stopped site left has old definitions, and nothing that is kept.
    place.containers.remove([state.name for state in place.states().values()])
    if planning.networks_changed(place, layout, users):
        place.containers.remove_networks()
    _forget_dead_server(place)
    report("starting the containers")
    for name in place.services:
        compose_up(place.engine, place.project, place.compose_file, [name])
    return done + [PlanItem("start", name, "not running") for name in place.services]


def _migrate(
    place: Place, users: Accounts, kept: secrets.Secrets, upgrade: Upgrade, run: _Run, report: Report
) -> PlanItem:
    """Change the index's schema before the containers are; when that fails, let a site that ran go on as it was."""
    ran = sorted(place.states()) if run.running else []
    plugins.deliver(place.state, place.libraries, users.archive)
    halt(place, run, report, "the index gets a newer schema")
    _forget_dead_server(place)
    ground = migration.ground(place, users, kept.index_password)
    try:
        changing.migrate(ground, upgrade, report)
    except BaseException:
        if ran:
            report("starting the site as it was")
            run.running = True
            compose_up(place.engine, place.project, place.compose_file, ran)
        raise
    return PlanItem("change", "index", str(upgrade))


def _folders(place: Place, users: Accounts, layout: Layout) -> None:
    """Make the services' folders: those with configuration are ours and readable, those with data are theirs."""
    state = place.state
    names = [process.name for process in layout.endpoints.archives]
    for path, account in (
        (state.index, users.index),
        (state.index / "tls", users.index),
        *(
            (path, users.archive)
            for name in names
            for path in rendering.archive_folders(place.site, state.service(name))
        ),
        (state.edge, users.edge),
        (state.edge / "sds", users.edge),
        (state.edge / "eds", users.edge),
        (state.edge / "tls", users.edge),
    ):
        readable(path, account)
    if place.site.store.kind != "s3":
        shutil.rmtree(state.cache, ignore_errors=True)  # images of a store that the site has left
    folder.folder(state.run, 0o711 if is_root() else 0o700)
    for path, account in (
        *((state.service(name) / "work", users.archive) for name in names),
        *([(state.cache, users.archive)] if place.site.store.kind == "s3" else []),
        (place.sockets, users.edge),
    ):
        folder.folder(path, 0o700, *owner(account))
    place.link_sockets()


def _store(place: Place, users: Accounts, facts: folder.Facts) -> folder.Facts:
    """Make the store's folder and claim it for this site."""
    outside = ""
    if place.site.store.kind == "filesystem":
        make_store(place, users, facts)
        outside = str(place.store) if place.site.store.path is not None else ""
    facts = replace(facts, store=outside, store_kind=place.site.store.kind, bucket=place.bucket)
    folder.write_facts(place.state, facts)
    return facts


def make_store(place: Place, users: Accounts, facts: folder.Facts) -> None:
    """Make the store's folder and claim it for this site, without noting that the images are there.

    Raises
    ------
    UsageError : it cannot be made.
    """
    key = "store.path: " if place.site.store.path is not None else ""
    try:
        store.make(place.store)
        folder.folder(place.store, 0o700)  # a link in its place is refused before anything is written through it
        store.claim(place.store, facts.site)
        folder.folder(place.store, 0o700, *owner(users.archive))
    except OSError as error:
        raise UsageError(f"{key}{place.store}: {error.strerror}", "make it writable for the caller") from error


def _index(
    place: Place, users: Accounts, kept: secrets.Secrets, knows_password: bool, report: Report
) -> list[PlanItem]:
    major = f"PostgreSQL {place.postgresql_major}"
    place.passwd(users).put(users.index)
    if not cluster.is_complete(place.data):
        report(f"creating the index ({major})")
        cluster.create(runner(place, users), users.index, place.data, kept.index_password)
        return [PlanItem("create", "index", f"{major}: data directory, role and database")]
    if not knows_password:
        _forget_dead_server(place)
        cluster.set_password(runner(place, users), place.data, kept.index_password)
        return [PlanItem("change", "index", "the password that its secret says")]
    return []


def _forget_dead_server(place: Place) -> None:
    """Remove the lock file of a server that is gone: its process id means another one in a new container.

    To be called when no container of the site runs.
    """
    with contextlib.suppress(FileNotFoundError):
        (place.data / "postmaster.pid").unlink()


def wait(place: Place, report: Report) -> None:
    """Wait until the site answers.

    Raises
    ------
    OrthwebError : a service gave up, or nothing answered in time; with the last words of the culprit's log.
    """
    report("waiting for the first verified DICOM echo")
    found = reaching.access(place, place.kept_layout().endpoints)
    started = time.monotonic()
    while (problem := ready(found)) is not None:
        states = place.states()
        for name in place.services:
            state = states.get(name)
            if state is None or state.failures >= FAILURES or state.status in ("exited", "dead"):
                give_up(place, name, f"{name} does not start")
        if time.monotonic() - started > READY_SECONDS:
            give_up(place, "archive", f"the site does not answer: {problem}")
        time.sleep(0.1)
    replicas.await_all(place)


def give_up(place: Place, name: str, message: str) -> None:
    """Raise with the last words of a container."""
    words = [line.strip() for line in place.containers.log(place.container(name), 3) if line.strip()]
    raise OrthwebError(f"{message}; its log ends with: {' | '.join(words) or 'nothing'}", f"orthweb logs {name}")


def stop(place: Place, report: Report = quiet) -> bool:
    """Stop and remove everything of the site that the engine has; tell whether anything ran."""
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

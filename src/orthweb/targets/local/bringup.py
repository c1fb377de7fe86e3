"""Bring a site up: everything it needs is made, put in place and started, or nothing is left running."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from orthweb import pki, secrets
from orthweb.capabilities.schema import Upgrade, settle
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.base import PlanItem, Report, quiet
from orthweb.targets.host import (
    accounts,
    changes,
    folder,
    handover,
    leaving,
    libraries,
    machine,
    plugins,
    rendering,
    store,
)
from orthweb.targets.host import migration as changing
from orthweb.targets.host.deployment import Bundle, File, changed, readable
from orthweb.targets.host.readiness import ready
from orthweb.targets.local import database, inspection, migration, planning, ports, replicas, supervision
from orthweb.targets.local.place import Layout, Place

READY_SECONDS = 90.0


def up(place: Place, report: Report) -> list[PlanItem]:
    """Make the site be as its file says, wait until it answers, and say what was changed.

    Raises
    ------
    SiteFileError, UsageError : nothing was changed.
    OrthwebError : a service did not start; whatever this call started has been stopped again.
    """
    place.check()
    _ = place.programs
    if not place.state.root.exists():
        planning.check_edge_ports(place)  # before the first folder is made
    folder.make_root(place.base)
    with folder.locked(place.state, report):
        folder.make(place.base)
        settle(place.data)
        place.check()
        running = place.running()
        if not running:
            clear_leftovers(place, report)
        planning.check_edge_ports(place)
        # While the data belongs to another target's users it cannot be asked.
        upgrade = None if handover.moves(place, "local") else migration.due(place)
        run = _Run(running)
        with _undone(place, run, report):
            done = _make(place, run, upgrade, report)
            wait(place, report)
            changing.remember(place.state, place.build)
            plugins.sweep(place.state, place.libraries)
            for name, _ in place.archives:
                rendering.forget_credentials(place.site, place.state.service(name))
            return done + changes.warnings(place, machine.fitted(place.site))


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


def _halt(place: Place, run: _Run, report: Report, why: str) -> None:
    if run.running:
        report(f"stopping: {why}")
        run.running = False
        stop(place)


def clear_leftovers(place: Place, report: Report) -> None:
    """End processes of an earlier run whose supervisor is gone."""
    left = supervision.leftovers(place.state)
    if left:
        report(f"ending {len(left)} processes of an earlier run whose supervisor is gone")
        supervision.end(left)
    database.forget_dead_server(place.data, place.run / "index")


def _make(place: Place, run: _Run, upgrade: Upgrade | None, report: Report) -> list[PlanItem]:
    place.try_bucket(report)
    report("secrets and certificates")
    users = accounts.ensure()
    fresh = secrets.missing(place.state.secrets)
    kept = secrets.ensure(place.state.secrets)
    done = changes.new_secrets(fresh)
    done += changes.certificates(pki.ensure(place.state.pki, place.site, place.base))
    moves = handover.moves(place, "local")
    done += handover.take(place, users, "local", report)
    upgrade = migration.due(place) if moves else upgrade
    if upgrade is not None:
        done.append(_migrate(place, users, kept, upgrade, run, report))
    layout = place.layout()
    facts = folder.read_facts(place.state)
    facts = replace(facts, site=facts.site or uuid.uuid4().hex, site_file=place.file_name)
    facts = replace(facts, ports=ports.as_facts(layout.ports), target="local")
    folder.write_facts(place.state, facts)
    _folders(place, users, layout)
    facts = _store(place, facts)
    digest = hashlib.sha256(kept.index_password.encode()).hexdigest()
    if digest != facts.index_password and database.is_complete(place.data):
        _halt(place, run, report, "the index gets a new password")
    done += _index(place, users, kept, facts.index_password == digest, report)
    folder.write_facts(place.state, replace(facts, index_password=digest))
    _deliver_envoy(place)
    plugins.deliver(place.state, place.libraries, users.archive)
    if place.site.store.kind == "s3":
        libraries.deliver(layout.endpoints.libraries, users.archive)
    differing = changed(place.files(layout, users), users)
    done += changes.files(place, differing)
    if planning.services_changed(differing):
        _halt(place, run, report, "the services themselves changed")
    if run.running:
        return done + apply(place, layout, differing, users, report)
    for item in differing:
        item.put(users.of(item.service))
    leaving.forget(place)
    report("starting the services")
    supervision.launch(place.state.root / "supervisord.conf", place.state.logs / "supervisor.log")
    for name in place.services:
        place.supervisor.start(name)
    return done + [PlanItem("start", name, "not running") for name in place.services]


def _folders(place: Place, users: accounts.Accounts, layout: Layout) -> None:
    """Make the services' folders: those with configuration are ours and readable, those with data are theirs."""
    state, endpoints = place.state, layout.endpoints
    for path, account in (
        (state.index, users.index),
        (state.index / "tls", users.index),
        *(
            (path, users.archive)
            for process in endpoints.archives
            for path in rendering.archive_folders(place.site, process.folder)
        ),
        (state.edge, users.edge),
        (state.edge / "sds", users.edge),
        (state.edge / "eds", users.edge),
        (state.edge / "tls", users.edge),
    ):
        readable(path, account)
    if place.site.store.kind != "s3":
        shutil.rmtree(state.cache, ignore_errors=True)  # images of a store that the site has left
    for path, account in (
        (endpoints.index.run, users.index),
        *((process.work, users.archive) for process in endpoints.archives),
        *([(endpoints.cache, users.archive)] if place.site.store.kind == "s3" else []),
        (endpoints.edge.admin.parent, users.edge),
    ):
        folder.folder(path, 0o700, *accounts.ids(account))


def _store(place: Place, facts: folder.Facts) -> folder.Facts:
    """Make the store's folder and claim it for this site."""
    if place.site.store.kind != "filesystem":
        facts = replace(facts, store_kind=place.site.store.kind, bucket=place.bucket)
        folder.write_facts(place.state, facts)
        return facts
    make_store(place, facts)
    outside = place.site.store.path is not None
    facts = replace(facts, store=str(place.store) if outside else "", store_kind="filesystem")
    folder.write_facts(place.state, facts)
    return facts


def make_store(place: Place, facts: folder.Facts) -> None:
    """Make the store's folder and claim it for this site, without noting that the images are there.

    Raises
    ------
    UsageError : it cannot be made, or the archive's user cannot reach it.
    """
    users = accounts.find()
    outside = place.site.store.path is not None
    key = "store.path: " if outside else ""
    try:
        store.make(place.store)
        folder.folder(place.store, 0o700)  # a link in its place is refused before anything is written through it
        # Before it becomes the archive's own; one in the state folder too, so that it can be moved outside later.
        store.claim(place.store, facts.site)
        folder.folder(place.store, 0o700, *accounts.ids(users.archive))
    except OSError as error:
        raise UsageError(f"{key}{place.store}: {error.strerror}", "make it writable for the caller") from error
    if users.archive is not None and not accounts.can_reach(place.store):
        raise UsageError(
            f"{key}{place.store}: the user {users.archive.user} cannot pass the folders above it",
            "chmod o+x those folders, or choose another place",
        )


def _index(
    place: Place, users: accounts.Accounts, kept: secrets.Secrets, knows_password: bool, report: Report
) -> list[PlanItem]:
    major = f"PostgreSQL {place.programs.postgresql_major}"
    if not database.is_complete(place.data):
        report(f"creating the index ({major})")
        database.create(place.programs, users.index, place.data, kept.index_password)
        return [PlanItem("create", "index", f"{major}: data directory, role and database")]
    if not knows_password:
        database.set_password(place.programs, users.index, place.data, kept.index_password)
        return [PlanItem("change", "index", "the password that its secret says")]
    return []


def _migrate(
    place: Place, users: accounts.Accounts, kept: secrets.Secrets, upgrade: Upgrade, run: _Run, report: Report
) -> PlanItem:
    """Change the index's schema before anything else is; when that fails, let a site that ran go on as it was."""
    ran = run.running
    found = inspection.access(place) if ran else None
    plugins.deliver(place.state, place.libraries, users.archive)
    _halt(place, run, report, "the index gets a newer schema")
    try:
        changing.migrate(migration.ground(place, users, kept.index_password), upgrade, report)
    except BaseException:
        if found is not None:
            report("starting the site as it was")
            supervision.launch(place.state.root / "supervisord.conf", place.state.logs / "supervisor.log")
            run.running = True
            deadline = time.monotonic() + READY_SECONDS
            while ready(found) is not None and time.monotonic() < deadline:
                time.sleep(0.05)
        raise
    return PlanItem("change", "index", str(upgrade))


def _deliver_envoy(place: Place) -> None:
    binary, source = place.envoy_binary(), place.programs.envoy
    if binary == source or (binary.exists() and binary.stat().st_size == source.stat().st_size):
        return
    folder.folder(binary.parent, 0o755)
    part = binary.with_name(".envoy.part")
    part.unlink(missing_ok=True)
    part.touch(0o600)  # whatever the umask: whoever could open it now could change it for ever
    shutil.copyfile(source, part)
    part.chmod(0o755)
    part.replace(binary)


def apply(
    place: Place, layout: Layout, differing: Sequence[File | Bundle], users: accounts.Accounts, report: Report
) -> list[PlanItem]:
    """Put changed files in place and let running services take them up: a reload where that does, else a restart.

    Orthanc processes are restarted one by one, each when it has nothing to do; where the edge or the index must be
    restarted too, which ends every connection, all are restarted together.
    """
    wanted = planning.restarts(place, differing)
    done = planning.comings_and_goings(place)
    states = place.supervisor.services()
    idle = [name for name in states if name not in wanted and changes.wants(differing, "idle", name)]
    if idle and inspection.open_associations(place.run / "edge" / "admin.sock"):
        why = "its internal certificate is used from its next start: an association is open now"
        done += [PlanItem("warn", name, why) for name in idle]
    else:
        wanted |= dict.fromkeys(idle, "a new internal certificate")
    done += [PlanItem("restart", name, why) for name, why in wanted.items()]
    together = bool(wanted.keys() & {"index", "edge"})
    rolled = [] if together else [name for name in wanted if supervision.is_up(states.get(name, {}))]
    if replicas.leaving(place):
        leaving.drain(place, layout.endpoints, place.run / "edge" / "admin.sock", users, report)
    if together:
        report(f"restarting {', '.join(wanted)}")
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
    replicas.roll(place, layout, rolled, differing, users, report)
    return done


def wait(place: Place, report: Report) -> None:
    """Wait until the site answers.

    Raises
    ------
    OrthwebError : a service gave up, or nothing answered in time; with the last words of the culprit's log.
    """
    report("waiting for the first verified DICOM echo")
    found = inspection.access(place)
    started = time.monotonic()
    while (problem := ready(found)) is not None:
        waited = time.monotonic() - started
        states = place.supervisor.services()
        for name in place.services:
            state = str(states[name]["statename"])
            if state == "FATAL" or (state == "BACKOFF" and waited > replicas.RETRY_SECONDS):
                _give_up(place, name, f"{name} does not start")
        if waited > READY_SECONDS:
            _give_up(place, "archive", f"the site does not answer: {problem}")
        time.sleep(0.05)
    replicas.await_all(place)


def _give_up(place: Place, name: str, message: str) -> None:
    words = inspection.last_words(place.state.logs / f"{name}.log")
    raise OrthwebError(f"{message}; its log ends with: {words}", f"orthweb logs {name}")


def stop(place: Place, report: Report = quiet) -> bool:
    """Stop everything of the site; tell whether anything ran."""
    pid = place.supervisor.pid()
    if pid is not None:
        report("stopping the services")
        # The edge first closes the door; the index goes last, after everything has been written to it.
        with contextlib.suppress(OrthwebError):
            archives = [name for name in place.supervisor.services() if name not in ("edge", "index")]
            place.supervisor.stop("edge", *archives)
        place.supervisor.shut_down()
        if not supervision.wait_gone(pid):
            report("the supervisor does not end by itself; ending it")
    left = supervision.leftovers(place.state)
    supervision.end(left)
    return pid is not None or bool(left)

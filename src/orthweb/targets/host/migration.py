"""Give the index the schema of a newer plugin: apart from the site, after a snapshot, and undone when it fails.

Nothing of the site runs meanwhile. PostgreSQL listens on a socket alone, in a folder of its own; one Orthanc with no
server and no other plugin starts on it, which is when the plugin changes the schema.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlencode

import psycopg

from orthweb.capabilities import probing, schema
from orthweb.capabilities.build import OrthancBuild, Plugin
from orthweb.capabilities.schema import Snapshot, Upgrade
from orthweb.checks.facts import IndexFacts
from orthweb.errors import NotRunningError, OrthwebError
from orthweb.render import orthanc
from orthweb.render.endpoints import FIRST_ARCHIVE
from orthweb.render.postgresql import DATABASE, ROLE
from orthweb.render.supervisor import Account
from orthweb.state import StateFolder
from orthweb.store.index import Connection, connect
from orthweb.targets.base import Report
from orthweb.targets.host import cluster, external
from orthweb.targets.host.accounts import Accounts

if TYPE_CHECKING:
    from orthweb.site import Index

SERVER_SECONDS: Final = 120.0
"""How long PostgreSQL may take to answer; after a crash it replays its log first."""

STARTING: Final = 30.0
"""How long the index of a site that runs is waited for, in seconds."""

PORT: Final = 5432
"""Only part of the socket's name here: nothing listens on TCP."""


class Launch(Protocol):
    """Starts a program of a site by itself: as its service's user, with no network, and gone when we are."""

    def __call__(self, service: str, words: Sequence[str], work: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start it.

        Parameters
        ----------
        service : index or archive.
        words : ``postgres`` or Orthanc's program, and what follows.
        work : a folder that it sees under this name, like the data directory.
        log : where it says what it says.
        """
        ...


@dataclass(frozen=True)
class Ground:
    """What the change of a stopped site's index needs.

    Parameters
    ----------
    name : of the site.
    users : who PostgreSQL and Orthanc run as; the plugin is where Orthanc's user can read it.
    password : of the archive's role.
    run : runs one of PostgreSQL's programs on the data directory.
    launch : starts PostgreSQL, or Orthanc.
    index : where the index is, when it is somebody else's.
    """

    name: str
    state: StateFolder
    data: Path
    build: OrthancBuild
    users: Accounts
    password: str
    run: cluster.Run
    launch: Launch
    index: Index | None = None


def due(
    state: StateFolder, data: Path, build: OrthancBuild, running: IndexFacts | None, run: cluster.Run
) -> Upgrade | None:
    """Say how the schema of a site's index will change.

    Parameters
    ----------
    running : how to reach the index of a site that runs; None when it does not.
    run : runs PostgreSQL's programs, for one that does not.

    Raises
    ------
    UsageError : the plugin is older than the schema, which does not go back.
    OrthwebError : there is no room for the snapshot.
    """
    plugin = build.plugin("PostgreSQLIndex")
    last = schema.Memory(state.index_plugin).last()
    if plugin is None or not cluster.is_complete(data) or last == plugin.version:
        return None
    if running is not None:
        with _connected(running) as connection:
            found = schema.read(schema.asking(connection))
    else:
        found = schema.read(lambda sql: cluster.ask(run, data, sql))
    upgrade = schema.step(found, build, last, schema.snapshots(state.backups))
    if upgrade is not None:
        schema.check_room(data, state.backups)
    return upgrade


@contextlib.contextmanager
def _connected(index: IndexFacts) -> Iterator[Connection]:
    """Connect to the index of a site that runs; an `up` that was killed may have left it still starting."""
    deadline = time.monotonic() + STARTING
    while True:
        try:
            connection = connect(index, timeout=10)
            break
        except NotRunningError as error:
            if time.monotonic() > deadline:
                raise NotRunningError(str(error), "orthweb down, then orthweb up") from error
            time.sleep(0.1)
    with connection:
        yield connection


def remember(state: StateFolder, build: OrthancBuild) -> None:
    """Note the plugin of a site that answers."""
    plugin = build.plugin("PostgreSQLIndex")
    if plugin is not None:
        schema.Memory(state.index_plugin).keep(plugin)


def migrate(ground: Ground, upgrade: Upgrade, report: Report) -> Snapshot:
    """Take a snapshot of a stopped site's index, and let the new plugin change the schema.

    Raises
    ------
    OrthwebError : it did not work; the index is as it was, and the snapshot stays.
    """
    report("taking a snapshot of the index")
    snapshot = schema.take(ground.data, ground.state.backups, upgrade.revision)
    try:
        # The role has the password that its secret says, even if the secret is newer than the last `up`.
        cluster.set_password(ground.run, ground.data, ground.password)
        with tempfile.TemporaryDirectory(prefix="orthweb-schema-") as name:
            _change(ground, upgrade, Path(name), report)
    except BaseException as error:
        report("putting the snapshot back")
        schema.restore(snapshot, ground.data)
        if isinstance(error, OrthwebError):
            raise OrthwebError(
                f"the index keeps schema revision {upgrade.revision}: {error.message}", f"snapshot: {snapshot.folder}"
            ) from error
        raise
    return snapshot


def migrate_external(ground: Ground, upgrade: Upgrade, report: Report) -> None:
    """Let the new plugin change the schema of an index that is somebody else's, who has taken a snapshot of it.

    The plugin does it in one transaction: when it fails, the schema is as it was.

    Raises
    ------
    OrthwebError : it did not work, or other Orthancs are at work there.
    """
    index = ground.index
    assert index is not None
    assert index.host is not None
    assert index.ca is not None
    with external.connection(index) as opened, tempfile.TemporaryDirectory(prefix="orthweb-schema-") as folder:
        if count := external.others(opened):
            raise OrthwebError(
                f"{external.name(index)}: {count} other connections are open, and its schema is about to change",
                "stop every other Orthanc on it, then repeat",
            )
        work = Path(folder)
        work.chmod(0o755)
        report(f"changing the index's schema with {upgrade.plugin}: the larger it is, the longer it takes")
        endpoint = external.endpoint(index)
        assert endpoint is not None
        account = ground.users.archive
        passfile = _file(work / "passfile", orthanc.passfile(endpoint, ground.password), account)
        authority = _file(work / "index-ca.pem", index.ca.read_bytes(), account)
        _run_plugin(ground, upgrade.plugin, work, orthanc.uri(endpoint, authority, passfile, "orthweb-schema"))
        problem = schema.shortfall(upgrade, schema.read(schema.asking(opened)))
        if problem is not None:
            raise OrthwebError(problem)


def _change(ground: Ground, upgrade: Upgrade, work: Path, report: Report) -> None:
    work.chmod(0o755)
    with _server(ground, work) as socket, _connection(socket, ground.password) as connection:
        report(f"changing the index's schema with {upgrade.plugin}: the larger it is, the longer it takes")
        passfile = _file(work / "passfile", f"*:*:{DATABASE}:{ROLE}:{ground.password}\n", ground.users.archive)
        options = urlencode({"host": str(socket), "port": PORT, "passfile": str(passfile)}, quote_via=quote)
        _run_plugin(ground, upgrade.plugin, work, f"postgresql://{ROLE}@/{DATABASE}?{options}")
        problem = schema.shortfall(upgrade, schema.read(schema.asking(connection)))
        if problem is not None:
            raise OrthwebError(problem)


@contextlib.contextmanager
def _server(ground: Ground, work: Path) -> Iterator[Path]:
    """Run PostgreSQL alone; give the folder of its socket."""
    account = ground.users.index
    socket = work / "socket"
    socket.mkdir(0o755)
    hba = _file(work / "pg_hba.conf", f"local {DATABASE} {ROLE} scram-sha-256\n", account)
    ident = _file(work / "pg_ident.conf", "", account)
    if account is not None:
        os.chown(socket, account.uid, account.gid)
    settings = {
        "listen_addresses": "",
        "port": PORT,
        "unix_socket_directories": socket,
        "hba_file": hba,
        "ident_file": ident,
        "ssl": "off",
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }
    command = ["postgres", "-D", str(ground.data)]
    command += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    with _log(ground, "schema-index") as log:
        server = ground.launch("index", command, work, log)
    try:
        yield socket
    finally:
        _end(server, signal.SIGINT, SERVER_SECONDS)


def _log(ground: Ground, name: str) -> IO[bytes]:
    """Open an empty log, for us alone to read."""
    path = ground.state.logs / f"{name}.log"
    path.unlink(missing_ok=True)
    path.touch(0o600)
    return path.open("r+b")


@contextlib.contextmanager
def _connection(socket: Path, password: str) -> Iterator[psycopg.Connection[Any]]:
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        try:
            found = psycopg.connect(
                host=str(socket), port=PORT, dbname=DATABASE, user=ROLE, password=password, autocommit=True
            )
            break
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                words = " ".join(str(error).split())
                raise OrthwebError(f"the index does not start: {words[:300]}", "orthweb logs index") from error
            time.sleep(0.05)
    with found:
        yield found


def _run_plugin(ground: Ground, plugin: Plugin, work: Path, uri: str) -> None:
    """Start an Orthanc with the index plugin alone and end it again, which changes the schema.

    Raises
    ------
    OrthwebError : it did not start; with its own words.
    """
    account = ground.users.archive
    data = work / probing.DATA.name
    data.mkdir(0o700)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    configuration = json.loads(probing.configuration([plugin.library])) | {
        "StorageDirectory": str(data),
        "IndexDirectory": str(data),
        "TemporaryDirectory": str(data),
        "DatabaseServerIdentifier": f"{ground.name}-{FIRST_ARCHIVE}",
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "ConnectionUri": uri,
            "IndexConnectionsCount": 1,
            "Lock": True,
        },
    }
    file = _file(work / "orthanc.json", json.dumps(configuration), account)
    with _log(ground, "schema") as log:
        said = Path(log.name)
        orthanc = ground.launch("archive", [str(ground.build.program), str(file)], work, log)
        try:
            # However long it takes: the plugin works in one transaction, and an index of millions needs minutes.
            while orthanc.poll() is None and probing.STARTED not in said.read_text(errors="replace"):
                time.sleep(0.05)
        finally:
            code = orthanc.poll()
            _end(orthanc, signal.SIGTERM, 30)
    if code is not None:
        trial = probing.judge(said.read_text(errors="replace"), code)
        raise OrthwebError(f"{plugin} does not start on it: {trial.reason}", f"its log: {said}")


def _file(path: Path, content: str | bytes, account: Account | None) -> Path:
    """Write a file that only we and `account` can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        if account is not None:
            os.fchown(stream.fileno(), account.uid, account.gid)
    return path


def _end(process: subprocess.Popen[bytes], how: signal.Signals, seconds: float) -> None:
    process.send_signal(how)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

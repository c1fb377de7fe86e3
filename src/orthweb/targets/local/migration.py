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
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import psycopg

from orthweb.capabilities import probing, schema
from orthweb.capabilities.build import Plugin
from orthweb.capabilities.schema import Snapshot, Upgrade
from orthweb.errors import OrthwebError
from orthweb.render.endpoints import FIRST_ARCHIVE
from orthweb.render.postgresql import DATABASE, ROLE
from orthweb.render.supervisor import Account
from orthweb.store.index import connect
from orthweb.targets.base import Report
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.local import database, inspection
from orthweb.targets.local.place import Place

SERVER_SECONDS: Final = 120.0
"""How long PostgreSQL may take to answer; after a crash it replays its log first."""

PORT: Final = 5432
"""Only part of the socket's name here: nothing listens on TCP."""


def due(place: Place) -> Upgrade | None:
    """Say how the schema of a site's index will change.

    Raises
    ------
    UsageError : the plugin is older than the schema, which does not go back.
    OrthwebError : there is no room for the snapshot.
    """
    plugin = place.build.plugin("PostgreSQLIndex")
    last = schema.Memory(place.state.index_plugin).last()
    if plugin is None or not database.is_complete(place.data) or last == plugin.version:
        return None
    upgrade = schema.step(_found(place), place.build, last, schema.snapshots(place.state.backups))
    if upgrade is not None:
        schema.check_room(place.data, place.state.backups)
    return upgrade


def _found(place: Place) -> schema.Schema | None:
    if place.running():
        facts = inspection.host_facts(place).index
        assert facts is not None, "a local site's index is on this machine"
        with connect(facts, timeout=10) as connection:
            return schema.read(schema.asking(connection))
    return schema.read(lambda sql: database.ask(place.programs, place.data, sql))


def remember(place: Place) -> None:
    """Note the plugin of a site that answers."""
    plugin = place.build.plugin("PostgreSQLIndex")
    if plugin is not None:
        schema.Memory(place.state.index_plugin).keep(plugin)


def migrate(place: Place, users: Accounts, password: str, upgrade: Upgrade, report: Report) -> Snapshot:
    """Take a snapshot of a stopped site's index, and let the new plugin change the schema.

    Parameters
    ----------
    users : who PostgreSQL and Orthanc run as; the plugin is where Orthanc's user can read it.
    password : of the archive's role.

    Raises
    ------
    OrthwebError : it did not work; the index is as it was, and the snapshot stays.
    """
    report("taking a snapshot of the index")
    snapshot = schema.take(place.data, place.state.backups, upgrade.revision)
    try:
        # The role has the password that its secret says, even if the secret is newer than the last `up`.
        database.set_password(place.programs, users.index, place.data, password)
        with tempfile.TemporaryDirectory(prefix="orthweb-schema-") as name:
            _change(place, users, password, upgrade, Path(name), report)
    except BaseException as error:
        report("putting the snapshot back")
        schema.restore(snapshot, place.data)
        if isinstance(error, OrthwebError):
            raise OrthwebError(
                f"the index keeps schema revision {upgrade.revision}: {error.message}", f"snapshot: {snapshot.folder}"
            ) from error
        raise
    return snapshot


def _change(place: Place, users: Accounts, password: str, upgrade: Upgrade, work: Path, report: Report) -> None:
    work.chmod(0o755)
    with _server(place, users.index, work) as socket, _connection(socket, password) as connection:
        report(f"changing the index's schema with {upgrade.plugin}: the larger it is, the longer it takes")
        _run_plugin(place, users.archive, password, upgrade.plugin, work, socket)
        problem = schema.shortfall(upgrade, schema.read(schema.asking(connection)))
        if problem is not None:
            raise OrthwebError(problem)


@contextlib.contextmanager
def _server(place: Place, account: Account | None, work: Path) -> Iterator[Path]:
    """Run PostgreSQL alone; give the folder of its socket."""
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
    command = [str(place.programs.postgresql / "postgres"), "-D", str(place.data)]
    command += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    with (place.state.logs / "index.log").open("ab") as log:
        server = _start(place, account, command, "INT", log)
    try:
        yield socket
    finally:
        _end(server, signal.SIGINT, SERVER_SECONDS)


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


def _run_plugin(place: Place, account: Account | None, password: str, plugin: Plugin, work: Path, socket: Path) -> None:
    """Start an Orthanc with the index plugin alone and end it again, which changes the schema.

    Raises
    ------
    OrthwebError : it did not start; with its own words.
    """
    data = work / probing.DATA.name
    data.mkdir(0o700)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    passfile = _file(work / "passfile", f"*:*:{DATABASE}:{ROLE}:{password}\n", account)
    options = urlencode({"host": str(socket), "port": PORT, "passfile": str(passfile)}, quote_via=quote)
    configuration = json.loads(probing.configuration([plugin.library])) | {
        "StorageDirectory": str(data),
        "IndexDirectory": str(data),
        "TemporaryDirectory": str(data),
        "DatabaseServerIdentifier": f"{place.site.name}-{FIRST_ARCHIVE}",
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "ConnectionUri": f"postgresql://{ROLE}@/{DATABASE}?{options}",
            "IndexConnectionsCount": 1,
            "Lock": True,
        },
    }
    file = _file(work / "orthanc.json", json.dumps(configuration), account)
    log = place.state.logs / "schema.log"
    log.touch(0o600)
    with log.open("r+b") as stream:
        stream.truncate()
        orthanc = _start(place, account, [str(place.build.program), str(file)], "TERM", stream)
        try:
            # However long it takes: the plugin works in one transaction, and an index of millions needs minutes.
            while orthanc.poll() is None and probing.STARTED not in log.read_text(errors="replace"):
                time.sleep(0.05)
        finally:
            code = orthanc.poll()
            _end(orthanc, signal.SIGTERM, 30)
    if code is not None:
        trial = probing.judge(log.read_text(errors="replace"), code)
        raise OrthwebError(f"{plugin} does not start on it: {trial.reason}", f"its log: {log}")


def _file(path: Path, content: str | bytes, account: Account | None) -> Path:
    """Write a file that only we and `account` can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        if account is not None:
            os.fchown(stream.fileno(), account.uid, account.gid)
    return path


def _start(
    place: Place, account: Account | None, command: Sequence[str], death: str, log: Any
) -> subprocess.Popen[bytes]:
    who = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"] if account is not None else []
    words = [str(place.programs.setpriv), *who, "--no-new-privs", "--pdeathsig", death, "--", *command]
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd="/", env=environment
    )


def _end(process: subprocess.Popen[bytes], how: signal.Signals, seconds: float) -> None:
    process.send_signal(how)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

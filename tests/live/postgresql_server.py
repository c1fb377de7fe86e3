"""A PostgreSQL of somebody else's, as a hospital or RDS has one: TLS of its own CA, a master who is no superuser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from live.sites import free_port
from orthweb.pki.issue import SERVER, Leaf, certificate_pem, key_pem, new_authority, new_leaf

MASTER = "orthweb_master"


class PostgresqlServer:
    """A running server.

    Parameters
    ----------
    folder : its data directory, socket and TLS files.
    host : what its certificate is for, and where it is reached.
    address : where it listens.
    max_connections : its own setting.
    """

    def __init__(self, folder: Path, host: str, address: str, max_connections: int) -> None:
        self.folder = folder
        self.host = host
        self.address = address
        self.port = free_port()
        self.ca = folder / "ca.pem"
        self.master_password = "Master0Password1Of2Tests"
        self._socket = folder / "socket"
        self._log = folder / "log"
        self._settings = {
            "listen_addresses": address,
            "port": self.port,
            "unix_socket_directories": self._socket,
            "max_connections": max_connections,
            "ssl": "on",
            "ssl_cert_file": folder / "server.pem",
            "ssl_key_file": folder / "server.key",
            "hba_file": folder / "pg_hba.conf",
            "fsync": "off",
            "log_statement": "none",
            "log_connections": "on",
            "password_encryption": "scram-sha-256",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")

    def make(self, names: Sequence[str]) -> None:
        """Make the data directory, certificate and master user."""
        now = datetime.now(UTC)
        authority = new_authority("Somebody's database CA", now)
        leaf = new_leaf(Leaf(self.host, (self.host, *names), (SERVER,)), authority, now)
        self.ca.write_bytes(certificate_pem(authority.chain))
        (self.folder / "server.pem").write_bytes(certificate_pem(leaf.chain))
        (self.folder / "server.key").write_bytes(key_pem(leaf.key))
        (self.folder / "server.key").chmod(0o600)
        # Nobody but the owner and root can reach the socket's folder.
        (self.folder / "pg_hba.conf").write_text("local all all trust\nhostssl all all 0.0.0.0/0 scram-sha-256\n")
        self._socket.mkdir(0o700)
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "postgres", "postgres")
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "postgres", "--no-sync", "--auth=trust")

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = [f"{key}={value}" for key, value in self._settings.items()]
        options = [word for each in words for word in ("-c", each)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", str(self.folder / "data"), *options), stdout=log, stderr=log
            )
        asking = [self._program("pg_isready"), "-h", str(self._socket), "-p", str(self.port)]
        deadline = time.monotonic() + 30
        while subprocess.run(asking, capture_output=True, check=False).returncode != 0:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, with every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def as_owner(
        self, statement: LiteralString, parameters: Sequence[Any] = (), database: str = "postgres"
    ) -> list[Any]:
        """Ask as the superuser, over the socket."""
        with psycopg.connect(
            host=str(self._socket), port=self.port, user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def make_master(self) -> None:
        """Make the user that RDS gives: it makes users and databases, and is no superuser."""
        self.as_owner(f"CREATE ROLE {MASTER} LOGIN CREATEDB CREATEROLE PASSWORD '{self.master_password}'")

    def set_master_password(self, password: str) -> None:
        """Give the master another password, as RDS does that keeps it in a secret."""
        self.master_password = password
        self.as_owner(f"ALTER ROLE {MASTER} PASSWORD '{password}'")

    def make_archive_user(self, password: str, user: str = "orthanc", database: str = "orthanc") -> None:
        """Make what a person makes for an archive: a user, and a database of its own."""
        self.as_owner(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        self.as_owner(f"CREATE DATABASE {database} OWNER {user}")

    @staticmethod
    def _program(name: str) -> str:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        assert found, f"no {name} on this machine (scripts/packages test)"
        return str(found[-1])

    def _command(self, name: str, *words: str) -> list[str]:
        drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=SIGINT", "--"]
        return [*(drop if os.geteuid() == 0 else []), self._program(name), *words]

    def _run(self, name: str, *words: str) -> None:
        done = subprocess.run(self._command(name, *words), capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr


@contextmanager
def postgresql_server(
    *,
    host: str = "localhost",
    address: str = "127.0.0.1",
    names: Sequence[str] = ("127.0.0.1",),
    max_connections: int = 100,
) -> Iterator[PostgresqlServer]:
    """Run a server in a folder of its own.

    Parameters
    ----------
    names : further names and addresses of its certificate.
    """
    folder = Path(tempfile.mkdtemp(prefix="orthweb-pg-"))
    folder.chmod(0o711)
    server = PostgresqlServer(folder, host, address, max_connections)
    try:
        server.make(names)
        server.start()
        server.make_master()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)

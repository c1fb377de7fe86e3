"""Make the index: a PostgreSQL data directory with one role and one database, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from orthweb.errors import OrthwebError
from orthweb.files import sync_folder
from orthweb.render.postgresql import DATABASE, ROLE, SUPERUSER
from orthweb.render.supervisor import Account
from orthweb.targets.host.accounts import ids
from orthweb.targets.host.accounts import index as owner
from orthweb.targets.host.folder import folder
from orthweb.targets.local.programs import Programs


def _run(programs: Programs, account: Account | None, command: Sequence[str], text: str | None = None) -> str:
    who = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"] if account is not None else []
    # It ends with us, or the next call would find it still at work in a folder that looks half made.
    words = [str(programs.setpriv), *who, "--no-new-privs", "--pdeathsig", "KILL", "--", *command]
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(words, input=text, env=environment, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        worst = next((line for line in said if "ERROR:" in line or "FATAL:" in line or "error:" in line), said[-1])
        raise OrthwebError(
            f"{Path(command[0]).name} failed: {worst}", "free space or mend the folder, then `orthweb up`"
        )
    return done.stdout


def _single(programs: Programs, data: Path, name: str = "postgres") -> list[str]:
    """Give the command of a server without clients, ports or sockets, which reads SQL from its input."""
    settings = ("log_statement=none", "log_min_error_statement=panic", "password_encryption=scram-sha-256")
    options = [word for setting in settings for word in ("-c", setting)]
    return [str(programs.postgresql / "postgres"), "--single", "-D", str(data), *options, name]


def create(programs: Programs, account: Account | None, data: Path, password: str) -> None:
    """Make the data directory beside its place and move it there when it is complete and on the disk.

    A directory that an interrupted call left half made is thrown away.
    """
    new = data.with_name(data.name + ".new")
    if new.exists():
        shutil.rmtree(new)
    # The folder above is ours, so that PostgreSQL cannot put something else in the place of its data.
    folder(new, 0o700, *ids(account))
    initdb = [str(programs.postgresql / "initdb"), "-D", str(new), "-U", SUPERUSER, "--encoding=UTF8"]
    initdb += ["--locale=C.UTF-8", "--data-checksums", "--auth-local=peer", "--auth-host=reject", "--no-sync"]
    _run(programs, account, initdb)
    # The password goes in over standard input and is kept as a SCRAM verifier; one statement a line.
    sql = (
        f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{password}'\n"
        f"CREATE DATABASE {DATABASE} OWNER {ROLE} STRATEGY file_copy\n"
        f"REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC\n"
        "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC\n"
    )
    _run(programs, account, _single(programs, new), sql)
    _run(programs, account, [str(programs.postgresql / "initdb"), "-D", str(new), "--sync-only"])
    new.rename(data)
    sync_folder(data.parent)


def set_password(programs: Programs, account: Account | None, data: Path, password: str) -> None:
    """Give the archive's role a new password while PostgreSQL does not run."""
    _run(programs, account, _single(programs, data), f"ALTER ROLE {ROLE} PASSWORD '{password}'\n")


def ask(programs: Programs, data: Path, sql: str) -> str | None:
    """Ask the archive's database for one value while PostgreSQL does not run; None when there is none."""
    said = _run(programs, owner(), _single(programs, data, DATABASE), sql.replace("\n", " ") + "\n")
    # "1: count = "3"	(typeid = 20, ...)": what a server without clients writes for each column of each row.
    found = re.search(r'^\s*1: \S+ = "([^"]*)"', said, re.MULTILINE)
    return found[1] if found else None


def forget_dead_server(data: Path, sockets: Path) -> None:
    """Remove the lock files of a server that is gone, when another process has its number now.

    After a restart of the machine a process id belongs to anybody. PostgreSQL takes any living process of its own
    user for the server that holds the lock, and refuses to start. To be called when no server of ours runs.
    """
    for lock in (data / "postmaster.pid", *sockets.glob(".s.PGSQL.*.lock")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(_first_line(lock))
            if psutil.pid_exists(pid) and not _is_server(pid):
                lock.unlink()


def _first_line(path: Path) -> bytes:
    """Read from a file in a service's own folder: never through a link, and never waiting for a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 256).splitlines()[0]
    finally:
        os.close(descriptor)


def _is_server(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() == "postgres"
    except psutil.NoSuchProcess:
        return False


def is_complete(data: Path) -> bool:
    """Tell whether there is a data directory that was made to the end."""
    return (data / "PG_VERSION").is_file()

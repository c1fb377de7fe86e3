"""Make the index with this machine's PostgreSQL, change and ask it while no server runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from orthweb.render.supervisor import Account
from orthweb.targets.host import cluster
from orthweb.targets.host.accounts import index as owner
from orthweb.targets.host.cluster import is_complete
from orthweb.targets.local.programs import Programs

__all__ = ["ask", "create", "forget_dead_server", "is_complete", "set_password"]


def runner(programs: Programs, account: Account | None) -> cluster.Run:
    """Give what runs PostgreSQL's programs as its own user."""

    def run(data: Path, words: Sequence[str], text: str | None) -> subprocess.CompletedProcess[str]:
        who = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"] if account else []
        command = [str(programs.postgresql / words[0]), *(str(data) if it == cluster.DATA else it for it in words[1:])]
        # It ends with us, or the next call would find it still at work in a folder that looks half made.
        command = [str(programs.setpriv), *who, "--no-new-privs", "--pdeathsig", "KILL", "--", *command]
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            command, input=text, env=environment, cwd="/", capture_output=True, text=True, check=False
        )

    return run


def create(programs: Programs, account: Account | None, data: Path, password: str) -> None:
    """Make the data directory; see `cluster.create`."""
    cluster.create(runner(programs, account), account, data, password)


def set_password(programs: Programs, account: Account | None, data: Path, password: str) -> None:
    """Give the archive's role a new password while PostgreSQL does not run."""
    cluster.set_password(runner(programs, account), data, password)


def ask(programs: Programs, data: Path, sql: str) -> str | None:
    """Ask the archive's database for one value while PostgreSQL does not run; None when there is none."""
    return cluster.ask(runner(programs, owner()), data, sql)


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

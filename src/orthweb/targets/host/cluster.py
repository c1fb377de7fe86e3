"""A PostgreSQL data directory (a *cluster*, in PostgreSQL's words) while no server runs: made, changed and asked."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from orthweb.errors import OrthwebError
from orthweb.files import sync_folder
from orthweb.render.postgresql import DATABASE, ROLE, SUPERUSER
from orthweb.render.supervisor import Account
from orthweb.targets.host.accounts import ids
from orthweb.targets.host.folder import folder

DATA = "{data}"
"""Stands for the data directory, as the program sees it."""

Run = Callable[[Path, Sequence[str], str | None], "subprocess.CompletedProcess[str]"]
"""Runs one of PostgreSQL's programs as its own user: data directory on this machine, words, standard input."""


def no_programs(_data: Path, words: Sequence[str], _text: str | None) -> subprocess.CompletedProcess[str]:
    """Run nothing: the index is somebody else's."""
    raise OrthwebError(f"{words[0]}: the index of this site is no data directory")


def _run(run: Run, data: Path, words: Sequence[str], text: str | None = None) -> str:
    done = run(data, words, text)
    if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        worst = next((line for line in said if "ERROR:" in line or "FATAL:" in line or "error:" in line), said[-1])
        raise OrthwebError(f"{words[0]} failed: {worst}", "free space or mend the folder, then `orthweb up`")
    return done.stdout


def _single(name: str = "postgres") -> list[str]:
    """Give the command of a server without clients, ports or sockets, which reads SQL from its input."""
    settings = ("log_statement=none", "log_min_error_statement=panic", "password_encryption=scram-sha-256")
    options = [word for setting in settings for word in ("-c", setting)]
    return ["postgres", "--single", "-D", DATA, *options, name]


def create(run: Run, account: Account | None, data: Path, password: str) -> None:
    """Make the data directory beside its place and move it there when it is complete and on the disk.

    A directory that an interrupted call left half made is thrown away.
    """
    new = data.with_name(data.name + ".new")
    if new.exists():
        shutil.rmtree(new)
    # The folder above is ours, so that PostgreSQL cannot put something else in the place of its data.
    folder(new, 0o700, *ids(account))
    initdb = ["initdb", "-D", DATA, "-U", SUPERUSER, "--encoding=UTF8"]
    initdb += ["--locale=C.UTF-8", "--data-checksums", "--auth-local=peer", "--auth-host=reject", "--no-sync"]
    _run(run, new, initdb)
    # The password goes in over standard input and is kept as a SCRAM verifier; one statement a line.
    sql = (
        f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{password}'\n"
        f"CREATE DATABASE {DATABASE} OWNER {ROLE} STRATEGY file_copy\n"
        f"REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC\n"
        "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC\n"
    )
    _run(run, new, _single(), sql)
    _run(run, new, ["initdb", "-D", DATA, "--sync-only"])
    new.rename(data)
    sync_folder(data.parent)


def set_password(run: Run, data: Path, password: str) -> None:
    """Give the archive's role a new password."""
    _run(run, data, _single(), f"ALTER ROLE {ROLE} PASSWORD '{password}'\n")


def ask(run: Run, data: Path, sql: str) -> str | None:
    """Ask the archive's database for one value; None when there is none."""
    said = _run(run, data, _single(DATABASE), sql.replace("\n", " ") + "\n")
    # "1: count = "3"	(typeid = 20, ...)": what a server without clients writes for each column of each row.
    found = re.search(r'^\s*1: \S+ = "([^"]*)"', said, re.MULTILINE)
    return found[1] if found else None


def is_complete(data: Path) -> bool:
    """Tell whether there is a data directory that was made to the end."""
    return (data / "PG_VERSION").is_file()


def major(data: Path) -> int | None:
    """Give the PostgreSQL version that made an existing data directory."""
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None

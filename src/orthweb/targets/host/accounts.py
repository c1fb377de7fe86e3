"""Who the services run as: users of their own when root calls, the caller otherwise."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orthweb.errors import UsageError
from orthweb.render.supervisor import Account

EDGE_USER = "orthweb-edge"
DEBIAN_USERS = {"index": ("postgres", "postgresql"), "archive": ("orthanc", "orthanc")}
"""Service: the user that Debian's package makes, and that package."""


@dataclass(frozen=True)
class Accounts:
    """The user of each service; all None when an ordinary user runs the site."""

    index: Account | None
    archive: Account | None
    edge: Account | None

    def of(self, service: str) -> Account | None:
        """Give the account of a service; the supervisor runs as the caller, every Orthanc as the archive."""
        named = {"index": self.index, "edge": self.edge, "supervisor": None}
        return named.get(service, self.archive)


def ids(account: Account | None) -> tuple[int, int]:
    """Give user and group for a change of owner; -1 leaves them, where the caller runs the service."""
    return (account.uid, account.gid) if account else (-1, -1)


def is_root() -> bool:
    """Tell whether root calls."""
    return os.geteuid() == 0


def caller() -> str:
    """Name the calling user, as PostgreSQL sees it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise UsageError(
            f"user id {os.geteuid()} has no entry in the password database",
            "PostgreSQL needs one: run as a user that exists",
        ) from error


def _look_up(user: str) -> Account | None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return Account(user, entry.pw_uid, entry.pw_gid)


def missing_edge_user() -> bool:
    """Tell whether `ensure` would add the edge's user to the machine."""
    return is_root() and _look_up(EDGE_USER) is None


def find() -> Accounts:
    """Find the services' users.

    Raises
    ------
    UsageError : one is missing.
    """
    if not is_root():
        caller()
        return Accounts(None, None, None)
    found: dict[str, Account] = {}
    for service in DEBIAN_USERS:
        found[service] = _of_package(service)
    edge = _look_up(EDGE_USER)
    if edge is None:
        raise UsageError(f"the user {EDGE_USER} does not exist", "orthweb up makes it")
    return Accounts(found["index"], found["archive"], edge)


def archive() -> Account | None:
    """Find the archive's user; None when an ordinary user runs the site.

    Raises
    ------
    UsageError : it is missing.
    """
    return _of_package("archive") if is_root() else None


def index() -> Account | None:
    """Find the index's user; None when an ordinary user runs the site.

    Raises
    ------
    UsageError : it is missing.
    """
    return _of_package("index") if is_root() else None


def _of_package(service: str) -> Account:
    user, package = DEBIAN_USERS[service]
    account = _look_up(user)
    if account is None:
        raise UsageError(
            f"the user {user} does not exist", f"as root: apt-get install --reinstall {package}, which makes it"
        )
    return account


def ensure() -> Accounts:
    """Find the services' users; as root, first add the edge's, which comes with no package."""
    if missing_edge_user():
        _add_edge_user()
    return find()


def _add_edge_user() -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
    if useradd is None:
        raise UsageError(f"the user {EDGE_USER} does not exist and useradd is missing", "apt-get install passwd")
    command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", EDGE_USER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(f"the user {EDGE_USER} cannot be added: {done.stderr.strip()}", "add it by hand")


def can_reach(path: Path) -> bool:
    """Tell whether users other than the owner can pass every folder above `path`."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents if folder.exists())

"""The state folder on this machine: where it is, who owns it, what it remembers, and who may change it now."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orthweb.errors import BusyError, OrthwebError, UsageError
from orthweb.files import sync_folder, write_whole
from orthweb.state import FOLDER_NAME, StateFolder
from orthweb.targets.base import Report
from orthweb.targets.host.accounts import can_reach, is_root

VERSION = 1
ROOT_STATE = Path("/var/lib/orthweb")
"""Where root's state goes when the services' users could not pass the folders above it, such as /root."""

SOCKET_ROOM = 72
"""Longest run folder, in bytes: a Unix socket's path has 107, and ours add up to 35."""

IDENTITY = "site-id"
"""File with the site's identity, for when the one with everything else is damaged and deleted."""

_DISCARDED = ".deleted-"
"""Between the name of a state folder that is being deleted and a random end."""

WAIT = 120.0
"""Seconds that a second `up` waits for the first."""


@dataclass(frozen=True)
class Facts:
    """What a later call must find again.

    Parameters
    ----------
    ports : internal TCP ports by name.
    site : random identity of the site; its store carries it too.
    site_file : name of the site file that the site was brought up with.
    store : the folder of the DICOM files that was claimed for this site, when it lies outside the state folder.
    store_kind : where this site's images are: filesystem, s3 or database.
    bucket : the bucket that they are in, when they are in one: server, name and root.
    bucket_claim : random name of this site's last claim of a bucket; the mark in the bucket has it too.
    index_password : SHA-256 of the password that the index has (a random one of 142 bits).
    index : the database of somebody else's server that the index is, when it is one: server, port and name.
    target : what the site was brought up on last.
    network : IPv4 network of the site's containers.
    containers : whether there may be containers of the site.
    """

    ports: dict[str, int] = field(default_factory=dict)
    site: str = ""
    site_file: str = ""
    store: str = ""
    store_kind: str = ""
    bucket: str = ""
    bucket_claim: str = ""
    index_password: str = ""
    index: str = ""
    target: str = ""
    network: str = ""
    containers: bool = False


def locate(base: Path) -> StateFolder:
    """Give the state folder of the site file in `base`, whether it exists or not.

    Raises
    ------
    UsageError : a link in its place was made by somebody else.
    """
    link = base / FOLDER_NAME
    if link.is_symlink():
        owner = link.lstat().st_uid
        if owner != os.geteuid():
            raise UsageError(f"{link}: this link was made by {_name(owner)}", "remove it, or run as its owner")
        return StateFolder(link.resolve())
    if link.is_dir() or not is_root() or can_reach(link):
        return StateFolder(link.resolve())
    return StateFolder(ROOT_STATE / _label(base))


def _label(base: Path) -> str:
    return f"{base.name}-{hashlib.sha256(str(base).encode()).hexdigest()[:8]}"


def run_folder(state: StateFolder) -> Path:
    """Give the folder for sockets: inside the state folder, or a short path where that is too long."""
    if len(os.fsencode(state.run)) <= SOCKET_ROOM:
        return state.run
    top = Path("/run") if is_root() else Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return top / f"orthweb-{os.geteuid()}-{hashlib.sha256(str(state.root).encode()).hexdigest()[:8]}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def inspect(path: Path) -> None:
    """Refuse a folder of ours that belongs to somebody else or that others may write to or look into.

    Raises
    ------
    UsageError : names the folder, its owner or mode, and the command that mends it.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise UsageError(f"{path}: permission denied", "run as the user who owns the site") from error
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{path}: is not a folder", "move it away; orthweb keeps its state there")
    if found.st_uid != os.geteuid():
        raise UsageError(
            f"{path}: belongs to {_name(found.st_uid)}, and {_name(os.geteuid())} is calling",
            f"run as {_name(found.st_uid)}",
        )
    allowed = 0o711 if is_root() else 0o700
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~allowed:
        raise UsageError(f"{path}: mode {mode:04o} lets other users in", f"chmod {allowed:04o} {path}")


def make_root(base: Path) -> StateFolder:
    """Make the state folder itself, and the link to it where it lies elsewhere; the lock lies in it."""
    state = locate(base)
    inspect(state.root)
    with _told(state.root):
        if state.root != base / FOLDER_NAME and not (base / FOLDER_NAME).is_symlink():
            folder(ROOT_STATE, 0o711)
            (base / FOLDER_NAME).symlink_to(state.root)
        folder(state.root, 0o711 if is_root() else 0o700)
    return state


def make(base: Path) -> StateFolder:
    """Make the folders that belong to the caller; to be called with the lock held."""
    state = make_root(base)
    with _told(state.root):
        for path in (state.secrets, state.pki):
            inspect(path)
        for path in (state.secrets, state.pki, state.logs, state.reports):
            folder(path, 0o700)
        ignore = state.root / ".gitignore"
        if not ignore.exists():
            write_whole(ignore, b"*\n")
        run = run_folder(state)
        inspect(run)
        folder(run, 0o711 if is_root() else 0o700)
    return state


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that says what to do."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        step = "free some space" if error.errno == errno.ENOSPC else "make it writable, or use another folder"
        raise UsageError(f"{where}: {error.strerror}", step) from error


def folder(path: Path, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Make a folder, or give an existing one this mode and owner; a link in its place is an error."""
    path.mkdir(mode=mode, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if (uid, gid) != (-1, -1):
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def read_facts(state: StateFolder) -> Facts:
    """Read what an earlier call decided; nothing when there was none.

    Raises
    ------
    OrthwebError : the file is damaged, or of a newer Orthweb.
    """
    try:
        data = json.loads(state.facts.read_text())
        version = data["version"]
        facts = Facts(
            ports={str(name): int(port) for name, port in data["ports"].items()},
            site=str(data.get("site", "")),
            site_file=str(data.get("site_file", "")),
            store=str(data.get("store", "")),
            store_kind=str(data.get("store_kind", "")),
            bucket=str(data.get("bucket", "")),
            bucket_claim=str(data.get("bucket_claim", "")),
            index_password=str(data.get("index_password", "")),
            index=str(data.get("index", "")),
            # Before it was noted there was one target.
            target=str(data.get("target", "local")),
            network=str(data.get("network", "")),
            containers=bool(data.get("containers", False)),
        )
    except FileNotFoundError:
        return Facts(site=_identity(state))
    except PermissionError as error:
        raise UsageError(f"{state.facts}: permission denied", "run as the user who owns the site") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrthwebError(
            f"{state.facts}: is damaged", "delete it: `orthweb up` chooses new internal ports and goes on"
        ) from error
    if version != VERSION:
        raise OrthwebError(f"{state.facts}: version {version} is newer than this orthweb", "upgrade orthweb")
    return facts


def _identity(state: StateFolder) -> str:
    try:
        return (state.root / IDENTITY).read_text().strip()
    except OSError:
        return ""


def write_facts(state: StateFolder, facts: Facts) -> None:
    """Keep what was decided; the identity twice, because without it the site would not know its own store again."""
    if facts.site and _identity(state) != facts.site:
        write_whole(state.root / IDENTITY, f"{facts.site}\n".encode())
    write_whole(state.facts, (json.dumps({"version": VERSION, **asdict(facts)}, indent=2) + "\n").encode())


@contextlib.contextmanager
def locked(state: StateFolder, report: Report, wait: float = WAIT) -> Iterator[None]:
    """Be the only one who changes the site; wait for another one to finish.

    The lock belongs to the process and ends with it, however it ends.

    Raises
    ------
    BusyError : the other one took longer than `wait` seconds.
    """
    gone = BusyError(f"{state.root}: was deleted by another orthweb command", "repeat the command")
    with _told(state.lock):
        try:
            descriptor = os.open(state.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            raise gone from None
    try:
        deadline = time.monotonic() + wait
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"another orthweb command (process {holder}) is changing this site",
                        "wait until it has finished, then repeat",
                    ) from None
                if not told:
                    report(f"another orthweb command (process {holder}) is changing this site; waiting for it")
                    told = True
                time.sleep(0.1)
        if not _is(state.lock, descriptor):
            raise gone
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    """Tell whether `path` still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def discard(state: StateFolder) -> None:
    """Take the state folder away as a whole; to be called with the lock held.

    Another call finds all of it or nothing, never one that is half deleted and whose lock is gone.
    """
    try:
        state.root.rename(state.root.with_name(f"{state.root.name}{_DISCARDED}{secrets.token_hex(4)}"))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.rmtree(state.root)  # the root of a disk cannot be renamed
    sync_folder(state.root.parent)


def delete_discarded(state: StateFolder) -> None:
    """Delete what `discard` took away, by this call or by one that was interrupted."""
    beside = state.root.parent
    for path in list(beside.iterdir()) if beside.exists() else ():
        while path.name.startswith(f"{state.root.name}{_DISCARDED}") and path.exists():
            with contextlib.suppress(FileNotFoundError):  # another call deletes it too
                shutil.rmtree(path)

"""The state folder on this machine: where it is, who owns it, what it remembers, and who may change it now."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pwd
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orthweb.errors import BusyError, OrthwebError, UsageError
from orthweb.secrets import write_file
from orthweb.state import FOLDER_NAME, StateFolder
from orthweb.targets.base import Report
from orthweb.targets.local.accounts import can_reach, is_root

VERSION = 1
ROOT_STATE = Path("/var/lib/orthweb")
"""Where root's state goes when the services' users could not pass the folders above it, such as /root."""

SOCKET_ROOM = 72
"""Longest run folder, in bytes: a Unix socket's path has 107, and ours add up to 35."""

WAIT = 120.0
"""Seconds that a second `up` waits for the first."""


@dataclass(frozen=True)
class Facts:
    """What a later call must find again."""

    ports: dict[str, int] = field(default_factory=dict)


def locate(base: Path) -> StateFolder:
    """Give the state folder of the site file in `base`, whether it exists or not."""
    link = base / FOLDER_NAME
    if link.is_symlink() or not is_root() or can_reach(link):
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


def make(base: Path) -> StateFolder:
    """Make the state folder (and the link to it, where it lies elsewhere)."""
    state = locate(base)
    inspect(state.root)
    mode = 0o711 if is_root() else 0o700
    try:
        if state.root != base / FOLDER_NAME and not (base / FOLDER_NAME).is_symlink():
            ROOT_STATE.mkdir(mode=0o711, parents=True, exist_ok=True)
            (base / FOLDER_NAME).symlink_to(state.root)
        folder(state.root, mode)
        for path in (state.secrets, state.pki):
            inspect(path)
            folder(path, 0o700)
        folder(state.logs, 0o700)
        folder(state.reports, 0o700)
        ignore = state.root / ".gitignore"
        if not ignore.exists():
            write_file(ignore, "*\n")
        run = run_folder(state)
        inspect(run)
        folder(run, mode)
    except OSError as error:
        raise _no_room(error, state.root) from error
    return state


def _no_room(error: OSError, path: Path) -> OrthwebError:
    where = error.filename or path
    step = "free some space" if error.errno == errno.ENOSPC else "make it writable, or use another folder"
    return UsageError(f"{where}: {error.strerror}", step)


def folder(path: Path, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Make a folder, or give an existing one this mode and owner."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    path.chmod(mode)
    if uid != -1:
        os.chown(path, uid, gid)


def read_facts(state: StateFolder) -> Facts:
    """Read what an earlier call decided; nothing when there was none.

    Raises
    ------
    OrthwebError : the file is damaged, or of a newer Orthweb.
    """
    try:
        data = json.loads(state.facts.read_text())
        version, ports = data["version"], {str(name): int(port) for name, port in data["ports"].items()}
    except FileNotFoundError:
        return Facts()
    except PermissionError as error:
        raise UsageError(f"{state.facts}: permission denied", "run as the user who owns the site") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrthwebError(
            f"{state.facts}: is damaged", "delete it: `orthweb up` chooses new internal ports and goes on"
        ) from error
    if version != VERSION:
        raise OrthwebError(f"{state.facts}: version {version} is newer than this orthweb", "upgrade orthweb")
    return Facts(ports)


def write_facts(state: StateFolder, facts: Facts) -> None:
    """Keep what was decided."""
    write_file(state.facts, json.dumps({"version": VERSION, "ports": facts.ports}, indent=2) + "\n")


@contextmanager
def locked(state: StateFolder, report: Report, wait: float = WAIT) -> Iterator[None]:
    """Be the only one who changes the site; wait for another one to finish.

    The lock belongs to the process and ends with it, however it ends.

    Raises
    ------
    BusyError : the other one took longer than `wait` seconds.
    """
    descriptor = os.open(state.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)

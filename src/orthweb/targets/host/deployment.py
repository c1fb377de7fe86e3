"""Files as they should be, compared with files as they are, and put in place whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orthweb.files import write_whole
from orthweb.render.supervisor import Account
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.folder import folder

Effect = Literal["restart", "reload", "idle", "none"]
"""What a service needs to take a changed file up: a restart, a reload, a restart when it is idle, nothing."""


@dataclass(frozen=True)
class File:
    """One file that a service reads.

    Parameters
    ----------
    service : index, archive, edge or supervisor.
    effect : what the service needs when the file changes.
    private : whether the service's own user must own it, because its program insists (libpq's password file).
    """

    path: Path
    content: bytes = field(repr=False)
    service: str
    effect: Effect
    private: bool = False

    def differs(self, account: Account | None) -> bool:
        """Tell whether the file is missing, or has another content, owner or mode than `put` gives it."""
        try:
            found = self.path.stat()
            if self.path.read_bytes() != self.content:
                return True
        except OSError:
            return True
        mode, uid, gid = self._access(account)
        return stat.S_IMODE(found.st_mode) != mode or found.st_uid != uid or gid not in (-1, found.st_gid)

    def put(self, account: Account | None) -> None:
        """Write the file, whole or not at all, so that `account` may read and not change it."""
        write_whole(self.path, self.content, *self._access(account))

    def _access(self, account: Account | None) -> tuple[int, int, int]:
        """Give mode, owner and group."""
        if account is None:
            return 0o600, os.geteuid(), -1
        return (0o600, account.uid, account.gid) if self.private else (0o640, os.geteuid(), account.gid)


@dataclass(frozen=True)
class Bundle:
    """Files that change together: a folder per version, and a link ``current`` that is replaced as a whole."""

    folder: Path
    files: Mapping[str, bytes] = field(repr=False)
    service: str

    @property
    def _versions(self) -> Path:
        return self.folder.with_name(self.folder.name + ".d")

    @property
    def version(self) -> str:
        """A name made from the content."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name} {len(content)} ".encode() + content)
        return digest.hexdigest()[:16]

    def differs(self, account: Account | None) -> bool:
        """Tell whether ``current`` is missing, of another version, incomplete or damaged."""
        current = self.folder / "current"
        if not current.is_symlink() or current.readlink().name != self.version:
            return True
        return any(
            File(current / name, content, self.service, "none").differs(account) for name, content in self.files.items()
        )

    def put(self, account: Account | None) -> None:
        """Write a new version beside the old one and turn ``current`` to it."""
        target = self._versions / self.version
        for path in (self.folder, self._versions, target):
            readable(path, account)
        for name, content in self.files.items():
            File(target / name, content, self.service, "none").put(account)
        link = self.folder / ".current"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / self._versions.name / self.version)
        link.replace(self.folder / "current")
        for old in self._versions.iterdir():
            if old.name != self.version:
                shutil.rmtree(old)


def readable(path: Path, account: Account | None) -> None:
    """Make a folder whose files a service's user may read, and in which only we may write.

    Root writes by name in there: were it the service's own, a service that was broken into could put a link
    in the way and have root overwrite what it points to.
    """
    if account is None:
        folder(path, 0o700)
    else:
        folder(path, 0o750, 0, account.gid)


def changed(files: Sequence[File | Bundle], users: Accounts) -> list[File | Bundle]:
    """List what differs from what is there."""
    return [item for item in files if item.differs(users.of(item.service))]

"""Files as they should be, compared with files as they are, and put in place whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orthweb.render.supervisor import Account

Effect = Literal["restart", "reload", "idle", "none"]
"""What a service needs to take a changed file up: a restart, a reload, a restart when it is idle, nothing."""


@dataclass(frozen=True)
class File:
    """One file that a service reads.

    Parameters
    ----------
    service : index, archive, edge or supervisor.
    effect : what the service needs when the file changes.
    """

    path: Path
    content: bytes = field(repr=False)
    service: str
    effect: Effect
    mode: int = 0o600

    def differs(self) -> bool:
        """Tell whether the file is missing or has another content."""
        try:
            return self.path.read_bytes() != self.content
        except FileNotFoundError:
            return True

    def put(self, account: Account | None) -> None:
        """Write the file, whole or not at all, for `account` alone."""
        part = self.path.with_name(f".{self.path.name}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(self.content)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), self.mode)
            if account is not None:
                os.fchown(stream.fileno(), account.uid, account.gid)
        part.replace(self.path)


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

    def differs(self) -> bool:
        """Tell whether ``current`` is missing, of another version or incomplete."""
        current = self.folder / "current"
        if not current.is_symlink() or current.readlink().name != self.version:
            return True
        return any(not (current / name).is_file() for name in self.files)

    def put(self, account: Account | None) -> None:
        """Write a new version beside the old one and turn ``current`` to it."""
        target = self._versions / self.version
        for path in (self.folder, self._versions, target):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if account is not None:
                os.chown(path, account.uid, account.gid)
        for name, content in self.files.items():
            File(target / name, content, self.service, "none").put(account)
        link = self.folder / ".current"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / self._versions.name / self.version)
        link.replace(self.folder / "current")
        for old in self._versions.iterdir():
            if old.name != self.version:
                shutil.rmtree(old)


def changed(files: Sequence[File | Bundle]) -> list[File | Bundle]:
    """List what differs from what is there."""
    return [item for item in files if item.differs()]

"""Give what a site keeps to the users that its next target runs services as."""

from __future__ import annotations

import os
from pathlib import Path

from orthweb.render.supervisor import Account


def differs(path: Path, account: Account | None) -> bool:
    """Tell whether a folder exists and belongs to somebody else than the service that is to use it."""
    try:
        return path.lstat().st_uid != _owner(account)[0]
    except FileNotFoundError:
        return False


def _owner(account: Account | None) -> tuple[int, int]:
    return (account.uid, account.gid) if account else (os.geteuid(), os.getegid())


def give(path: Path, account: Account | None) -> None:
    """Give a folder and all in it to a service's user, itself last: what was interrupted is seen and done again.

    Links are changed themselves, never what they lead to.
    """
    uid, gid = _owner(account)
    for _, folders, files, descriptor in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in (*files, *folders):
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(path, uid, gid, follow_symlinks=False)

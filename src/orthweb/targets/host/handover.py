"""Give what a site keeps to the users that its next target runs services as."""

from __future__ import annotations

import os
from pathlib import Path

from orthweb.errors import UsageError
from orthweb.render.supervisor import Account
from orthweb.state import StateFolder
from orthweb.targets.base import PlanItem, Report
from orthweb.targets.host import folder
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.deployment import readable
from orthweb.targets.host.place import SitePlace


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


def kept_folders(place: SitePlace, users: Accounts) -> list[tuple[Path, Account | None]]:
    """Name the folders with what a site keeps, each with the user that is to have it."""
    found: list[tuple[Path, Account | None]] = [(place.data, users.index)]
    if place.site.store.kind == "filesystem":
        found.append((place.store, users.archive))
    for name, _ in place.archives:
        found.append((place.state.service(name) / "work", users.archive))
    found.append((place.state.cache, users.archive))
    return found


def moves(place: SitePlace, target: str) -> bool:
    """Tell whether a site ran on another target before."""
    return folder.read_facts(place.state).target not in ("", target)


def due(place: SitePlace, users: Accounts, target: str) -> list[PlanItem]:
    """Say which folders with images or index get another owner, because the site ran on another target before."""
    if not moves(place, target):
        return []
    return [
        PlanItem("change", str(path), f"owner: {account.user if account else 'you'}, and so all that is in it")
        for path, account in kept_folders(place, users)
        if path in (place.data, place.store) and differs(path, account)
    ]


def take(place: SitePlace, users: Accounts, target: str, report: Report) -> list[PlanItem]:
    """Give what the site keeps to the services' users, when it ran on another target before; say what was done.

    To be called before it is noted that the site runs on `target`: what was interrupted is done again.
    """
    done = due(place, users, target)
    if not moves(place, target):
        return []
    for path, account in kept_folders(place, users):
        if differs(path, account):
            report(f"{path}: gets the user {account.user if account else 'who calls'}")
            give(path, account)
    # What lies above is ours, and lets its service's user in by the group.
    for folder_of, account in (
        (place.state.index, users.index),
        *((place.state.service(name), users.archive) for name, _ in place.archives),
    ):
        if folder_of.is_dir():
            readable(folder_of, account)
    return done


def check_no_containers(state: StateFolder) -> None:
    """Refuse to run as processes what may still run in containers, whether or not their engine answers.

    Raises
    ------
    UsageError : there may be containers.
    """
    if folder.read_facts(state).containers:
        raise UsageError(
            "target: local: this site has containers of a Docker engine",
            "orthweb down, then orthweb up: images and index stay",
        )

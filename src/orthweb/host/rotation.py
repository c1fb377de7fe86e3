"""Change the password of the archive's database user, in the four steps that Secrets Manager's rotation has.

1. *create*: a new password becomes the secret's pending version. 2. *set*: the user gets it. 3. *test*: it signs in.
4. *finish*: the pending version becomes the current one. A host that dies in between leaves a pending version; the next
call takes up where that stopped, so that secret and database agree again whatever happened.

Source: AWS Secrets Manager User Guide, "Lambda function rotation", the steps of a rotation function.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from datetime import datetime, timedelta

from orthweb.errors import OrthwebError
from orthweb.host import database, vault
from orthweb.host.database import Login, Server, SignInError
from orthweb.host.vault import Vault, Version

LENGTH = 32
_LETTERS = string.ascii_letters + string.digits
"""They need no quoting in a password file or an address."""


def new_password() -> str:
    """Make a password of 190 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(LENGTH))


def login_of(version: Version) -> Login:
    """Read name and password from a version of the index's secret.

    Raises
    ------
    OrthwebError : one is missing.
    """
    try:
        return Login(version.values["username"], version.values["password"])
    except KeyError as error:
        raise OrthwebError(
            f"the secret of the index lacks {error.args[0]}",
            'it should be {"username": ..., "password": ...}, or {}: filled again',
        ) from None


def due(current: Version, pending: Version | None, days: int, now: datetime) -> bool:
    """Tell whether a rotation has to be made or finished.

    Parameters
    ----------
    pending : a version that somebody made for the next password: an interrupted rotation, or a person's wish.
    days : how old a password may become; 0 for any age.
    """
    if pending is not None and pending.identity != current.identity:
        return True
    return days > 0 and now - current.made >= timedelta(days=days)


def rotate(store: Vault, server: Server, master: Callable[[], Login], report: Callable[[str], None]) -> Version:
    """Change the password, or finish a change that was begun; give the version that is the current one then.

    To be called with the site's lock held.

    Parameters
    ----------
    master : gives the database's master, who is asked only where the user itself cannot sign in any more.

    Raises
    ------
    OrthwebError : a step failed; the next call goes on with it.
    """
    current = store.read(vault.INDEX)
    if current is None:
        raise OrthwebError("the secret of the index is empty: there is no password to change")
    pending = store.read(vault.INDEX, "AWSPENDING")
    if pending is None or pending.identity == current.identity:
        store.put(vault.INDEX, {**current.values, "password": new_password()}, "AWSPENDING")
        pending = store.read(vault.INDEX, "AWSPENDING")
        if pending is None:
            raise OrthwebError("the secret of the index has no pending version after one was written")
    old, new = login_of(current), login_of(pending)
    if old.user != new.user:
        raise OrthwebError(
            f"the pending version of the index's secret is for {new.user}, not {old.user}", "put one with the same name"
        )
    if not database.signs_in(server, new):
        _set(server, old, new, master)
    if not database.signs_in(server, new):
        raise OrthwebError("the new password of the index was set and does not work", "the next round tries again")
    store.promote(vault.INDEX, pending)
    report("the password of the index was changed")
    return pending


def _set(server: Server, old: Login, new: Login, master: Callable[[], Login]) -> None:
    try:
        connection = database.connect(server, old)
    except SignInError:
        connection = database.connect(server, master())
    with connection:
        database.set_password(connection, new)

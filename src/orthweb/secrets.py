"""Secrets: generated once, each in a file of its own that only its owner can read, never printed."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

from orthweb.errors import OrthwebError
from orthweb.files import write_whole

ADMIN_USER = "admin"
_READABLE = string.ascii_letters + string.digits
_PRINTABLE = re.compile(rb"[!-~]+")


@dataclass(frozen=True)
class Secrets:
    """All generated secrets of a site. ``repr`` shows none of them.

    Parameters
    ----------
    admin_password : of the administrator, 24 letters and digits (142 bits).
    archive_password : with which the edge signs in at the archive.
    index_password : of the archive's PostgreSQL role.
    check_aet : AE title of the validation suite, 16 characters: it may do everything, so nobody may guess it.
    """

    admin_password: str
    archive_password: str
    index_password: str
    check_aet: str

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secrets(...)"

    def values(self) -> tuple[str, ...]:
        """Give the values that must appear nowhere."""
        return (self.admin_password, self.archive_password, self.index_password)


FILES = ("admin_password", "archive_password", "index_password", "check_aet")


def file_name(field: str) -> str:
    """Name the file of a secret: ``admin_password`` lies in ``admin-password``."""
    return field.replace("_", "-")


def missing(folder: Path) -> list[str]:
    """List the secrets that `ensure` would generate."""
    return [field for field in FILES if not _usable(folder / file_name(field))]


def _usable(path: Path) -> bool:
    try:
        return _PRINTABLE.fullmatch(path.read_bytes().strip()) is not None
    except FileNotFoundError:
        return False
    except OSError:
        return True  # `read` says why it cannot be read


def _generate(field: str) -> str:
    if field == "check_aet":
        return "OW" + "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(14))
    return "".join(secrets.choice(_READABLE) for _ in range(24))


def ensure(folder: Path) -> Secrets:
    """Generate what is missing and read all.

    A file that is empty or holds no text (the machine died while it was written) counts as missing.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for field in missing(folder):
        write_whole(folder / file_name(field), f"{_generate(field)}\n".encode())
    return read(folder)


def read(folder: Path) -> Secrets:
    """Read all secrets.

    Raises
    ------
    OrthwebError : when one is missing or unreadable.
    """
    return Secrets(**{field: _read(folder, field) for field in FILES})


def admin_password(folder: Path) -> str:
    """Read the administrator's password alone.

    Raises
    ------
    OrthwebError : when it is missing or unreadable.
    """
    return _read(folder, "admin_password")


def _read(folder: Path, field: str) -> str:
    path = folder / file_name(field)
    try:
        return path.read_text().strip()
    except OSError as error:
        raise OrthwebError(
            f"{path}: cannot be read: {error.strerror}", "run `orthweb up` as the user who owns the site"
        ) from error


def htpasswd(user: str, password: str) -> str:
    """Give Envoy's password file. It knows SHA-1 alone; against a random password of 142 bits that is enough."""
    digest = hashlib.sha1(password.encode()).digest()  # noqa: S324
    return f"{user}:{{SHA}}{base64.b64encode(digest).decode()}\n"


def basic(user: str, password: str) -> str:
    """Give the value of an ``Authorization`` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

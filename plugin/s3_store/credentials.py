# SPDX-License-Identifier: AGPL-3.0-or-later
"""Credentials from a file that somebody renews: read again when it changes, so that nothing needs a restart.

The file is what the AWS tools call the shared credentials file (AWS SDKs and Tools Reference Guide).
"""

from __future__ import annotations

import configparser
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import S3Credential

PROFILE = "default"

USABLE = timedelta(minutes=1)
"""obstore asks anew for credentials that end within five minutes: with this, for each request."""


class CredentialsError(Exception):
    """The file cannot be read or does not say what it should; the message quotes nothing from it."""


class CredentialsFile:
    """Give the credentials that a file holds now; obstore calls it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], str, str, str | None] | None = None

    def __call__(self) -> S3Credential:
        """Give the credentials, read anew if the file is another one than before."""
        with self._lock:
            try:
                found = os.stat(self._path)  # noqa: PTH116  Path.stat is twice as slow, and this runs with each request
                state = (found.st_mtime_ns, found.st_ino, found.st_size)
                if self._read is None or self._read[0] != state:
                    self._read = (state, *_parsed(self._path.read_text()))
            except OSError as error:
                raise CredentialsError(f"{self._path}: {error.strerror}") from None
            except CredentialsError as error:
                raise CredentialsError(f"{self._path}: {error}") from None
            _, access_key, secret, token = self._read
        return {
            "access_key_id": access_key,
            "secret_access_key": secret,
            "token": token,
            "expires_at": datetime.now(UTC) + USABLE,
        }


def _parsed(text: str) -> tuple[str, str, str | None]:
    file = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        file.read_string(text)
    except (configparser.Error, UnicodeError):
        raise CredentialsError("is not an AWS credentials file") from None
    if not file.has_section(PROFILE):
        raise CredentialsError(f"has no profile [{PROFILE}]")
    profile = file[PROFILE]
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        if not profile.get(name):
            raise CredentialsError(f"has no {name} in its profile [{PROFILE}]")
    return profile["aws_access_key_id"], profile["aws_secret_access_key"], profile.get("aws_session_token") or None

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bucket through obstore, which signs, retries with backoff, uploads in parts and resumes what was cut off.

All calls block and release Python's lock while they wait, so that Orthanc's threads work side by side.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from .credentials import CredentialsFile
from .failures import DamagedObjectError, MissingObjectError, StoreError, failure
from .settings import Settings, SettingsError

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ClientConfig, RetryConfig

DIGEST = "orthweb-sha256"
"""User-defined metadata (``x-amz-meta-``) with the SHA-256 of the content: verified on every read."""

MULTIPART = 16 * 1024**2
"""Bytes from which an object is uploaded in parts: each request must get through within a part of the deadline."""

PART = 8 * 1024**2
PARTS_AT_ONCE = 2

TYPES = {".dcm": "application/dicom", ".json": "application/json"}

ERRORS = (BaseError, OSError, ValueError)
"""What obstore raises; an object or bucket that is missing is Python's FileNotFoundError."""

PROBE = "orthweb-probe"
"""An object that never exists."""

NO_ETAG: UpdateVersion = {"e_tag": '"none"'}
"""Of no object: what may only replace one with this writes nothing."""

REFUSED_WRITES = ("NoSuchKey", "PreconditionFailed", "NotImplemented")
"""S3's answers to such a write where all is well; the last is that of servers that do not know the condition."""

REQUEST, RETRY = 0.4, 0.6
"""Shares of the deadline: the longest that one request waits, and the latest that another one is begun."""


class Bucket:
    """Write, read and remove objects.

    Parameters
    ----------
    settings : see there. `deadline` bounds each request with its retries; a large object takes several requests.

    Raises
    ------
    SettingsError : the CA cannot be read or is none, or obstore refuses a setting.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._attributes: dict[str, str] = {}
        if settings.storage_class:
            self._attributes["Storage-Class"] = settings.storage_class
        try:
            self._store = S3Store(
                settings.bucket,
                client_options=_client_options(settings),
                retry_config=_retries(settings.deadline),
                credential_provider=CredentialsFile(settings.credentials) if settings.credentials else None,
                **_config(settings),
            )
        except ERRORS as error:
            raise SettingsError(f"Orthweb.S3: {error}") from None

    def put(self, key: str, content: bytes) -> str:
        """Write an object; give the SHA-256 of its content in hexadecimal digits.

        With every request goes a checksum of its body (``x-amz-checksum-sha256``), which the server verifies.

        Raises
        ------
        StoreError : it is not there, or it is not certain.
        """
        digest = hashlib.sha256(content).hexdigest()
        kind = TYPES.get(Path(key).suffix, "application/octet-stream")
        attributes = self._attributes | {"Content-Type": kind, DIGEST: digest}
        try:
            obstore.put(
                self._store,
                key,
                content,
                attributes=attributes,
                use_multipart=len(content) >= MULTIPART,
                chunk_size=PART,
                max_concurrency=PARTS_AT_ONCE,
            )
        except ERRORS as error:
            found = failure("write", key, error)
            # A missing object is no answer to a request that makes one: it is the bucket that is missing.
            raise StoreError(str(found), found.status, found.code) from None
        return digest

    def get(self, key: str) -> tuple[bytes, str]:
        """Read an object; give its content and the SHA-256 of that, verified.

        Raises
        ------
        MissingObjectError : there is none.
        DamagedObjectError : its content is not what was written, also when it is read again.
        StoreError : it cannot be read.
        """
        for last in (False, True):
            try:
                answer = obstore.get(self._store, key)
                content = bytes(answer.bytes())
            except ERRORS as error:
                raise failure("read", key, error) from None
            digest = hashlib.sha256(content).hexdigest()
            problem = self._damage(answer, content, digest)
            if problem is None:
                return content, digest
            if last:
                raise DamagedObjectError(f"read {key}: the object is damaged: {problem}")
        raise AssertionError("unreachable")

    def remove(self, key: str) -> None:
        """Remove an object; it is no error if there is none.

        Raises
        ------
        StoreError : it may still be there.
        """
        for last in (False, True):
            try:
                obstore.delete(self._store, key)
                return
            except ERRORS as error:
                found = failure("remove", key, error)
                if isinstance(found, MissingObjectError):
                    return
                # obstore repeats what the server could not do, but not a deletion that was cut off.
                if found.status or last:
                    raise found from None

    def probe(self) -> None:
        """Find out whether the bucket can be written to, by a write that its condition keeps from being done.

        Raises
        ------
        StoreError : it does not answer, or the credentials may not write to it.
        """
        key = f"{self._settings.root}{PROBE}"
        try:
            obstore.put(self._store, key, b"", mode=NO_ETAG, attributes=self._attributes)
        except ERRORS as error:
            found = failure("write", key, error)
            if found.code not in REFUSED_WRITES:
                raise StoreError(str(found), found.status, found.code) from None
        else:
            self.remove(key)  # a server that does not know conditions

    def _damage(self, answer: Any, content: bytes, digest: str) -> str | None:
        """Say what is wrong with a content, as far as the server lets one know."""
        if len(content) != answer.meta["size"]:
            return f"it has {len(content)} of {answer.meta['size']} bytes"
        written = answer.attributes.get(DIGEST)
        if written is not None:
            return None if written == digest else "its SHA-256 is not the one that it was written with"
        # Written by another program. An ETag is the MD5 of the content unless the object was uploaded in parts or is
        # encrypted with SSE-KMS, which is not to be seen here: only under SSE-S3 is a difference a proof.
        etag = (answer.meta["e_tag"] or "").strip('"')
        if self._settings.encryption != "s3" or len(etag) != 32:
            return None
        return None if hashlib.md5(content, usedforsecurity=False).hexdigest() == etag else "its MD5 is not its ETag"


def _config(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "region": settings.region,
        "checksum_algorithm": "sha256",
        "virtual_hosted_style_request": settings.virtual,
        # One request an object: not every server speaks DeleteObjects.
        "disable_bulk_delete": True,
    }
    if settings.endpoint:
        found["endpoint"] = _endpoint(settings)
    if settings.encryption == "s3":
        found["server_side_encryption"] = "AES256"
    elif settings.encryption == "kms":
        found["server_side_encryption"] = "aws:kms"
        if settings.kms_key:
            found["sse_kms_key_id"] = settings.kms_key
    return found


def _endpoint(settings: Settings) -> str:
    """Give the endpoint as obstore wants it: with the bucket's name where that belongs to the host name."""
    if not settings.virtual:
        return settings.endpoint
    scheme, _, host = settings.endpoint.partition("://")
    return f"{scheme}://{settings.bucket}.{host}"


def _client_options(settings: Settings) -> ClientConfig:
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=min(5, settings.deadline * REQUEST)),
        "read_timeout": timedelta(seconds=settings.deadline * REQUEST),
        # A large object takes its time; what counts is that something arrives.
        "timeout": timedelta(hours=1),
        "allow_http": settings.endpoint.startswith("http://"),
        "user_agent": "orthweb",
    }
    if settings.ca is not None:
        try:
            options["root_certificate"] = settings.ca.read_bytes()
        except OSError as error:
            raise SettingsError(f"Orthweb.S3.CaFile: {settings.ca}: {error.strerror}") from None
    return options


def _retries(deadline: float) -> RetryConfig:
    """Try again after server errors (500, 503 "SlowDown", 429) and broken connections, never after a refusal."""
    return {
        "max_retries": 1000,
        "retry_timeout": timedelta(seconds=deadline * RETRY),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=min(2, deadline / 8)),
            "base": 2,
        },
    }

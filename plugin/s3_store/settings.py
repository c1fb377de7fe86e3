# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the store is told: the part ``"Orthweb": {"S3": {...}}`` of Orthanc's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDRESSING = ("auto", "path", "virtual")
ENCRYPTION = ("bucket", "s3", "kms")


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it."""


@dataclass(frozen=True)
class Settings:
    """Where the objects are and how they are written.

    Parameters
    ----------
    root : what every key begins with: empty, or ending with a slash.
    endpoint : an S3 server's address; empty for AWS.
    addressing : path, virtual (the bucket's name in the host name) or auto: virtual for AWS, path for an endpoint.
    ca : certificates (PEM) to trust beside those of the machine.
    credentials : an AWS credentials file; None for the default chain of AWS.
    encryption, kms_key : bucket: as it is set up; s3: SSE-S3; kms: SSE-KMS with this key or the account's own.
    deadline : seconds in which an object is tried for again and again.
    cache_size, cache_folder : bytes of the local cache; 0 for none.
    """

    bucket: str
    root: str = ""
    region: str = "us-east-1"
    endpoint: str = ""
    addressing: str = "auto"
    ca: Path | None = None
    credentials: Path | None = None
    encryption: str = "bucket"
    kms_key: str = ""
    storage_class: str = ""
    deadline: float = 20
    cache_size: int = 0
    cache_folder: Path | None = None

    @property
    def virtual(self) -> bool:
        """Whether the bucket's name is in the host name."""
        if self.addressing == "auto":
            # A name with a dot does not fit the certificate of AWS, which is for *.s3.REGION.amazonaws.com.
            return not self.endpoint and "." not in self.bucket
        return self.addressing == "virtual"

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Settings:
        """Read the section.

        Raises
        ------
        SettingsError : a value is missing, of another type, or not one of those that are known.
        """
        known = _Section(section)
        made = cls(
            bucket=known.text("Bucket"),
            root=known.text("Root", ""),
            region=known.text("Region", "us-east-1"),
            endpoint=known.text("Endpoint", "").rstrip("/"),
            addressing=known.choice("Addressing", ADDRESSING),
            ca=known.path("CaFile"),
            credentials=known.path("CredentialsFile"),
            encryption=known.choice("Encryption", ENCRYPTION),
            kms_key=known.text("KmsKey", ""),
            storage_class=known.text("StorageClass", ""),
            deadline=known.number("Deadline", 20),
            cache_size=int(known.number("CacheSize", 0)),
            cache_folder=known.path("CacheFolder"),
        )
        known.nothing_else()
        if not made.bucket:
            raise SettingsError("Orthweb.S3.Bucket: is missing")
        if made.root and (not made.root.endswith("/") or made.root.startswith("/")):
            raise SettingsError(f'Orthweb.S3.Root: "{made.root}" must end with a slash and not begin with one')
        if made.deadline <= 0:
            raise SettingsError("Orthweb.S3.Deadline: must be more than 0 seconds")
        if made.cache_size > 0 and made.cache_folder is None:
            raise SettingsError("Orthweb.S3.CacheFolder: is missing, and CacheSize is more than 0")
        return made


class _Section:
    def __init__(self, values: Mapping[str, Any]) -> None:
        self._left = dict(values)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str):
            raise SettingsError(f"Orthweb.S3.{name}: {'is missing' if value is None else 'must be a text'}")
        return value

    def path(self, name: str) -> Path | None:
        value = self.text(name, "")
        return Path(value) if value else None

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        value = self.text(name, known[0])
        if value not in known:
            raise SettingsError(f'Orthweb.S3.{name}: "{value}" is none of {", ".join(known)}')
        return value

    def number(self, name: str, default: float) -> float:
        value = self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise SettingsError(f"Orthweb.S3.{name}: must be a number, 0 or more")
        return value

    def nothing_else(self) -> None:
        """Refuse what is not known: a mistyped key must not silently mean its default."""
        if self._left:
            raise SettingsError(f"Orthweb.S3.{min(self._left)}: is not known")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The three operations of Orthanc's storage area, on a bucket with a cache before it."""

from __future__ import annotations

from collections.abc import Callable

from .bucket import Bucket
from .cache import Cache
from .gate import Gate
from .layout import key
from .metrics import Metrics
from .settings import Settings


class ObjectStore:
    """Create, read and remove attachments.

    Parameters
    ----------
    log : takes a line for a person.
    """

    def __init__(self, settings: Settings, log: Callable[[str], None]) -> None:
        self._settings = settings
        self._bucket = Bucket(settings)
        self.metrics = Metrics()
        self.gate = Gate(self._bucket.probe, log)
        self._cache = (
            Cache(settings.cache_folder, settings.cache_size, log)
            if settings.cache_size > 0 and settings.cache_folder is not None
            else None
        )

    def create(self, uuid: str, content_type: int, content: bytes) -> None:
        """Write an attachment: when this returns, it is in the bucket.

        Raises
        ------
        StoreError : it is not. To Orthanc any exception means so; it answers the sender with a failure.
        """
        name = key(self._settings.root, uuid, content_type)
        with self.metrics.operation("create", len(content)), self.gate.writing():
            digest = self._bucket.put(name, content)
        if self._cache is not None:
            # What was just stored is what is asked for next.
            self._cache.put(name, content, digest)

    def read(self, uuid: str, content_type: int) -> bytes:
        """Give an attachment's content, verified.

        Raises
        ------
        StoreError : it is missing or damaged, or the bucket cannot be reached and the cache does not have it.
        """
        name = key(self._settings.root, uuid, content_type)
        if self._cache is not None:
            content = self._cache.get(name)
            if content is not None:
                self.metrics.add("cache_hits_total", 1)
                return content
            self.metrics.add("cache_misses_total", 1)
        with self.metrics.operation("read"):
            content, digest = self._bucket.get(name)
        self.metrics.add("read_bytes_total", len(content))
        if self._cache is not None:
            self._cache.put(name, content, digest)
        return content

    def remove(self, uuid: str, content_type: int) -> None:
        """Remove an attachment; it is no error if it is gone.

        Raises
        ------
        StoreError : it may still be in the bucket. Orthanc forgets it all the same: it is an orphan then.
        """
        name = key(self._settings.root, uuid, content_type)
        if self._cache is not None:
            self._cache.drop(name)
        with self.metrics.operation("remove"):
            self._bucket.remove(name)

"""One Orthanc with its plugins, and what follows from their versions.

The versions are those in which the upstream project's release notes (``NEWS``) introduce each setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

Version = tuple[int, ...]

IDENTIFIERS: Final = {
    "PostgreSQLIndex": "postgresql-index",
    "PostgreSQLStorage": "postgresql-storage",
    "DicomWeb": "dicom-web",
    "Gdcm": "gdcm",
    "Python": "python",
    "AwsS3Storage": "AWS S3 Storage",
    "OrthancExplorer2": "orthanc-explorer-2",
    "StoneWebViewer": "stone-webviewer",
}
"""The plugins that a site may load: the name in the library's file name, and what the plugin calls itself."""

REQUIRED: Final = ("PostgreSQLIndex", "DicomWeb", "Gdcm", "Python")
"""What every site loads."""

VIEWERS: Final = ("OrthancExplorer2", "StoneWebViewer")
"""What a site loads where it is there."""

OLDEST_ORTHANC: Final = (1, 10)
LARGEST_CONNECTIONS: Final = 8
CONNECTIONS_AT_HAND: Final = 4


@dataclass(frozen=True)
class Plugin:
    """A plugin of Orthanc.

    Parameters
    ----------
    name : as in `IDENTIFIERS`, or what an unknown plugin calls itself.
    library : where Orthanc loads it from.
    version : as the plugin tells it, or as its file name carries it; (0,) when neither says a number.
    source : for a plugin that the site file names, the file to deliver to `library`.
    sha256 : of that file.
    """

    name: str
    library: Path
    version: Version
    source: Path | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        """Name it with its version, such as ``PostgreSQLIndex 4.0``."""
        return f"{self.name} {dotted_version(self.version)}"


@dataclass(frozen=True)
class OrthancBuild:
    """An Orthanc: its version, and every plugin that it could load.

    Parameters
    ----------
    program : the binary, as its target starts it.
    """

    program: Path
    version: Version
    plugins: Sequence[Plugin]

    def plugin(self, name: str) -> Plugin | None:
        """Find a plugin by its name, such as ``PostgreSQLIndex``."""
        return next((plugin for plugin in self.plugins if plugin.name == name), None)

    def has(self, name: str, oldest: Version = (0,)) -> bool:
        """Tell whether there is such a plugin, of this version or a newer one."""
        plugin = self.plugin(name)
        return plugin is not None and plugin.version >= oldest

    def loaded(self, store: Literal["filesystem", "s3", "database"]) -> tuple[Plugin, ...]:
        """Choose what a site with this kind of store loads."""
        known = {*REQUIRED, *VIEWERS}
        return tuple(
            plugin
            for plugin in self.plugins
            if plugin.name in known
            # What keeps files in the database would take them from the store.
            or (plugin.name == "PostgreSQLStorage" and store == "database")
            or (plugin.name != "PostgreSQLStorage" and plugin.source is not None)
        )

    def extended(self, extra: Sequence[Plugin]) -> OrthancBuild:
        """Add plugins that the site file names; those of the same name step aside."""
        names = {plugin.name for plugin in extra}
        kept = (plugin for plugin in self.plugins if plugin.name not in names)
        return replace(self, plugins=(*kept, *extra))

    @property
    def removes_unconfirmed(self) -> bool:
        """Whether it removes the files of an instance whose commit failed, also when the index may have committed.

        Orthanc 1.10.1 does not; 1.12.7 does (``ServerContext::StoreAfterTranscoding``).
        """
        return self.version > (1, 10, 1)

    @property
    def transaction_mode(self) -> Literal["ReadCommitted"] | None:
        """The index plugin's ``TransactionMode``; None where it knows SERIALIZABLE alone, so that connections conflict.

        PostgreSQL plugin 6.0: "Introduced a new configuration TransactionMode" (default of 7.0).
        """
        return "ReadCommitted" if self.has("PostgreSQLIndex", (6,)) else None

    @property
    def writer_connections(self) -> int:
        """Connections to the index of an Orthanc that takes images in (measured: docs/benchmarks.md)."""
        return LARGEST_CONNECTIONS if self.transaction_mode else 1

    @property
    def reader_connections(self) -> int:
        """Connections to an index at hand of an Orthanc that only answers queries and retrieval (measured)."""
        return LARGEST_CONNECTIONS if self.transaction_mode else CONNECTIONS_AT_HAND

    @property
    def default_readers(self) -> int:
        """How many readers a site has unless it says: one beside a writer that may have one connection only."""
        return 0 if self.transaction_mode else 1

    @property
    def has_labels(self) -> bool:
        """Whether resources can have labels (Orthanc 1.12.0; PostgreSQL plugin 5.0: "Added support for labels")."""
        return self.version >= (1, 12) and self.has("PostgreSQLIndex", (5,))

    @property
    def http_bind_addresses(self) -> bool:
        """Whether Orthanc's HTTP server can listen on chosen addresses (``HttpBindAddresses``, Orthanc 1.12.10)."""
        return self.version >= (1, 12, 10)

    @property
    def keep_alive_timeout(self) -> bool:
        """Whether idle HTTP connections can be kept open (``KeepAliveTimeout``, Orthanc 1.11.3)."""
        return self.version >= (1, 11, 3)

    @property
    def read_only_mode(self) -> bool:
        """Whether an Orthanc can refuse every change by itself (``ReadOnly``, Orthanc 1.12.5)."""
        return self.version >= (1, 12, 5)

    @property
    def python(self) -> bool:
        """Whether there is the Python plugin, which runs this project's part of Orthanc."""
        return self.has("Python")

    @property
    def python_allow_threads(self) -> bool:
        """Whether ``Python.AllowThreads`` is known (Python plugin 4.3)."""
        return self.has("Python", (4, 3))

    @property
    def official_s3(self) -> bool:
        """Whether there is the upstream project's plugin for S3."""
        return self.has("AwsS3Storage")

    @property
    def s3_plugin(self) -> Literal["orthweb", "official"] | None:
        """What stores images in a bucket.

        This project's plugin wherever Python is there, also beside the official one: both write the same objects,
        and this one verifies checksums, asks for encryption, keeps a cache, has a deadline and reads credentials from
        a file, which the official plugin (2.5) does not.
        """
        return "orthweb" if self.python else "official" if self.official_s3 else None

    @property
    def index_revision(self) -> int | None:
        """Revision of the index's schema that the PostgreSQL plugin works with; None for one that is not known here."""
        plugin = self.plugin("PostgreSQLIndex")
        return None if plugin is None else schema_revision(plugin.version)


_REVISIONS: Final = (((10,), 10), ((9,), 6), ((8,), 5), ((7, 2), 4), ((7,), 3), ((6,), 2), ((0,), 1))
"""PostgreSQL plugin's version, and its "DB schema revision" (release notes of orthanc-databases)."""

NEWEST_KNOWN_INDEX: Final = (11,)
"""The first version of the PostgreSQL plugin that nothing is known about."""


def schema_revision(version: Version) -> int | None:
    """Give the revision of the schema that a version of the PostgreSQL plugin works with; None when it is unknown."""
    if version >= NEWEST_KNOWN_INDEX:
        return None
    return next(revision for oldest, revision in _REVISIONS if version >= oldest)


def plugin_name(identifier: str) -> str:
    """Give the name that this project uses for what a plugin calls itself."""
    return next((name for name, known in IDENTIFIERS.items() if known == identifier), identifier)


def dotted_version(version: Version) -> str:
    """Write a version as its project does: ``1.12.7``."""
    return ".".join(map(str, version))

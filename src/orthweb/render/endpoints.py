"""Where the parts of a site find each other: hosts, ports, folders and files, each as its service sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

CHECK_MODALITY = "orthweb-check"
"""Name of the modality that every site has: the validation suite's own storage SCP."""

Role = Literal["both", "writer", "reader"]
"""What one Orthanc of a site does: everything; images in and changes; queries and retrieval over HTTP."""

FIRST_ARCHIVE = "archive"
"""Name of the first Orthanc: it takes images in whatever the others do."""


@dataclass(frozen=True)
class ArchiveProcess:
    """One Orthanc of a site.

    Parameters
    ----------
    name : of its service: archive, archive-2, reader, reader-2.
    folder : its configuration, TLS files and scripts.
    work : folder for its temporary files, which it may write to.
    host : where the edge reaches it.
    http, dicom : TCP ports of its REST API and of its DICOM server (mutual TLS; a reader has none).
    """

    name: str
    role: Role
    folder: Path
    work: Path
    host: str
    http: int
    dicom: int | None

    @property
    def configuration(self) -> Path:
        """The folder that Orthanc reads its configuration from."""
        return self.folder / "configuration"

    @property
    def tls(self) -> Path:
        """Folder of its certificate, its key and the internal CA."""
        return self.folder / "tls"

    @property
    def script(self) -> Path:
        """What Orthanc's Python plugin loads; the files that it brings lie beside it."""
        return self.folder / "plugin" / "archive.py"

    @property
    def s3_ca(self) -> Path:
        """The CA that signed the certificate of the S3 endpoint."""
        return self.folder / "s3" / "ca.pem"

    @property
    def s3_credentials(self) -> Path:
        """AWS credentials file; read again when it changes."""
        return self.folder / "s3" / "credentials"

    @property
    def index_ca(self) -> Path:
        """The CA that signed the certificate of an index that is somebody else's."""
        return self.tls / "index-ca.pem"

    @property
    def passfile(self) -> Path:
        """libpq's password file."""
        return self.folder / "index-passfile"

    @property
    def writes(self) -> bool:
        """Whether it takes images in."""
        return self.role != "reader"


@dataclass(frozen=True)
class IndexEndpoint:
    """The index (PostgreSQL).

    Where it is somebody else's server (`external`), there are no folders, and nothing is rendered for it.

    Parameters
    ----------
    folder : its configuration and TLS files.
    data : its data directory.
    run : folder of its Unix socket, open to its own user alone.
    listen : addresses that it listens on, as PostgreSQL writes them.
    host : the name that its certificate is verified for; `address` skips the look-up of that name.
    clients : networks (CIDR) that may sign in over TLS.
    database, user : what the archive uses there.
    """

    folder: Path
    data: Path
    run: Path
    port: int
    listen: str = "127.0.0.1"
    host: str = "localhost"
    address: str | None = "127.0.0.1"
    clients: tuple[str, ...] = ("127.0.0.1/32",)
    database: str = "orthanc"
    user: str = "orthanc"
    external: bool = False

    @classmethod
    def elsewhere(cls, host: str, port: int, database: str, user: str) -> IndexEndpoint:
        """Give one that is somebody else's server."""
        nowhere = Path()
        return cls(
            nowhere,
            nowhere,
            nowhere,
            port,
            listen="",
            host=host,
            address=None,
            clients=(),
            database=database,
            user=user,
            external=True,
        )


@dataclass(frozen=True)
class EdgeEndpoint:
    """The edge (Envoy).

    Parameters
    ----------
    folder : its configuration, SDS files and TLS files.
    admin : its administration socket.
    listen : addresses of HTTPS and DICOM TLS, at these ports.
    inside : the address that it listens on for the archive's way out to modalities.
    host : where the archive reaches it.
    """

    folder: Path
    admin: Path
    listen: tuple[str, ...]
    https_port: int
    dicom_port: int
    inside: str = "127.0.0.1"
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class Endpoints:
    """All that rendering needs to know besides the site itself.

    Parameters
    ----------
    archives : every Orthanc, the writers first.
    store : folder of the DICOM files.
    egress : for each modality that speaks TLS, the edge's port on which the archive reaches it.
    check_aet : AE title of the validation suite: random, because it may do everything.
    check_host, check_port : where its storage SCP listens while it runs, as the edge sees it.
    check_name : the name or address in its certificate, where that is another than `check_host`.
    cache : folder for copies of a bucket's objects, which every Orthanc may write to: what one has stored, the others
        need not fetch.
    libraries : folder of the Python packages that `plugin/` needs beside the standard library.
    one_host : whether all parts share a network: then Orthanc refuses callers of other hosts.
    """

    archives: tuple[ArchiveProcess, ...]
    index: IndexEndpoint
    edge: EdgeEndpoint
    store: Path
    check_aet: str
    check_host: str = "127.0.0.1"
    check_port: int = 0
    check_name: str | None = None
    egress: Mapping[str, int] = field(default_factory=dict)
    cache: Path = Path("/var/lib/orthweb/cache")
    libraries: Path = Path("/usr/lib/orthweb/libraries")
    one_host: bool = True

    @property
    def writers(self) -> tuple[ArchiveProcess, ...]:
        """Those that take images in."""
        return tuple(process for process in self.archives if process.writes)

    @property
    def readers(self) -> tuple[ArchiveProcess, ...]:
        """Those that answer queries and retrieval alone; empty where the writers do that too."""
        return tuple(process for process in self.archives if not process.writes)

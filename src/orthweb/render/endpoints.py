"""Where the parts of a local site find each other: ports, folders and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orthweb.state import StateFolder

CHECK_MODALITY = "orthweb-check"
"""Name of the modality that every site has: the validation suite's own storage SCP."""


@dataclass(frozen=True)
class Ports:
    """Internal TCP ports on the loopback address; which ones is nobody's business outside.

    Parameters
    ----------
    archive_http, archive_dicom : Orthanc's REST API, and its DICOM server (mutual TLS).
    index : PostgreSQL.
    check : where the validation suite's storage SCP listens while it runs.
    egress : for each modality that speaks TLS, the edge's port on which the archive reaches it.
    """

    archive_http: int
    archive_dicom: int
    index: int
    check: int
    egress: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalEndpoints:
    """All that rendering needs to know besides the site itself.

    Parameters
    ----------
    state : the state folder.
    store : folder of the DICOM files.
    run : folder for sockets and process ids, short enough for a Unix socket's path (107 bytes).
    ports : internal ports.
    check_aet : AE title of the validation suite: random, because it may do everything.
    """

    state: StateFolder
    store: Path
    run: Path
    ports: Ports
    check_aet: str

    @property
    def index_data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.state.index / "data"

    @property
    def index_run(self) -> Path:
        """Folder of PostgreSQL's Unix socket, open to its own user alone."""
        return self.run / "index"

    @property
    def archive_script(self) -> Path:
        """What Orthanc's Python plugin loads; the files that it brings lie beside it."""
        return self.state.archive / "plugin" / "archive.py"

    @property
    def edge_admin(self) -> Path:
        """Envoy's administration socket."""
        return self.run / "edge" / "admin.sock"

    @property
    def supervisor_socket(self) -> Path:
        """The supervisor's control socket."""
        return self.run / "supervisor.sock"

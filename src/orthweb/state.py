"""The state folder: where everything a running site needs, makes and keeps lies.

One folder beside the site file, readable by its owner alone. As root the services run as users of
their own, so the folder lets them *pass* (mode 0711) and each service's own folder is closed to the
others (0700).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER_NAME = ".orthweb"


@dataclass(frozen=True)
class StateFolder:
    """Names of everything inside a state folder; holds no state itself.

    Parameters
    ----------
    root : the folder, absolute: ``.orthweb`` beside the site file.
    """

    root: Path

    @property
    def secrets(self) -> Path:
        """Generated passwords, one file each (0600); the folder is 0700."""
        return self.root / "secrets"

    @property
    def pki(self) -> Path:
        """Certificate authorities and the masters of all certificates and keys (0700)."""
        return self.root / "pki"

    @property
    def index(self) -> Path:
        """PostgreSQL's folder: data directory, TLS files (0700, PostgreSQL's user)."""
        return self.root / "index"

    @property
    def archive(self) -> Path:
        """Orthanc's folder: configuration, TLS files, database password file (0700, Orthanc's user)."""
        return self.root / "archive"

    def service(self, name: str) -> Path:
        """The folder of one service by its name; every further Orthanc has its own, like `archive`."""
        return self.root / name

    @property
    def store(self) -> Path:
        """DICOM files (0700, Orthanc's user), unless the site file names another place."""
        return self.root / "store"

    @property
    def plugins(self) -> Path:
        """Plugins of Orthanc that the site file names, checked (0750, for Orthanc's user to read)."""
        return self.root / "plugins"

    @property
    def trials(self) -> Path:
        """What came of trying those plugins, so that it is done once."""
        return self.root / "trials.json"

    @property
    def backups(self) -> Path:
        """Snapshots of the index from before its schema was changed (0700)."""
        return self.root / "backups"

    @property
    def index_plugin(self) -> Path:
        """Which plugin the index was last brought up with (``index-plugin.json``)."""
        return self.root / "index-plugin.json"

    @property
    def cache(self) -> Path:
        """Copies of a bucket's objects (0700, Orthanc's user); they may be deleted at any time."""
        return self.root / "cache"

    @property
    def edge(self) -> Path:
        """Envoy's folder: configuration, SDS files, TLS files (0700, Envoy's user)."""
        return self.root / "edge"

    @property
    def run(self) -> Path:
        """Sockets and process ids; emptied by nobody, rebuilt at every start."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log a service, rotated by size."""
        return self.root / "logs"

    @property
    def reports(self) -> Path:
        """Reports that ``validate`` wrote."""
        return self.root / "reports"

    @property
    def lock(self) -> Path:
        """Held by every command that changes the site."""
        return self.root / "lock"

    @property
    def facts(self) -> Path:
        """What `up` decided and a later call must find again (``state.json``): ports, users."""
        return self.root / "state.json"

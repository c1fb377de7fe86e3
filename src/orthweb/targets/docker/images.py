"""The images that a site runs, and what is in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthweb import image
from orthweb.capabilities.build import IDENTIFIERS, OrthancBuild, Plugin
from orthweb.capabilities.machine import PLUGIN_FOLDERS, version_in
from orthweb.errors import OrthwebError, UsageError
from orthweb.files import write_whole
from orthweb.image.engine import Engine, EngineError, Image
from orthweb.image.engine import find as find_engine
from orthweb.targets.base import Report
from orthweb.targets.host.accounts import is_root

if TYPE_CHECKING:
    from orthweb.site import Site

ROLES: tuple[image.Role, ...] = ("index", "archive", "edge")
UPSTREAM = "orthancteam/orthanc:26.8.1"
"""The Orthanc team's image: Orthanc 1.13.0, PostgreSQL plugin 10.3 (its release notes)."""

FOLDERS = (
    *PLUGIN_FOLDERS,
    Path("/usr/share/orthanc/plugins-available"),  # the Orthanc team's
    Path("/usr/local/share/orthanc/plugins"),  # images that are built from the sources
)
"""Where images have plugins."""

KEPT = 8
"""Of so many images it is remembered what is in them."""

_LOOK = "command -v Orthanc; Orthanc --version; ls -1 {folders} 2>/dev/null; true"


@dataclass(frozen=True)
class Images:
    """References and ids of a site's images, by role."""

    references: Mapping[str, str]
    ids: Mapping[str, str]


def references(site: Site) -> dict[image.Role, str]:
    """Name the images of a site."""
    own: dict[image.Role, str | None] = {
        "index": site.docker.index_image,
        "archive": site.docker.archive_image,
        "edge": site.docker.edge_image,
    }
    chosen = {role: own[role] or image.reference(role) for role in ROLES if role != "index" or site.index.host is None}
    if site.archive.image != "debian":
        chosen["archive"] = UPSTREAM if site.archive.image == "upstream" else site.archive.image
    return chosen


def missing(engine: Engine, site: Site) -> list[image.Role]:
    """List the roles whose image the engine does not have."""
    named = references(site)
    known = _known(engine, list(named.values()))
    return [role for role, reference in named.items() if reference not in known]


def _known(engine: Engine, names: Sequence[str]) -> dict[str, Image]:
    """Give those images that the engine has, by the reference asked for."""
    try:
        found: list[dict[str, Any]] = json.loads(engine.run("image", "inspect", *names))
    except EngineError:  # one is missing: ask for each
        return {name: image for name in names if (image := engine.image(name)) is not None}
    return {
        name: Image(one["Id"], int(one["Size"]), one["Config"].get("Labels") or {})
        for name, one in zip(names, found, strict=True)
    }


def ensure(engine: Engine, site: Site, report: Report) -> list[str]:
    """Build our own images that are missing, and pull one that the site file names; give what was made.

    Raises
    ------
    UsageError : one can be neither built nor pulled.
    """
    lacking = missing(engine, site)
    named = references(site)
    ours = [role for role in lacking if named[role] == image.reference(role)]
    if ours:
        _build(find_engine(), ours, report)
    for role in lacking:
        if role not in ours:
            report(f"pulling {named[role]}")
            try:
                engine.run("pull", "--quiet", named[role])
            except OrthwebError as error:
                key = (
                    "archive.image" if role == "archive" and site.archive.image != "debian" else f"docker.{role}_image"
                )
                raise UsageError(
                    f"{key}: {named[role]}: is not here and cannot be pulled: {error.message}",
                    "docker load it, or name another image",
                ) from error
    return [named[role] for role in lacking]


def _build(engine: Engine, roles: Sequence[image.Role], report: Report) -> None:
    """Build images on Debian's own, or, where no registry has it for us, on one made from the Debian mirror."""
    try:
        image.build(engine, report, roles=roles)
    except UsageError:
        if not is_root() or shutil.which("debootstrap") is None:
            raise
        report("Debian's image cannot be pulled: making one from the Debian mirror")
        image.build(engine, report, roles=roles, base="bootstrap")


def find(engine: Engine, site: Site) -> Images:
    """Give the images of a site.

    Raises
    ------
    UsageError : the engine lacks one.
    """
    named = references(site)
    known = _known(engine, list(named.values()))
    ids = {}
    for role, reference in named.items():
        if reference not in known:
            raise UsageError(f"{reference}: the engine does not have this image", "orthweb image build")
        ids[str(role)] = known[reference].id
    return Images({str(role): reference for role, reference in named.items()}, ids)


def outdated(engine: Engine, site: Site) -> list[str]:
    """Name our own images that were built from other sources than those of this orthweb."""
    named = references(site)
    return [
        reference
        for role, reference in named.items()
        if reference == image.reference(role) and not image.present(role, engine)
    ]


class Contents:
    """What is in images: asked of them once, then remembered by the image's id.

    Parameters
    ----------
    file : where it is kept; nothing is written before its folder is there.
    """

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        self._file = file

    def _ask(self, identity: str, program: str, *words: str) -> str:
        """Run a program in a container that can reach nothing and write nothing."""
        key = f"{identity} {program}"
        known = self._read()
        if key not in known:
            command = ["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "65534:65534"]
            command += ["--security-opt", "no-new-privileges:true", "--entrypoint", program, identity, *words]
            known[key] = self._engine.run(*command)
            if self._file.parent.is_dir():
                newest = dict(list(known.items())[-KEPT:])
                write_whole(self._file, (json.dumps(newest, indent=1) + "\n").encode())
        return known[key]

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._file.read_bytes())
            return {str(key): str(value) for key, value in found.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def orthanc(self, images: Images) -> OrthancBuild:
        """Give the Orthanc of the archive's image.

        Raises
        ------
        UsageError : there is none.
        """
        reference = images.references["archive"]
        look = _LOOK.format(folders=" ".join(f"{folder}/*.so*" for folder in FOLDERS))
        said = self._ask(images.ids["archive"], "/bin/sh", "-c", look)
        build = read_orthanc(said)
        if build is None:
            raise UsageError(f"archive.image: {reference}: there is no Orthanc in it", "name another image")
        return build

    def postgresql(self, images: Images) -> int:
        """Give the major version of the index's image."""
        found = re.search(r"\d+", self._ask(images.ids["index"], "postgres", "--version"))
        if found is None:
            raise OrthwebError(f"{images.references['index']}: PostgreSQL tells no version", "orthweb image build")
        return int(found[0])

    def envoy(self, images: Images) -> str:
        """Give the version of the edge's image."""
        found = re.search(r"\d+\.\d+\.\d+", self._ask(images.ids["edge"], "envoy", "--version").replace("/", " "))
        return found[0] if found else ""


def read_orthanc(said: str) -> OrthancBuild | None:
    """Read what an image says of its Orthanc: where it is, its version, its plugins' files; None without one."""
    lines = [line.strip() for line in said.splitlines()]
    program = next((line for line in lines if line.endswith("/Orthanc")), None)
    version = next((version_in(line) for line in lines if line.startswith("Orthanc ")), ())
    if program is None or not version:
        return None
    plugins = []
    for name in IDENTIFIERS:
        pattern = re.compile(rf".*/lib(?:Orthanc)?{re.escape(name)}\.so(\.[\d.]+)?")
        found = [Path(line) for line in lines if pattern.fullmatch(line)]
        if found:
            best = max(found, key=lambda path: (version_in(path.name), -len(str(path))))
            plugins.append(Plugin(name, best, version_in(best.name) or (0,)))
    return OrthancBuild(Path(program), version, tuple(plugins))

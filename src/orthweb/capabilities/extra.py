"""Plugins that the site file names by path and SHA-256: read once, checked, and given a name that tells both."""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from orthweb.errors import SiteFileError
from orthweb.site import Site
from orthweb.tomltext import printable

LARGEST: Final = 1024**3
"""Bytes; the largest plugin of the upstream project has a tenth of it."""

_MACHINES: Final = {0x3E: "x86_64", 0xB7: "aarch64", 0x03: "i386", 0x28: "arm", 0xF3: "riscv64", 0x15: "ppc64le"}
"""ELF's e_machine (System V ABI, generic, chapter 4), and what uname calls it."""


@dataclass(frozen=True)
class Library:
    """One element of ``archive.extra_plugins`` whose file is what the site file says it is.

    Parameters
    ----------
    number : its place in the list, from 0.
    path : the file.
    """

    number: int
    path: Path
    sha256: str
    content: bytes = field(repr=False)

    @property
    def key(self) -> str:
        """The key that names it."""
        return f"archive.extra_plugins[{self.number}].path"

    @property
    def file_name(self) -> str:
        """Name of the delivered file: another content never comes under the same name."""
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", self.path.name.split(".so")[0]).strip("-")[:48] or "plugin"
        return f"{stem}-{self.sha256[:12]}.so"


def read(site: Site, machine: str | None = None) -> tuple[Library, ...]:
    """Read the plugins that a site file names.

    Parameters
    ----------
    machine : the processor that they must be for, as uname names it; the default is this machine's.

    Raises
    ------
    SiteFileError : a file cannot be read, is not what its SHA-256 says, or is no library for this processor.
    """
    found, problems = [], []
    for number, plugin in enumerate(site.archive.extra_plugins):
        try:
            with plugin.path.open("rb") as file:
                content = file.read(LARGEST + 1)
        except OSError as error:
            problems.append(f"archive.extra_plugins[{number}].path: {printable(str(plugin.path))}: {error.strerror}")
            continue
        library = Library(number, plugin.path, hashlib.sha256(content).hexdigest(), content)
        problem = _unlike(library, plugin.sha256) or _unfit(library, machine or platform.machine())
        if problem is not None:
            problems.append(problem)
        found.append(library)
    if problems:
        raise SiteFileError(problems)
    return tuple(found)


def _unlike(library: Library, wanted: str) -> str | None:
    if library.sha256 == wanted:
        return None
    return (
        f"archive.extra_plugins[{library.number}].sha256: {wanted}: {printable(str(library.path))} has "
        f"{library.sha256}; get the file again, or write this one here if you know that it is right"
    )


def _unfit(library: Library, machine: str) -> str | None:
    """Say what is wrong with a file that is no library for `machine`: the loader's own words would mislead."""
    shown, content = f"{library.key}: {printable(str(library.path))}", library.content
    # e_ident, e_type and e_machine; ET_DYN is 3. The loader dies of a library that ends before its sections do.
    order: Literal["little", "big"] = "little" if content[5:6] == b"\x01" else "big"
    if content[:4] != b"\x7fELF" or int.from_bytes(content[16:18], order) != 3:
        return f"{shown}: is no shared object (ELF); name a plugin's library for Linux"
    number = int.from_bytes(content[18:20], order)
    built = _MACHINES.get(number, f"processor {number}")
    if built != machine:
        return f"{shown}: is built for {built}, and this machine is {machine}; get the build for {machine}"
    if content[4] == 2:
        sections = int.from_bytes(content[40:48], order)
        end = sections + int.from_bytes(content[58:60], order) * int.from_bytes(content[60:62], order)
        if end > len(content):
            return f"{shown}: is cut off: it has {len(content)} bytes of {end}; get the file again"
    return None

"""Plugins of Orthanc built in the tests, each with one thing right or wrong with it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "plugins" / "plugin.c"


def build(compiler: Path, target: Path, name: str, version: str = "2.1", **other: str) -> Path:
    """Compile a plugin that calls itself `name`.

    Parameters
    ----------
    other : what is wrong with it: see the source.
    """
    defined = {"NAME": f'"{name}"', "VERSION": f'"{version}"'} | other
    command = [
        str(compiler),
        "-shared",
        "-fPIC",
        *("-ffreestanding", "-nostdlib"),
        "-o",
        str(target),
        *(f"-D{key}={value}" for key, value in defined.items()),
    ]
    subprocess.run([*command, str(SOURCE)], check=True, capture_output=True)
    return target


def listed(*libraries: Path) -> list[dict[str, str]]:
    """Give them as ``archive.extra_plugins`` names them."""
    return [{"path": str(each), "sha256": hashlib.sha256(each.read_bytes()).hexdigest()} for each in libraries]

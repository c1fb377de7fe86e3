"""The Python packages that run inside Orthanc, where its user can read them and nobody else can change them."""

from __future__ import annotations

import shutil
from importlib.metadata import Distribution, distribution
from pathlib import Path

from orthweb.render.supervisor import Account
from orthweb.targets.host.deployment import readable
from orthweb.targets.host.folder import folder

DISTRIBUTION = "obstore"
"""What `plugin/` needs beside the standard library; its wheel fits every Python from 3.11 on."""


def deliver(place: Path, account: Account | None) -> None:
    """Copy the installed package to `place`, for `account` to read, unless that version is there; whole or not at all.

    Raises
    ------
    OSError : there is no room.
    """
    found = distribution(DISTRIBUTION)
    if _version(place) == found.version:
        readable(place, account)
        return
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    folder(part, 0o755)
    for path, source in _files(found):
        target = part / path
        for parent in reversed(target.relative_to(part).parents):
            folder(part / parent, 0o755)
        target.touch(0o600)  # whatever the umask: whoever could open it now could change it for ever
        shutil.copyfile(source, target)
        target.chmod(0o644)
    shutil.rmtree(place, ignore_errors=True)
    readable(part, account)
    part.rename(place)


def _version(place: Path) -> str | None:
    found = next(iter(place.glob(f"{DISTRIBUTION}-*.dist-info")), None)
    return found.name.removeprefix(f"{DISTRIBUTION}-").removesuffix(".dist-info") if found else None


def _files(found: Distribution) -> list[tuple[Path, Path]]:
    """List what the package installed, compiled modules of this Python apart."""
    return [
        (Path(str(path)), Path(str(path.locate())))
        for path in found.files or []
        if ".." not in path.parts and path.suffix != ".pyc"
    ]

"""What an image is built from: a source tree, wherever orthweb itself lies."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from orthweb.errors import UsageError

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parents[1]
INSTALLED = PACKAGE / "source"
"""Where the wheel keeps those parts of the source tree that are no Python package (pyproject.toml)."""

FILES = (
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
    "requirements-build.lock",
    "requirements-dev.lock",
)
FOLDERS = ("image", "plugin", "src", "terraform")
CONFIGURATION = re.compile(r"README\.md|[a-z]+\.tf|modules/.+\.(tf|tftpl)")
"""What of ``terraform/`` is source: a person may have run Terraform in it, and left a state and providers."""

PROGRAMS = ("image/steps/", "image/archive/health")
"""What is executable."""

READS: Mapping[str, tuple[str, ...]] = {
    "archive": ("image/archive/", "image/steps/", "image/Dockerfile", "plugin/", "requirements.lock"),
    "edge": ("image/steps/", "image/Dockerfile", "requirements.lock"),
    "index": ("image/steps/", "image/Dockerfile"),
    "ops": ("",),
}
"""The parts of the source tree that each role's image depends on; the others may change without a new build."""


def sources() -> dict[str, Path]:
    """Give every file of the source tree: its name there, and where it lies on this machine.

    Raises
    ------
    UsageError : this installation of orthweb lacks them.
    """
    if (CHECKOUT / "image" / "Dockerfile").is_file():
        places = {name: CHECKOUT / name for name in (*FILES, *FOLDERS)}
    elif (INSTALLED / "image" / "Dockerfile").is_file():
        places = {name: INSTALLED / name for name in (*FILES, "image")}
        places |= {"plugin": PACKAGE / "plugin", "terraform": PACKAGE / "terraform", "src/orthweb": PACKAGE}
    else:
        raise UsageError(f"{INSTALLED / 'image'}: is missing", "install orthweb again")
    found: dict[str, Path] = {}
    for name, place in places.items():
        if place.is_file():
            found[name] = place
            continue
        if name == "terraform":
            found |= {f"{name}/{inside}": path for inside, path in configuration(place).items()}
            continue
        inner = (INSTALLED, PACKAGE / "plugin", PACKAGE / "terraform") if place == PACKAGE else ()
        for path in place.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not any(each in path.parents for each in inner):
                found[f"{name}/{path.relative_to(place)}"] = path
    return dict(sorted(found.items()))


def configuration(folder: Path) -> dict[str, Path]:
    """Give the files of Terraform's configuration in a folder, by their names in it."""
    named = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in named.items() if CONFIGURATION.fullmatch(name) and "/." not in f"/{name}"}


def terraform_folder() -> Path:
    """Find the folder of Terraform's configuration: in an installed package, or beside the sources.

    Raises
    ------
    UsageError : it is not there.
    """
    for folder in (PACKAGE / "terraform", CHECKOUT / "terraform"):
        if (folder / "main.tf").is_file():
            return folder
    raise UsageError(f"{PACKAGE / 'terraform'}: is missing", "install orthweb again")


def digest(role: str, tree: Mapping[str, Path] | None = None) -> str:
    """Give a digest of what a role's image is built from: another one, and the image is out of date."""
    result = hashlib.sha256()
    for name, path in (sources() if tree is None else tree).items():
        if name.startswith(READS[role]) and not name.startswith("image/host/"):
            result.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return result.hexdigest()


def write(folder: Path, host: Mapping[str, bytes], epoch: int) -> None:
    """Write the build context: the source tree, and what the building machine needs to reach its mirrors.

    Parameters
    ----------
    folder : an empty one.
    host : files of ``image/host`` by name.
    epoch : the date of every file (seconds since 1970), so that the same content gives the same layer.
    """
    for name, path in sources().items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        # Neither a strict umask of the caller's nor what an installation made of modes reaches the images.
        target.chmod(0o755 if name.startswith(PROGRAMS) else 0o644)
    for name, content in host.items():
        target = folder / "image" / "host" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (epoch, epoch))

"""The folder that Terraform works in: the modules, the variables, where the state is. A person may use it by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orthweb.files import write_whole
from orthweb.image import context

VARIABLES = "orthweb.auto.tfvars.json"
BACKEND = "backend.tf.json"
STATE = "../terraform.tfstate"
"""Where the state lies on this machine: beside the folder, so that nothing done to the folder touches it."""

_DONE = ".orthweb-init"
"""Names the configuration that `init` was done for."""


def state_key(name: str) -> str:
    """Name the object that holds a site's state, in the bucket for states."""
    return f"orthweb/{name}/terraform.tfstate"


def backend(name: str, region: str, bucket: str | None, bucket_region: str | None = None) -> dict[str, Any]:
    """Say where the state is kept: in a bucket, locked by an object beside it, or on this machine."""
    if bucket is None:
        chosen: dict[str, Any] = {"local": {"path": STATE}}
    else:
        chosen = {
            "s3": {
                "bucket": bucket,
                "key": state_key(name),
                "region": bucket_region or region,
                "encrypt": True,
                "use_lockfile": True,
            }
        }
    return {"terraform": {"backend": chosen}}


def write(folder: Path, variables: Mapping[str, Any] | None, state: Mapping[str, Any]) -> None:
    """Make the folder be as it should; what Terraform itself keeps there stays.

    Parameters
    ----------
    variables : None leaves those of the last call.
    state : see `backend`.
    """
    wanted = {name: path.read_bytes() for name, path in _modules().items()}
    wanted[BACKEND] = _document(state)
    if variables is not None:
        wanted[VARIABLES] = _document(variables)
    for name in context.configuration(folder).keys() - wanted.keys():
        (folder / name).unlink()
    for name, content in wanted.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)


def _modules() -> dict[str, Path]:
    return {
        name: path for name, path in context.configuration(context.terraform_folder()).items() if name != "README.md"
    }


def _document(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def known_variables(folder: Path) -> dict[str, Any]:
    """Give the variables of the last call; none when there was none."""
    try:
        found = json.loads((folder / VARIABLES).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(folder: Path, program: str) -> str:
    result = hashlib.sha256(program.encode())
    names = [*context.configuration(folder), BACKEND]
    for name in sorted(names):
        result.update(name.encode() + (folder / name).read_bytes())
    return result.hexdigest()


def initialised(folder: Path, program: str) -> bool:
    """Tell whether `init` was done for what is in the folder."""
    try:
        return (folder / _DONE).read_text() == _digest(folder, program) and (folder / ".terraform").is_dir()
    except FileNotFoundError:
        return False


def note_initialised(folder: Path, program: str) -> None:
    """Remember that `init` was done."""
    write_whole(folder / _DONE, _digest(folder, program).encode())


def last_backend(folder: Path) -> tuple[str, dict[str, Any]]:
    """Give where the state was at the last `init`: the kind and its settings; empty before the first."""
    try:
        known = json.loads((folder / ".terraform" / "terraform.tfstate").read_text())["backend"]
        return str(known["type"]), dict(known.get("config") or {})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "", {}


def state_is_elsewhere(folder: Path) -> bool:
    """Tell whether the state is kept elsewhere than at the last `init`."""
    kind, config = last_backend(folder)
    if not kind:
        return False
    wanted = json.loads((folder / BACKEND).read_text())["terraform"]["backend"]
    return kind not in wanted or any(config.get(key) != value for key, value in wanted[kind].items())


def note_moved(folder: Path) -> None:
    """Put the local state, of which there is now a later one elsewhere, out of the way."""
    path = folder / STATE
    if path.exists():
        path.rename(path.with_suffix(".moved"))

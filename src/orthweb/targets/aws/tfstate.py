"""Terraform's state: where a site's lies, what it says of the site, and moving it from this machine into a bucket.

It is read only: the outputs and how far it is. Terraform alone writes it. A state that two people have must never be
copied over another one, whatever their site files say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.aws import work

VERSION: Final = 4
"""Of the state's format, since Terraform 0.12."""


@dataclass(frozen=True)
class TerraformState:
    """What a state says.

    Parameters
    ----------
    where : for people: a path or a bucket's URL.
    lineage : random name of the state; a copy has the same.
    serial : counts its changes.
    resources : addresses of what is managed with it.
    """

    where: str
    lineage: str
    serial: int
    outputs: Mapping[str, Any]
    resources: tuple[str, ...]


def parse(text: str, where: str) -> TerraformState | None:
    """Read a state; None when there is nothing in it.

    Raises
    ------
    OrthwebError : it is no state, or of another format.
    """
    if not text.strip():
        return None
    try:
        found = json.loads(text)
        version = found["version"]
        outputs = {str(name): value["value"] for name, value in (found.get("outputs") or {}).items()}
        managed = [each for each in found.get("resources") or () if each["mode"] == "managed" and each["instances"]]
        names = [".".join(filter(None, (each.get("module"), each["type"], each["name"]))) for each in managed]
        result = TerraformState(where, str(found["lineage"]), int(found["serial"]), outputs, tuple(names))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrthwebError(
            f"{where}: is no state of Terraform's",
            "put back what it was: the copy ending in .backup beside it, or the bucket's earlier version",
        ) from error
    if version != VERSION:
        raise OrthwebError(f"{where}: a state of version {version} cannot be read here", "upgrade orthweb")
    return result


def local(folder: Path) -> TerraformState | None:
    """Read the state on this machine; None when there is none.

    Parameters
    ----------
    folder : that Terraform works in.
    """
    path = (folder / work.STATE).resolve()
    try:
        return parse(path.read_text(), str(path))
    except FileNotFoundError:
        return None


def kept(session: Session, bucket: str, key: str) -> TerraformState | None:
    """Read a state in a bucket; None when there is none.

    Raises
    ------
    AwsError : it may not be read.
    """
    try:
        with told(f"aws.state_bucket: {bucket}"):
            text = session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except AwsError as error:
        if error.code not in ("NoSuchKey", "NoSuchBucket", "404"):
            raise
        return None
    return parse(text, f"s3://{bucket}/{key}")


def read(session: Session, folder: Path, document: Mapping[str, Any]) -> TerraformState | None:
    """Read the state that a backend (see `work.backend`) says."""
    [(kind, config)] = document["terraform"]["backend"].items()
    return kept(session, config["bucket"], config["key"]) if kind == "s3" else local(folder)


def settle(
    session: Session, folder: Path, wanted: Mapping[str, Any], *, applying: bool
) -> tuple[Mapping[str, Any], bool]:
    """Decide where the state is, when the site file says where it should be; and whether to move it there now.

    Parameters
    ----------
    wanted : see `work.backend`.
    applying : only who changes the site moves its state as well.

    Returns
    -------
    tuple : the backend to work with, and whether `Terraform.init` is to move the state to it.

    Raises
    ------
    UsageError : the state lies elsewhere, or there are two; names both. Nothing was changed.
    """
    here = local(folder)
    here = here if here is not None and here.resources else None
    target = read(session, folder, wanted)
    before = _last(session, folder)
    [(kind, config)] = wanted["terraform"]["backend"].items()
    if before is not None and before.resources and not _holds(target, before):
        bucket = before.where.removeprefix("s3://").partition("/")[0]
        copied = (
            f"or copy it: aws s3 cp {before.where} s3://{config['bucket']}/{config['key']}"
            if kind == "s3"
            else f"to have it here: aws s3 cp {before.where} {(folder / work.STATE).resolve()}"
        )
        raise UsageError(
            f"aws.state_bucket: the state of this site is in {before.where}, and not where the site file says",
            f'put state_bucket = "{bucket}" back; {copied}',
        )
    if kind != "s3" or here is None or _holds(target, here):
        return wanted, False
    if target is not None and target.resources and target.lineage != here.lineage:
        raise UsageError(
            f"aws.state_bucket: there are two states of this site: {here.where} ({len(here.resources)} resources) and "
            f"{target.where} ({len(target.resources)} resources)",
            "move away the one that is not this site's",
        )
    if applying:
        return wanted, True
    return work.backend("", "", None), False


def _holds(target: TerraformState | None, earlier: TerraformState) -> bool:
    """Tell whether a state is another one's later self, or the same."""
    return target is not None and target.lineage == earlier.lineage and target.serial >= earlier.serial


def _last(session: Session, folder: Path) -> TerraformState | None:
    """Read the state in the bucket that was worked with last, when it was in one."""
    kind, config = work.last_backend(folder)
    if kind != "s3" or not config.get("bucket") or not config.get("key"):
        return None
    return kept(session, str(config["bucket"]), str(config["key"]))

"""The site's images: pulled from where they are, with the instance's role where that is ECR."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final

from orthweb.errors import OrthwebError
from orthweb.files import write_whole
from orthweb.host.account import AwsAccount, told
from orthweb.host.loop import WaitError
from orthweb.image.engine import Engine

_ECR: Final = re.compile(r"(?P<registry>\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?)/")

_FULL: Final = "no space left on device"
_NONE: Final = "<none>"


def sign_in(account: AwsAccount, references: Iterable[str], folder: Path) -> None:
    """Let ``docker pull`` use the registries of ECR among these references, for the hours that their token is good.

    Parameters
    ----------
    folder : in memory; becomes Docker's own configuration (``DOCKER_CONFIG``).
    """
    registries = {found["registry"] for reference in references if (found := _ECR.match(reference))}
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["DOCKER_CONFIG"] = str(folder)
    if not registries:
        return
    with told("token for the images' registry"):
        answer = account.client("ecr").get_authorization_token()
    token = str(answer["authorizationData"][0]["authorizationToken"])
    base64.b64decode(token, validate=True)
    auths = {registry: {"auth": token} for registry in sorted(registries)}
    write_whole(folder / "config.json", json.dumps({"auths": auths}).encode())


def pull(
    account: AwsAccount, engine: Engine, references: Iterable[str], folder: Path, report: Callable[[str], None]
) -> None:
    """Pull what the engine does not have.

    Raises
    ------
    WaitError : one is not there yet: whoever deploys the site may be pushing it right now.
    OrthwebError : the disk is full, though images that nothing needs were removed.
    """
    wanted = list(dict.fromkeys(references))
    missing = [reference for reference in wanted if engine.image(reference) is None]
    if not missing:
        return
    sign_in(account, missing, folder)
    for reference in missing:
        report(f"pulling {reference}")
        try:
            _pull(engine, reference, wanted, report)
        except OrthwebError as error:
            if _FULL in error.message:
                raise OrthwebError(
                    f"{reference} does not fit on the disk", "a larger disk_size (aws.disk), or a smaller s3.cache"
                ) from error
            raise WaitError("pulling", f"waiting for {reference}: {error.message}") from error


def _pull(engine: Engine, reference: str, wanted: Collection[str], report: Callable[[str], None]) -> None:
    try:
        engine.run("pull", "--quiet", reference)
    except OrthwebError as error:
        if _FULL not in error.message or not prune(engine, wanted, report):
            raise
        engine.run("pull", "--quiet", reference)


def repository(reference: str) -> str:
    """Give the repository of a reference, without tag and digest."""
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def prune(engine: Engine, kept: Collection[str], report: Callable[[str], None]) -> list[str]:
    """Remove the images of former versions: of the repositories of those that are kept, what no container has.

    Parameters
    ----------
    kept : references.

    Returns
    -------
    What was removed.
    """
    own = {repository(each) for each in kept}
    used = set(engine.run("ps", "--all", "--format", "{{.Image}}").split()) | set(kept)
    listed = engine.run("image", "ls", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
    removed = []
    for name, tag, digest in (line.split() for line in listed.splitlines() if len(line.split()) == 3):
        names = [f"{name}:{tag}"] if tag != _NONE else []
        names += [f"{name}@{digest}"] if digest != _NONE else []
        if name not in own or not names or used.intersection(names):
            continue
        try:
            engine.run("image", "rm", names[0])
        except OrthwebError as error:  # a container has it under its id alone
            report(f"{names[0]} is kept: {error.message}")
            continue
        removed.append(names[0])
        report(f"removed the image {names[0]}")
    return removed

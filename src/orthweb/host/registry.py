"""The site's images: pulled from where they are, with the instance's role where that is ECR."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from orthweb.errors import OrthwebError
from orthweb.files import write_whole
from orthweb.host.account import AwsAccount, told
from orthweb.host.loop import ReplacedError, WaitError
from orthweb.image.engine import Engine

_ECR: Final = re.compile(r"(?P<registry>\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?)/")


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
    """
    missing = [reference for reference in dict.fromkeys(references) if engine.image(reference) is None]
    if not missing:
        return
    sign_in(account, missing, folder)
    for reference in missing:
        report(f"pulling {reference}")
        try:
            engine.run("pull", "--quiet", reference)
        except OrthwebError as error:
            raise WaitError("pulling", f"waiting for {reference}: {error.message}") from error


def take_over(engine: Engine, wanted: str, own: str, file: Path) -> None:
    """Give the word to the agent of another ops image, once that has been seen to run.

    Parameters
    ----------
    wanted : its reference; pulled already.
    own : that of the image that this agent runs in; empty when it runs in none.
    file : where the host keeps which image its agent runs in.

    Raises
    ------
    ReplacedError : the host's next agent is the other one.
    OrthwebError : it does not run.
    """
    if not own or not wanted or wanted == own:
        return
    said = engine.run("run", "--rm", "--network", "none", "--cap-drop", "ALL", wanted, "--version").strip()
    write_whole(file, f"{wanted}\n".encode(), 0o644)
    raise ReplacedError(f"{wanted} goes on: {said}")

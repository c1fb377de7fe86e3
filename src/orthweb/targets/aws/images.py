"""The container images of a site on AWS: built here, pushed to the site's own repositories (Amazon ECR)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any, Final

from orthweb import __version__, image
from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError, UsageError
from orthweb.image import context
from orthweb.image import engine as engines
from orthweb.image.engine import Engine, EngineError
from orthweb.image.host import architecture
from orthweb.render.terraform import image_references
from orthweb.site import Site
from orthweb.targets.aws import hosts
from orthweb.targets.base import Done, Report

ROLES: Final[tuple[image.Role, ...]] = ("archive", "edge", "ops")
CREATED: Final = "org.opencontainers.image.created"
"""Label with the date of the Debian packages in an image."""

HOSTS: Final = "amd64"
"""The architecture of the hosts."""

POLL: Final = 3.0
"""Seconds between two looks for the repositories."""


def needed(site: Site) -> tuple[image.Role, ...]:
    """Give the roles whose image comes from the site's own repositories."""
    given = image_references(site)
    return tuple(role for role in ROLES if role not in given)


def tag(session: Session, site: Site) -> str:
    """Give the tag of the images in the site's repositories: another one for other sources, or newer Debian packages.

    The tag that hosts run stays as long as it is of these sources, and this machine has not built newer images since.

    Raises
    ------
    AwsError : AWS does not say what there is.
    """
    if site.aws.image_tag is not None:
        return site.aws.image_tag
    tree = context.sources()
    digest = hashlib.sha256("".join(context.digest(role, tree) for role in ROLES).encode()).hexdigest()
    ours = f"{__version__}-{digest[:12]}"
    roles = needed(site)
    if not roles:
        return ours
    running = hosts.read(session, f"/orthweb/{site.name}").wanted.images.get(roles[0], "").rpartition(":")[2]
    if not running.startswith(ours):
        return ours
    built, pushed = _built(roles), _pushed(session, site, roles[0], running)
    if built is not None and pushed is not None and built > pushed:
        return f"{ours}-{built:%Y%m%dT%H%M}"
    return running


def _built(roles: Sequence[image.Role]) -> datetime | None:
    """Tell of when the packages are in the images that this machine has; None when it lacks one."""
    try:
        engine = engines.find()
        found = [engine.image(image.reference(role)) for role in roles if image.present(role, engine)]
    except OrthwebError:
        return None
    dates = [datetime.fromisoformat(each.labels[CREATED]) for each in found if each and CREATED in each.labels]
    return max(dates) if len(dates) == len(roles) else None


def _pushed(session: Session, site: Site, role: image.Role, wanted: str) -> datetime | None:
    """Tell when an image was pushed; None when there is none."""
    try:
        found = _described(session, site, role, wanted)
    except AwsError as error:
        if error.code not in ("ImageNotFound", "RepositoryNotFound"):
            raise
        return None
    when: datetime = found["imagePushedAt"]
    return when


def _described(session: Session, site: Site, role: image.Role, wanted: str) -> dict[str, Any]:
    name = f"{site.name}/{role}"
    with told(f"image repository {name}"):
        found = session.client("ecr").describe_images(repositoryName=name, imageIds=[{"imageTag": wanted}])
    return dict(found["imageDetails"][0])


def lacking(session: Session, site: Site, wanted: str) -> list[image.Role]:
    """List the roles whose image the site's repositories do not have.

    Raises
    ------
    AwsError : AWS does not say.
    """
    result = []
    for role in needed(site):
        try:
            _described(session, site, role, wanted)
        except AwsError as error:
            if error.code not in ("ImageNotFound", "RepositoryNotFound"):
                raise
            result.append(role)
    return result


def engine_for(roles: list[image.Role]) -> Engine | None:
    """Find the Docker engine that builds and pushes what is lacking; None when nothing is.

    Raises
    ------
    UsageError : there is none, or it is not of the hosts' architecture.
    """
    if not roles:
        return None
    ways = (
        "name images that lie elsewhere (archive, edge, ops in [aws.images]), or those that another machine pushed "
        "(aws.image_tag)"
    )
    try:
        found = engines.find()
    except UsageError as error:
        raise UsageError(
            f"the images of {', '.join(roles)} have to be built and pushed, and {error.message}",
            f"{error.hint or 'install Docker'}; or {ways}",
        ) from error
    for whose, built in (("this machine", architecture()), ("the Docker engine", _architecture(found))):
        if built != HOSTS:
            raise UsageError(
                f"the images of {', '.join(roles)} have to be built for {HOSTS}, and {whose} is of {built}",
                f"call this on a machine of {HOSTS} once; or {ways}",
            )
    return found


def _architecture(engine: Engine) -> str:
    return engine.run("version", "--format", "{{.Server.Arch}}").strip()


@dataclass(frozen=True)
class SignedIn(Engine):
    """An engine with a sign-in of its own, which ends with a folder.

    Parameters
    ----------
    config : the folder.
    """

    config: Path = Path("/nonexistent")

    def environment(self) -> dict[str, str]:
        """Give the environment in which ``docker`` finds the sign-in."""
        return super().environment() | {"DOCKER_CONFIG": str(self.config)}


@contextlib.contextmanager
def signed_in(engine: Engine, session: Session) -> Iterator[SignedIn]:
    """Sign in at the account's registry for a block; the token goes to docker's standard input.

    Raises
    ------
    OrthwebError : AWS gives no token, or the registry does not take it.
    """
    with told("image registry"):
        found = session.client("ecr").get_authorization_token()["authorizationData"][0]
    user, _, token = base64.b64decode(found["authorizationToken"]).decode().partition(":")
    registry = str(found["proxyEndpoint"]).removeprefix("https://").removeprefix("http://")
    with tempfile.TemporaryDirectory(prefix="orthweb-registry-") as folder:
        # A configuration of its own knows nothing of the person's contexts: the engine's address is said instead.
        known = {each.name: getattr(engine, each.name) for each in fields(Engine)}
        theirs = SignedIn(**{**known, "host": engine.host or _address(engine)}, config=Path(folder))
        theirs.run("login", "--username", user, "--password-stdin", registry, stdin=token)
        yield theirs


def _address(engine: Engine) -> str:
    try:
        return engine.run("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    except EngineError:
        return ""


def build(engine: Engine, roles: list[image.Role], report: Report) -> None:
    """Build the images that the engine does not have, from the sources of this orthweb."""
    from orthweb.targets.docker.images import _build

    missing = [role for role in roles if not image.present(role, engine)]
    if missing:
        _build(engine, missing, report)


def push(
    session: Session, engine: Engine, site: Site, roles: list[image.Role], wanted: str, report: Report, stop: Event
) -> None:
    """Push images to the site's repositories as soon as these exist.

    Parameters
    ----------
    stop : set when they will not: whoever makes them has failed.

    Raises
    ------
    OrthwebError : a push failed.
    """
    repositories = _repositories(session, site, roles, stop)
    if repositories is None:
        return
    with signed_in(engine, session) as theirs:
        for role in roles:
            target = f"{repositories[role]}:{wanted}"
            report(f"image {role}: pushing")
            started = time.monotonic()
            try:
                theirs.run("tag", image.reference(role), target)
                theirs.run("push", "--quiet", target)
            except EngineError as error:
                if "immutable" in error.message.lower():  # somebody else pushed it meanwhile
                    continue
                raise OrthwebError(f"image {role}: {error.message}", "orthweb up can be repeated") from error
            finally:
                with contextlib.suppress(EngineError):
                    theirs.run("rmi", "--no-prune", target)
            report(Done(f"pushed image {role} ({time.monotonic() - started:.0f} s)"))


def _repositories(session: Session, site: Site, roles: list[image.Role], stop: Event) -> Mapping[str, str] | None:
    names = {f"{site.name}/{role}": role for role in roles}
    while not stop.is_set():
        try:
            with told("image repositories"):
                found = session.client("ecr").describe_repositories(repositoryNames=list(names))["repositories"]
        except AwsError as error:
            if error.code != "RepositoryNotFound":
                raise
            stop.wait(POLL)
            continue
        return {names[each["repositoryName"]]: str(each["repositoryUri"]) for each in found}
    return None

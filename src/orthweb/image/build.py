"""Build images: a role's stage of image/Dockerfile, then the labels that tell what came to be in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from orthweb import __version__
from orthweb.errors import OrthwebError, UsageError
from orthweb.image import bootstrap, contents, context, host, sbom
from orthweb.image.engine import Engine, EngineError

Role = Literal["archive", "edge", "index", "ops"]
ROLES: tuple[Role, ...] = get_args(Role)

BOOTSTRAP = "bootstrap"
SUITE = host.SUITES[-1]
CONTEXT_LABEL = "org.orthweb.context"
LICENCES: Mapping[Role, str] = {
    "archive": "AGPL-3.0-or-later",
    "edge": "Apache-2.0",
    "index": "PostgreSQL",
    "ops": "Apache-2.0",
}
"""The licence of what each image is for; the software bill of materials has those of everything in it."""


@dataclass(frozen=True)
class Built:
    """An image that was built.

    Parameters
    ----------
    id : of the image, ``sha256:...``.
    size : bytes, all layers unpacked.
    seconds : that it took.
    sbom : its software bill of materials, when one was asked for.
    pushed, digest : where it was pushed to, and the digest that the registry knows it by.
    """

    role: Role
    reference: str
    id: str
    size: int
    seconds: float
    labels: Mapping[str, str]
    sbom: Path | None = None
    pushed: str | None = None
    digest: str | None = None


def reference(role: Role, tag: str = __version__) -> str:
    """Give the name of a role's image."""
    return f"orthweb/{role}:{tag}"


def present(role: Role, engine: Engine) -> bool:
    """Tell whether the engine has a role's image, built from the sources of this very orthweb."""
    found = engine.image(reference(role))
    return found is not None and found.labels.get(CONTEXT_LABEL) == context.digest(role)


def build(
    engine: Engine,
    report: Callable[[str], None],
    *,
    roles: Iterable[Role] = ROLES,
    base: str | None = None,
    suite: str = SUITE,
    mirror: str | None = None,
    tag: str = __version__,
    boms: Path | None = None,
    push: str | None = None,
) -> list[Built]:
    """Build images and give what they are.

    Parameters
    ----------
    report : is told what is being done, a line each time.
    base : an image to build on; "bootstrap" makes one from the Debian mirror; None: Debian's own image.
    suite : Debian's release.
    mirror : address of a Debian mirror; None: the one that this machine's apt uses.
    boms : folder for the software bills of materials (CycloneDX).
    push : registry and path that the images are pushed to, as ``PUSH/ROLE:TAG``.

    Raises
    ------
    UsageError : the call is wrong, or the base is not there.
    OrthwebError : a mirror cannot be reached, or the build failed.
    """
    reach = host.read_reach()
    found = host.mirror(suite, mirror, host.read_sources())
    state = bootstrap.look(found, reach)
    if base == BOOTSTRAP:
        base = bootstrap.base(found, reach, state, engine, report)
    else:
        base = _pulled(base or f"debian:{suite}-slim", engine, report, asked=base is not None)
    tree = context.sources()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or state.epoch)
    arguments = {"BASE": base, "DEBIAN_STATE": state.digest, "SOURCE_DATE_EPOCH": str(epoch)}
    built = []
    with tempfile.TemporaryDirectory(prefix="orthweb-image-") as folder:
        context.write(Path(folder), host.files(found, reach), epoch)
        for role in roles:
            started = time.monotonic()
            _stage(engine, role, Path(folder), arguments, report)
            has = contents.read(engine, _unlabelled(role))
            told = labels(role, tree, epoch, base, has)
            _label(engine, role, reference(role, tag), told)
            image = engine.image(reference(role, tag))
            assert image is not None
            bom = sbom.write(boms, role, reference(role, tag), image, has) if boms is not None else None
            seconds = time.monotonic() - started
            built.append(Built(role, reference(role, tag), image.id, image.size, seconds, image.labels, bom))
    if push is None:
        return built
    return [_pushed(engine, each, f"{push.rstrip('/')}/{each.role}:{tag}", report) for each in built]


def labels(role: Role, tree: Mapping[str, Path], epoch: int, base: str, has: contents.Contents) -> dict[str, str]:
    """Give a role's labels: the ones that the OCI image specification names, and versions."""
    annotations: dict[str, str | None] = {
        "title": f"orthweb {role}",
        "version": __version__,
        "licenses": LICENCES[role],
        "base.name": base,
        "created": datetime.fromtimestamp(epoch, UTC).isoformat(),
    }
    annotations |= {"source": _source(), "revision": _revision()}
    told = {f"org.opencontainers.image.{name}": value for name, value in annotations.items() if value}
    return told | contents.labels(has) | {"org.orthweb.role": role, CONTEXT_LABEL: context.digest(role, tree)}


def _git(*words: str) -> str | None:
    """Ask git about the checkout that this orthweb runs from; None when it runs from none."""
    if not (context.CHECKOUT / ".git").exists():
        return None
    git = ["git", "-C", str(context.CHECKOUT), *words]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _revision() -> str | None:
    """Give the commit of a checkout without changes in what images are made from."""
    changed = _git("status", "--porcelain", "--", *context.FILES, *context.FOLDERS)
    return _git("rev-parse", "HEAD") if changed == "" else None


def _source() -> str | None:
    """Give the address of the sources: the repository that a workflow builds, or that a checkout came from."""
    if os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
    origin = re.fullmatch(r"(https?://)(?:[^@/]*@)?(.+?)(?:\.git)?", _git("remote", "get-url", "origin") or "")
    return origin[1] + origin[2] if origin else None


def _pulled(base: str, engine: Engine, report: Callable[[str], None], asked: bool) -> str:
    if engine.image(base) is not None:
        return base
    report(f"base: pulling {base}")
    try:
        engine.run("pull", "--quiet", base)
    except EngineError as error:
        key = "--base" if asked else "base"
        raise UsageError(
            f"{key}: {base}: is not here and cannot be pulled: {error.message}",
            "make one from a Debian mirror: orthweb image build --base bootstrap",
        ) from error
    return base


def _unlabelled(role: Role) -> str:
    return f"orthweb/{role}:building-{os.getpid()}"


class Progress:
    """Which steps of a build are worked on, from the builder's output; not those that its cache has.

    The engine's own builder says ``Step 3/40 : RUN ...`` and then ``---> Using cache``; BuildKit numbers the steps,
    works on several at once, and says ``#7 CACHED``.
    """

    def __init__(self) -> None:
        self._named: dict[str, str] = {}
        self._told: set[str] = set()

    def begun(self, line: str) -> str | None:
        """Give the step that a line of output shows to be worked on, once."""
        named = re.match(r"Step (\d+/\d+) : (.+)|(#\d+) \[[^]]*] (.+)", line)
        if named:
            step = named[2] or named[4]
            self._named["step" if named[1] else named[3]] = step if step.startswith(("RUN", "COPY")) else ""
            return None
        number, _, said = line.partition(" ") if line.startswith("#") else ("step", "", line)
        if said.startswith("sha256:"):
            return None
        step = self._named.pop(number, "")
        if not step or step in self._told or re.match(r"CACHED| ---> Using cache", said):
            return None
        self._told.add(step)
        return step


def _stage(
    engine: Engine, role: Role, folder: Path, arguments: Mapping[str, str], report: Callable[[str], None]
) -> None:
    """Build a role's stage; the host's network, so that a proxy or a resolver on the loopback is reached."""
    words = ["build", "--network", "host", "--file", str(folder / "image" / "Dockerfile"), "--target", role]
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    for name in host.PROXIES:
        if os.environ.get(name):
            words += ["--build-arg", name]  # its value, which may hold a password, comes from the environment
    environment = {"BUILDKIT_PROGRESS": "plain"}

    progress = Progress()

    def line(text: str) -> None:
        step = progress.begun(text)
        if step is not None:
            report(f"{role}: {step[:90]}")

    try:
        engine.stream([*words, "--tag", _unlabelled(role), str(folder)], line, environment)
    except EngineError as error:
        raise OrthwebError(
            f"{role}: {error.message}", "read the last lines above; orthweb image build can be repeated"
        ) from error


def _label(engine: Engine, role: Role, name: str, told: Mapping[str, str]) -> None:
    words = [word for key, value in sorted(told.items()) for word in ("--label", f"{key}={value}")]
    engine.run("build", "--quiet", *words, "--tag", name, "-", stdin=f"FROM {_unlabelled(role)}\n")
    engine.run("rmi", "--no-prune", _unlabelled(role))


def _pushed(engine: Engine, each: Built, name: str, report: Callable[[str], None]) -> Built:
    report(f"{each.role}: pushing {name}")
    engine.run("tag", each.reference, name)
    engine.run("push", "--quiet", name)
    known = json.loads(engine.run("image", "inspect", "--format", "{{json .RepoDigests}}", name))
    repository = name.rpartition(":")[0]
    digest = next((found.rpartition("@")[2] for found in known if found.startswith(f"{repository}@")), None)
    return replace(each, pushed=name, digest=digest)

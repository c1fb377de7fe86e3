"""A Docker engine, spoken to through its own command: contexts, DOCKER_HOST and sign-ins are as the person set them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from orthweb.errors import OrthwebError, UsageError

INSTALL = "as root: apt-get install docker.io docker-compose  # on Debian 13 also docker-cli"
ANSWER_SECONDS = 20
NEEDS_BUILDX = 23
"""From this version on the docker command builds with BuildKit through its plugin buildx alone."""

LAST_LINES = 12
"""How much of a failed command's output its error shows."""


class EngineError(OrthwebError):
    """The engine refused or failed a command; the message has the end of its output."""


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    Parameters
    ----------
    id : its content's digest, ``sha256:...``.
    size : bytes, all layers unpacked.
    labels : the image's labels.
    """

    id: str
    size: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers.

    Parameters
    ----------
    program : the ``docker`` command.
    version : of the engine.
    buildkit : whether this command builds with BuildKit; without, it uses the engine's older builder.
    host : its address; empty: as the environment and docker's contexts say.
    """

    program: Path
    version: str = ""
    buildkit: bool = False
    host: str = ""

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Run a docker command and give its standard output.

        Raises
        ------
        EngineError : it failed; the message is the command's own.
        """
        done = subprocess.run(
            [str(self.program), *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment(),
            check=False,
        )
        if done.returncode != 0:
            raise EngineError(f"docker {words[0]}: {_reason(done.stderr or done.stdout)}")
        return done.stdout

    def stream(self, words: Sequence[str], line: Callable[[str], None], environment: Mapping[str, str]) -> None:
        """Run a docker command and hand on every line that it prints.

        Raises
        ------
        EngineError : it failed; the message has the last lines.
        """
        last: deque[str] = deque(maxlen=LAST_LINES)
        with subprocess.Popen(
            [str(self.program), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**self.environment(), **environment},
        ) as process:
            try:
                assert process.stdout is not None
                for text in process.stdout:
                    last.append(text.rstrip())
                    line(text.rstrip())
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            raise EngineError(f"docker {words[0]} failed:\n" + "\n".join(filter(None, last)))

    def image(self, reference: str) -> Image | None:
        """Give an image by its reference or id; None when the engine does not have it."""
        try:
            found: list[dict[str, Any]] = json.loads(self.run("image", "inspect", reference))
        except EngineError as error:
            if "no such image" in error.message.lower():
                return None
            raise
        return Image(found[0]["Id"], int(found[0]["Size"]), found[0]["Config"].get("Labels") or {})

    def load(self, rootfs: Path, reference: str) -> None:
        """Make an image of one layer from a tar file."""
        with rootfs.open("rb") as stream:
            done = subprocess.run(
                [str(self.program), "import", "-", reference],
                stdin=stream,
                capture_output=True,
                text=True,
                env=self.environment(),
                check=False,
            )
        if done.returncode != 0:
            raise EngineError(f"docker import: {_reason(done.stderr)}")

    @contextmanager
    def archive(self, container: str, path: str) -> Iterator[IO[bytes]]:
        """Read a folder of a container, running or not, as a tar stream."""
        with subprocess.Popen(
            [str(self.program), "cp", f"{container}:{path}", "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            yield process.stdout
            process.stdout.read()
            said = process.stderr.read().decode(errors="replace")
        if process.returncode != 0:
            raise EngineError(f"docker cp: {_reason(said)}")

    @contextmanager
    def container(self, image: str) -> Iterator[str]:
        """Give a container of an image that never runs, to read its files from."""
        name = self.run("create", "--network", "none", image).strip()
        try:
            yield name
        finally:
            self.run("rm", "--force", name)

    def environment(self) -> dict[str, str]:
        """Give the environment in which ``docker`` (and ``docker-compose``) speak to this engine."""
        return _environment(self.host) | {"DOCKER_BUILDKIT": "1" if self.buildkit else "0"}


def _environment(host: str) -> dict[str, str]:
    chosen = {"DOCKER_HOST": host} if host else {}
    return {**os.environ, "DOCKER_CLI_HINTS": "false", "LC_ALL": "C.UTF-8", **chosen}


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("Error response from daemon: ") if lines else "no reason given"


def find(host: str = "") -> Engine:
    """Find the docker command and an engine that answers.

    Parameters
    ----------
    host : address of the engine; empty: DOCKER_HOST's, or that of docker's current context.

    Raises
    ------
    UsageError : there is none; says how to get one.
    """
    program = shutil.which("docker")
    if program is None:
        raise UsageError("no docker command on this machine", INSTALL)
    command = [program, "version", "--format", "{{.Client.Version}} {{.Server.Version}}"]
    environment = _environment(host)
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"the Docker engine does not answer within {ANSWER_SECONDS} s", "restart it") from None
    if said.returncode != 0:
        reason = _reason(said.stderr)
        if "permission denied" in reason.lower():
            raise UsageError(
                f"the Docker engine does not let you in: {reason}", "call this as root, or join the group docker"
            )
        raise UsageError(f"no Docker engine answers: {reason}", f"start it (systemctl start docker), or {INSTALL}")
    client, version = said.stdout.split()
    plugin = subprocess.run([program, "buildx", "version"], capture_output=True, timeout=ANSWER_SECONDS, check=False)
    buildkit = plugin.returncode == 0 or int(client.partition(".")[0]) < NEEDS_BUILDX
    return Engine(Path(program), version, buildkit, host)

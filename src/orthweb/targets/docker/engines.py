"""The Docker engine that can run a site: one on this machine, root's own, that answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from orthweb.errors import UsageError
from orthweb.image.engine import INSTALL, Engine
from orthweb.image.engine import find as find_any

OLDEST = (20, 10)
ANSWER_SECONDS = 3.0
"""How long an engine may take to answer when a target is chosen."""

PATIENCE = 20.0
_CONTEXT = "context "

DEFAULT_SOCKET = Path("/var/run/docker.sock")


def _address() -> str:
    """Give the engine's address: the environment's, or what the caller's docker context says; empty for the default."""
    named = os.environ.get("DOCKER_HOST", "")
    if named:
        return named
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        context = os.environ.get("DOCKER_CONTEXT") or json.loads(config.read_text()).get("currentContext", "")
    except (OSError, ValueError, AttributeError):
        context = ""
    return "" if context in ("", "default") else f"{_CONTEXT}{context}"


def answers() -> bool:
    """Tell, quickly, whether an engine answers that could run a site."""
    address = _address()
    if address == "" and not os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK):
        return False
    if address.startswith("unix://") and not os.access(address.removeprefix("unix://"), os.R_OK | os.W_OK):
        return False
    try:
        return _unfit(*_ask(ANSWER_SECONDS)) is None
    except (OSError, subprocess.SubprocessError, ValueError, UsageError):
        return False


def _ask(seconds: float) -> tuple[str, list[str], str]:
    """Ask the engine for its version, its security options and the address that it was asked at."""
    program = _program()
    said = _said(program, seconds, "info", "--format", "{{.ServerVersion}}\t{{json .SecurityOptions}}")
    version, _, options = said.partition("\t")
    if not version:
        raise ValueError("no version")
    address = _address()
    if address.startswith(_CONTEXT):
        address = _said(program, seconds, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    return version, json.loads(options) or [], address


def _program() -> str:
    found = shutil.which("docker")
    if found is None:
        raise UsageError("no docker command on this machine", INSTALL)
    return found


def _said(program: str, seconds: float, *words: str) -> str:
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=seconds, check=True)
    return done.stdout.strip()


def _unfit(version: str, options: list[str], address: str) -> tuple[str, str] | None:
    """Say why an engine cannot run a site, and the next step; None when it can."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        return f"Docker engine {version} is too old", "orthweb needs 20.10 or newer"
    if address and not address.startswith("unix://"):
        return (
            f"the Docker engine at {address} is on another machine",
            "orthweb keeps a site's files beside its containers: run it on that machine",
        )
    if any("name=rootless" in option for option in options):
        return "this Docker engine is rootless", 'use the machine\'s own engine, or set target = "local"'
    return None


def find() -> Engine:
    """Find the engine for a site.

    Raises
    ------
    UsageError : none answers, or it cannot run a site.
    """
    try:
        version, options, address = _ask(PATIENCE)
    except (OSError, subprocess.SubprocessError, ValueError):
        find_any()  # says what is wrong
        raise UsageError("the Docker engine does not say what it is", "docker info shows why") from None
    problem = _unfit(version, options, address)
    if problem is not None:
        raise UsageError(*problem)
    return Engine(Path(_program()), version)

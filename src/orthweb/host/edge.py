"""The edge of this host as the load balancer and the network see it: whether it takes work, and how it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import httpx

from orthweb.errors import OrthwebError
from orthweb.targets.host import rolling

NOTICED: Final = 35.0
"""Seconds in which a load balancer asks three times, one every ten, and finds a host that does not want more."""

PATIENCE: Final = 300.0
"""So long what was begun may go on: what the load balancer gives it, too."""


def _tell(admin: Path, path: str) -> None:
    transport = httpx.HTTPTransport(uds=str(admin))
    try:
        with httpx.Client(transport=transport, base_url="http://edge", timeout=5) as client:
            client.post(path).raise_for_status()
    except httpx.HTTPError as error:
        raise OrthwebError(f"the edge does not take {path}: {str(error) or type(error).__name__}") from error


def drain(
    admin: Path,
    where: Collection[str],
    report: Callable[[str], None],
    noticed: float = NOTICED,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Let /healthz say 503, and wait until nothing is open any more.

    Parameters
    ----------
    admin : Envoy's administration socket.
    where : addresses of the archive's processes.
    noticed : seconds after which nobody sends anything new.
    patience : seconds after which what is open is no longer waited for.
    sleep : waits; what it raises ends the wait.
    """
    _tell(admin, "/healthcheck/fail")
    sleep(noticed)
    deadline = time.monotonic() + patience
    while (found := rolling.load(admin, where)) and time.monotonic() < deadline:
        report(f"waiting for {found} to end")
        sleep(min(5.0, noticed or 0.1))


def undrain(admin: Path) -> None:
    """Let /healthz say what is so again. An edge that was restarted meanwhile does that anyway."""
    _tell(admin, "/healthcheck/ok")

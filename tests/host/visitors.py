"""People and modalities on the network of a world: they know the site's name, its CA and a login, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from host.network import Network
from host.world import World
from live.counting import TIMEOUTS, client
from orthweb.access import CertificatePair, Credentials, SiteAccess
from orthweb.dicom.association import associate
from orthweb.dicom.peer import Peer
from orthweb.errors import OrthwebError

CHECKS = """
import json, sys
from pathlib import Path
from orthweb.access import CertificatePair, Credentials, SiteAccess
from orthweb.checks import catalogue
from orthweb.checks.context import Context
from orthweb.checks.runner import run

given = json.load(sys.stdin)
given["ca"] = Path(given["ca"])
given["credentials"] = Credentials(**given["credentials"])
given["client"] = CertificatePair(*map(Path, given["client"]))
found = run(catalogue.select((), ()), Context(SiteAccess(**given)))
print(json.dumps([[each.id, each.status, each.evidence] for each in found]))
"""


@contextmanager
def resolving(network: Network) -> Iterator[None]:
    """Let this process find the names of a network, as a machine on it does."""
    former = socket.getaddrinfo

    def find(host: Any, *arguments: Any, **named: Any) -> Any:
        return former(network.lookup(host) or host, *arguments, **named)

    with patch("socket.getaddrinfo", find):
        yield


def access(world: World, folder: Path) -> SiteAccess:
    """Give how to reach the site, as `orthweb up` takes it from the account's secrets."""
    folder.mkdir(mode=0o700, exist_ok=True)
    tls, admin, shared = world.secret("tls"), world.secret("admin"), world.secret("site")
    for name in ("site-ca.pem", "check.pem", "check.key"):
        path = folder / name
        path.touch(0o600)
        path.write_text(tls[name])
    return SiteAccess(
        name=world.name,
        host=world.hostname,
        https_port=443,
        dicom_port=11112,
        aet="ORTHANC",
        ca=folder / "site-ca.pem",
        credentials=Credentials(admin["username"], admin["password"]),
        client=CertificatePair(folder / "check.pem", folder / "check.key"),
        check_aet=shared["check_aet"],
    )


def validate(access: SiteAccess, namespace: str) -> dict[str, tuple[str, str]]:
    """Run all checks from a namespace; give status and evidence by the check's id."""
    assert access.client is not None
    given = {
        **{name: getattr(access, name) for name in ("name", "host", "https_port", "dicom_port", "aet", "check_aet")},
        "ca": str(access.ca),
        "credentials": {"user": access.credentials.user, "password": access.credentials.password},
        "client": [str(access.client.certificate), str(access.client.key)],
    }
    words = ["ip", "netns", "exec", namespace, sys.executable, "-c", CHECKS]
    done = subprocess.run(
        words, input=json.dumps(given), capture_output=True, text=True, env=os.environ, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {name: (status, evidence) for name, status, evidence in json.loads(done.stdout)}


class Asking:
    """Queries and echoes, one after the other, over connections of their own, with what failed."""

    def __init__(self, access: SiteAccess) -> None:
        self.count = 0
        self.failures: list[str] = []
        self._access = access
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in (self._query, echo)]

    def __str__(self) -> str:
        """Sum up."""
        return f"{self.count} answered, {len(self.failures)} failed: {self.failures[:5]}"

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request hangs"

    def _run(self, ask: Callable[[SiteAccess], None]) -> None:
        while not self._ended.is_set():
            try:
                ask(self._access)
                self.count += 1
            except (OrthwebError, httpx.HTTPError, OSError) as error:
                self.failures.append(f"{datetime.now(UTC):%H:%M:%S} {ask.__name__}: {error!r}")
            self._ended.wait(0.1)

    def _query(self, access: SiteAccess) -> None:
        with client(access, timeout=30) as http:
            for path in ("/dicom-web/studies", "/statistics"):
                http.get(path).raise_for_status()


def echo(access: SiteAccess) -> None:
    """Ask the archive whether it is there (C-ECHO)."""
    with associate(Peer.of_site(access, timeouts=TIMEOUTS), [build_context(Verification)]) as association:
        status = association.send_c_echo()
        if "Status" not in status or status.Status != 0:
            raise OSError(f"C-ECHO: {status}")


class Held:
    """An association that stays open, with an echo each second."""

    def __init__(self, access: SiteAccess) -> None:
        self.failure = ""
        self._access = access
        self._open = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._open.wait(30), self.failure or "no association"

    def finish(self) -> None:
        """Release it."""
        self._ended.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "an echo hangs"

    def _run(self) -> None:
        try:
            with associate(Peer.of_site(self._access, timeouts=TIMEOUTS), [build_context(Verification)]) as association:
                while True:
                    status = association.send_c_echo()
                    if "Status" not in status or status.Status != 0:
                        raise OSError(f"C-ECHO: {status}")
                    self._open.set()
                    if self._ended.wait(1):
                        return
        except (OrthwebError, OSError, RuntimeError, ValueError) as error:
            self.failure = f"{datetime.now(UTC):%H:%M:%S} {error!r}"


@contextmanager
def asking(access: SiteAccess) -> Iterator[Asking]:
    """Ask all the time while the block runs."""
    made = Asking(access)
    made.start()
    try:
        yield made
    finally:
        made.finish()

"""What the benchmarks measure: sites of their own on free ports, and Orthanc alone, without an edge."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from orthweb.access import Credentials, SiteAccess
from orthweb.render import orthanc
from orthweb.render.supervisor import Service, command
from orthweb.targets import open_site
from orthweb.targets.local import LocalTarget, accounts
from orthweb.targets.local.ports import is_free

START_SECONDS = 60.0
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Endpoint:
    """Where a benchmark sends DICOM and HTTP.

    Parameters
    ----------
    name : the label in the tables: direct or edge.
    ca : PEM file of the CA to trust; None: neither DICOM nor HTTP speaks TLS.
    """

    name: str
    host: str
    dicom_port: int
    aet: str
    url: str
    credentials: Credentials
    ca: Path | None = None

    def client(self, timeout: float = 60.0) -> httpx.Client:
        """Give an HTTP client that is signed in."""
        import ssl

        verify = ssl.create_default_context(cafile=str(self.ca)) if self.ca else True
        login = httpx.BasicAuth(self.credentials.user, self.credentials.password)
        return httpx.Client(base_url=self.url, verify=verify, auth=login, timeout=timeout, trust_env=False)

    def instances(self) -> int:
        """Count the stored instances."""
        with self.client() as client:
            return int(client.get("/statistics").raise_for_status().json()["CountInstances"])


def free_port() -> int:
    """Give a port that nobody listens on, outside the range that sites choose internal ports from."""
    while True:
        port = random.randint(15000, 19999)
        if is_free(port):
            return port


class BenchmarkSite:
    """A site in a folder of its own, with the verbs as a person calls them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "site.toml"
        self.https_port, self.dicom_port = free_port(), free_port()
        self.file.write_text(f"[edge]\nhttps_port = {self.https_port}\ndicom_port = {self.dicom_port}\n")

    @property
    def target(self) -> LocalTarget:
        """The target behind the verbs."""
        target = open_site(self.file)
        assert isinstance(target, LocalTarget)
        return target

    @property
    def access(self) -> SiteAccess:
        """How to reach the running site."""
        return self.target.access()

    def start(self, verb: str) -> subprocess.Popen[str]:
        """Call a verb and do not wait for it."""
        words = [sys.executable, "-m", "orthweb", "--site", str(self.file), verb]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def orthweb(self, verb: str) -> None:
        """Call a verb and wait.

        Raises
        ------
        RuntimeError : it failed; gives its words.
        """
        process = self.start(verb)
        said, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"orthweb {verb} failed: {said}")

    @property
    def edge(self) -> Endpoint:
        """The way in that users have: TLS, through the edge."""
        access = self.access
        return Endpoint(
            "edge", access.host, access.dicom_port, access.aet, access.url, access.credentials, Path(access.ca)
        )

    @property
    def behind_edge(self) -> Endpoint:
        """The same archive without the edge, for HTTP (its DICOM port wants the edge's certificate)."""
        return _inside(self.target.state.archive / "configuration")


def _inside(configuration: Path) -> Endpoint:
    """Read where Orthanc listens on the loopback address, and the edge's credential, from its configuration folder."""
    found = json.loads((configuration / "orthanc.json").read_text())
    [(user, password)] = json.loads((configuration / "users.json").read_text())["RegisteredUsers"].items()
    return Endpoint(
        name="direct",
        host="127.0.0.1",
        dicom_port=int(found["DicomPort"]),
        aet=str(found["DicomAet"]),
        url=f"http://127.0.0.1:{found['HttpPort']}",
        credentials=Credentials(user, password),
    )


@contextmanager
def site(*, up: bool = True) -> Iterator[BenchmarkSite]:
    """Give a site, brought up unless told otherwise; stop it and delete its folder afterwards.

    The folder is one that the services' users can reach, on a real disk.
    """
    folder = Path(tempfile.mkdtemp(prefix="orthweb-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    made = BenchmarkSite(folder)
    try:
        if up:
            made.orthweb("up")
        yield made
    finally:
        made.target.down()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def plain_archive() -> Iterator[Endpoint]:
    """Give an Orthanc that differs from a site's in one thing: it speaks DICOM without TLS, and no edge is before it.

    It has a PostgreSQL index of its own, reached over verified TLS as in a site.
    """
    with site() as made:
        target = made.target
        target.place.supervisor.stop("edge", "archive")
        account = accounts.ensure().archive
        configuration = target.state.archive / "configuration"
        found = json.loads((configuration / "orthanc.json").read_text())
        plain = target.state.archive / "plain"
        plain.mkdir(mode=0o700)
        (plain / "orthanc.json").write_text(json.dumps(found | {"DicomTlsEnabled": False}))
        shutil.copy2(configuration / "users.json", plain)
        if account is not None:
            for path in (plain, *plain.iterdir()):
                os.chown(path, account.uid, account.gid)
        build = target.place.programs
        service = Service(
            name="archive",
            command=[str(build.orthanc.program), str(plain)],
            account=account,
            stop_signal="TERM",
            death_signal="TERM",
            order=0,
        )
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **orthanc.ENVIRONMENT}
        with (target.state.logs / "plain.log").open("w") as log:
            process = subprocess.Popen(
                command(service, build.setpriv), env=environment, cwd="/", stdout=log, stderr=subprocess.STDOUT
            )
        try:
            endpoint = _inside(plain)
            _await(endpoint, process)
            yield endpoint
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _await(endpoint: Endpoint, process: subprocess.Popen[bytes]) -> None:
    """Wait until an archive answers on both ports."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError, OSError):
            endpoint.instances()
            with socket.create_connection((endpoint.host, endpoint.dicom_port), timeout=1):
                return
        time.sleep(0.05)
    raise RuntimeError("Orthanc without an edge does not answer")

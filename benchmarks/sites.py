"""What the benchmarks measure: sites of their own on free ports, and Orthanc alone, without an edge."""

from __future__ import annotations

import json
import os
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from orthweb.access import Credentials, SiteAccess
from orthweb.render import orthanc
from orthweb.render.supervisor import Account, Service, command
from orthweb.targets import open_site
from orthweb.targets.host import accounts
from orthweb.targets.local import LocalTarget
from orthweb.targets.local.ports import is_free, listening

START_SECONDS = 30.0
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Endpoint:
    """Where a benchmark sends DICOM and HTTP.

    Parameters
    ----------
    name : the label in the tables: direct or edge.
    ca : PEM file of the CA to trust; None: nothing speaks TLS.
    dicom_tls : whether DICOM speaks TLS.
    """

    name: str
    host: str
    dicom_port: int
    aet: str
    url: str
    credentials: Credentials
    ca: Path | None = None
    dicom_tls: bool = False

    def client(self, timeout: float = 60.0) -> httpx.Client:
        """Give an HTTP client that is signed in."""
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
    """A site in a folder of its own, with the verbs as a person calls them.

    Parameters
    ----------
    text : more of the site file: tables besides [edge].
    """

    def __init__(self, folder: Path, text: str = "") -> None:
        self.folder = folder
        self.file = folder / "site.toml"
        self.https_port, self.dicom_port = free_port(), free_port()
        self.file.write_text(
            f'target = "local"\n[edge]\nhttps_port = {self.https_port}\ndicom_port = {self.dicom_port}\n{text}'
        )

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
            name="edge",
            host=access.host,
            dicom_port=access.dicom_port,
            aet=access.aet,
            url=access.url,
            credentials=access.credentials,
            ca=access.ca,
            dicom_tls=True,
        )

    @property
    def behind_edge(self) -> Endpoint:
        """The Orthanc that answers queries and retrieval, without the edge."""
        endpoints = self.target.place.kept_endpoints()
        return _inside((endpoints.readers or endpoints.writers)[0].configuration)


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
def site(text: str = "", *, up: bool = True) -> Iterator[BenchmarkSite]:
    """Give a site, brought up unless told otherwise; stop it and delete its folder afterwards.

    `text` is more of the site file: tables besides [edge].

    The folder is one that the services' users can reach, on a real disk.
    """
    folder = Path(tempfile.mkdtemp(prefix="orthweb-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    made = BenchmarkSite(folder, text)
    try:
        if up:
            made.orthweb("up")
        yield made
    finally:
        made.target.down()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def archive_alone() -> Iterator[Endpoint]:
    """Give an Orthanc without an edge, which speaks DICOM without TLS and is configured as in a site in all else.

    It has a PostgreSQL index of its own, reached over verified TLS as in a site.
    """
    with site() as made:
        place = made.target.place
        place.supervisor.stop("edge", "archive")
        account = accounts.ensure().archive
        configuration = place.state.archive / "configuration"
        found = json.loads((configuration / "orthanc.json").read_text())
        alone = place.state.archive / "alone"
        alone.mkdir(mode=0o700)
        # The site's own HTTP port may be one that needs a capability.
        differing = {"DicomTlsEnabled": False, "HttpPort": free_port()}
        (alone / "orthanc.json").write_text(json.dumps(found | differing))
        shutil.copy2(configuration / "users.json", alone)
        _give([alone, *alone.iterdir()], account)
        words = [str(place.programs.orthanc.program), str(alone)]
        endpoint = _inside(alone)
        with _running(made, "archive", words, account, [endpoint.dicom_port, differing["HttpPort"]]):
            await_answer(endpoint)
            yield endpoint


@contextmanager
def edge_without_tls(made: BenchmarkSite) -> Iterator[Endpoint]:
    """Give a second edge before a site's archive that differs in one thing: it speaks HTTP without TLS."""
    place = made.target.place
    account = accounts.ensure().edge
    config = json.loads((place.state.edge / "envoy.json").read_text())
    [https] = [each for each in config["static_resources"]["listeners"] if each["name"] == "https"]
    config["static_resources"]["listeners"] = [https]
    del https["filter_chains"][0]["transport_socket"], config["admin"]
    port = free_port()
    https["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    path = place.state.edge / "without-tls.json"
    path.write_text(json.dumps(config))
    _give([path], account)
    # The same options as the site's own: threads above all.
    words = psutil.Process(int(place.supervisor.services()["edge"]["pid"])).cmdline()
    words[words.index("-c") + 1] = str(path)
    edge = made.edge
    endpoint = replace(edge, name="edge without TLS", host="127.0.0.1", url=f"http://127.0.0.1:{port}", ca=None)
    with _running(made, "edge", words, account, [port]):
        await_answer(endpoint)
        yield endpoint


def _give(paths: Sequence[Path], account: Account | None) -> None:
    if account is not None:
        for path in paths:
            os.chown(path, account.uid, account.gid)


@contextmanager
def _running(
    made: BenchmarkSite, name: str, words: Sequence[str], account: Account | None, ports: Sequence[int]
) -> Iterator[None]:
    """Run a program as the site's supervisor would, until the block ends; it listens on `ports` when that begins.

    Raises
    ------
    RuntimeError : it does not; gives the end of its log.
    """
    service = Service(name, words, account, stop_signal="TERM", death_signal="TERM", order=0)
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    if name == "archive":
        environment |= orthanc.ENVIRONMENT
    place = made.target.place
    path = place.state.logs / f"{name}-alone.log"
    with path.open("w") as log:
        process = subprocess.Popen(
            command(service, place.programs.setpriv), env=environment, cwd="/", stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while set(listening(ports)) != set(ports):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{name} does not start: {path.read_text()[-1000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def await_answer(endpoint: Endpoint) -> None:
    """Wait until an archive answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            endpoint.instances()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)

"""The agent of an AWS host on this machine: a real engine, a real database; the emulator is its account."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from aws.emulator import Emulator, emulator
from live.counting import account, samples, sending
from live.docker_engine import DockerEngine
from live.metadata_service import INSTANCE, metadata_service
from live.postgresql_server import MASTER, PostgresqlServer, postgresql_server
from live.sites import free_port
from orthweb.image import reference
from orthweb.sitefile import load
from orthweb.targets.docker import DockerTarget
from orthweb.verification import client_context

pytestmark = pytest.mark.usefixtures("docker_host", "images")

REGION = "eu-central-1"
SECRETS = ("admin", "certificate", "index", "site", "tls")


def own_address() -> str:
    """Give an address of this machine that its containers reach."""
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family == socket.AF_INET and name != "lo" and not name.startswith(("docker", "br-", "orthweb")):
                return str(entry.address)
    pytest.fail("this machine has no address but its loopback's")


@dataclass
class Host:
    """A host of the site: its folders, its account, its engine."""

    folder: Path
    aws: Emulator
    server: PostgresqlServer
    environment: dict[str, str]
    https: int
    dicom: int

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def file(self) -> Path:
        return self.run / "site.toml"

    def put(self, name: str, value: object) -> None:
        """Say what Terraform says in a parameter."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.aws.client("ssm", REGION).put_parameter(
            Name=f"/orthweb/pacs/{name}", Value=text, Type="String", Overwrite=True
        )

    def deploy(self, **values: object) -> None:
        """Say what was made in the account."""
        found = {
            "region": REGION,
            "topology": "single",
            "public_name": "pacs.example.org",
            "store": "database",
            "database_identifier": "pacs-index",
            "log_groups": {},
            "rotation_days": 30,
            "rds_ca": "rds-ca.pem",
            "ports": {"https": self.https, "dicom": self.dicom, "health": self.https},
        }
        self.put("deployment", found | values)

    def once(self, *, check: bool = True) -> str:
        """Let the agent do one round; give what it said."""
        words = [sys.executable, "-m", "orthweb", "host", "once", "--settings", str(self.folder / "host.json")]
        words += ["--run", str(self.run), "--kept", str(self.folder / "kept")]
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment, check=False, timeout=300)
        assert "Traceback" not in done.stderr, done.stderr
        assert (done.returncode == 0) is check, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def status(self) -> dict[str, Any]:
        """What the host says of itself."""
        found = self.aws.client("ssm", REGION).get_parameter(Name=f"/orthweb/pacs/hosts/{INSTANCE}")
        return dict(json.loads(found["Parameter"]["Value"]))

    def secret(self, name: str) -> dict[str, str]:
        found = self.aws.client("secretsmanager", REGION).get_secret_value(SecretId=f"orthweb/pacs/{name}")
        return dict(json.loads(found["SecretString"]))

    @property
    def target(self) -> DockerTarget:
        return DockerTarget(load(self.file), self.run)

    def get(self, path: str) -> httpx.Response:
        """Ask the edge as the administrator of the account's secret."""
        admin = self.secret("admin")
        return httpx.get(
            f"https://localhost:{self.https}{path}",
            verify=client_context(self.target.access().ca),
            auth=(admin["username"], admin["password"]),
            trust_env=False,
            timeout=20,
        )

    def containers(self) -> dict[str, Any]:
        return {name: (state.pid, state.started) for name, state in self.target.place.states().items()}


@contextmanager
def new_host(aws: Emulator, server: PostgresqlServer, docker: DockerEngine, metadata: str) -> Iterator[Host]:
    folder = Path(tempfile.mkdtemp(prefix="orthweb-host-", dir="/var/tmp"))
    folder.chmod(0o711)
    settings = {"name": "pacs", "region": REGION, "prefix": "/orthweb/pacs"}
    (folder / "host.json").write_text(json.dumps(settings))
    environment = os.environ | aws.environment(REGION) | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}
    https = free_port()
    made = Host(folder, aws, server, environment, https, free_port(besides=https))
    try:
        yield made
    finally:
        if made.file.exists():
            made.target.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    address = own_address()
    with postgresql_server(host=address, address=f"{address},127.0.0.1") as made:
        yield made


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, server: PostgresqlServer) -> Iterator[Emulator]:
    """Give the account as Terraform leaves it: empty secrets, parameters, and no database yet."""
    with emulator(tmp_path_factory.mktemp("aws")) as made:
        for name in SECRETS:
            made.client("secretsmanager", REGION).create_secret(Name=f"orthweb/pacs/{name}")
        yield made


@pytest.fixture(scope="module")
def host(
    aws: Emulator, server: PostgresqlServer, docker_engine: DockerEngine, docker_host: str, images: dict[str, Any]
) -> Iterator[Host]:
    with metadata_service() as metadata, new_host(aws, server, docker_engine, metadata) as made:
        made.put("site", '[dicom]\naet = "PACS"\n')
        made.put("files/rds-ca.pem", server.ca.read_text())
        made.put("images", {"archive": reference("archive"), "edge": reference("edge"), "ops": reference("ops")})
        made.deploy()
        yield made


def make_database(host: Host) -> None:
    """Let RDS have made the database, whose master's password is in a secret of its own."""
    rds = host.aws.client("rds", REGION)
    rds.create_db_instance(
        DBInstanceIdentifier="pacs-index", DBInstanceClass="db.t4g.medium", Engine="postgres", Port=5432,
        MasterUsername=MASTER, ManageMasterUserPassword=True, AllocatedStorage=50,
    )  # fmt: skip
    (found,) = rds.describe_db_instances(DBInstanceIdentifier="pacs-index")["DBInstances"]
    login = {"username": MASTER, "password": host.server.master_password}
    host.aws.client("secretsmanager", REGION).put_secret_value(
        SecretId=found["MasterUserSecret"]["SecretArn"], SecretString=json.dumps(login)
    )
    host.aws.database("pacs-index", address=host.server.host, port=host.server.port, status="available")


def test_host_without_a_database_waits_for_it(host: Host) -> None:
    host.once(check=False)
    assert host.status["state"] == "waiting-for-database"
    assert host.status["message"] == "database pacs-index: is not there yet"


def test_host_then_serves_with_what_it_made_for_all(host: Host) -> None:
    make_database(host)
    host.once()
    assert host.status["state"] == "ready", host.status
    assert host.get("/system").json()["DicomAet"] == "PACS"
    assert set(host.secret("tls")) >= {"site-ca.pem", "site-ca.key", "edge-ecdsa.pem", "check.key"}
    rights = host.server.as_owner("SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'orthanc'")
    assert rights == [(False, False, False)]


def test_site_of_the_host_passes_validation(host: Host) -> None:
    words = [sys.executable, "-m", "orthweb", "--site", str(host.file), "validate"]
    done = subprocess.run(words, capture_output=True, text=True, env=host.environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_secret_is_where_others_look(host: Host, docker_engine: DockerEngine) -> None:
    values = [host.secret("admin")["password"], host.secret("index")["password"], host.server.master_password]
    ids = docker_engine.docker("ps", "--quiet").split()
    seen = docker_engine.docker("inspect", *ids) + json.dumps(host.status)
    seen += "".join(docker_engine.docker("logs", each) for each in ids)
    seen += host.file.read_text()
    assert [value for value in values if value in seen] == []
    kept = [path.name for path in (host.folder / "kept").rglob("*") if path.is_file()]
    assert kept == []


def test_unchanged_host_is_left_alone(host: Host) -> None:
    before = host.containers()
    host.once()
    assert host.containers() == before


def test_emptied_secret_gets_back_what_it_held(host: Host) -> None:
    before = host.secret("admin")
    host.aws.client("secretsmanager", REGION).put_secret_value(SecretId="orthweb/pacs/admin", SecretString="{}")
    host.once()
    assert host.secret("admin") == before
    assert host.get("/system").status_code == 200


def test_changed_parameter_is_applied(host: Host) -> None:
    host.put("site", '[dicom]\naet = "OTHER"\n')
    host.once()
    assert host.get("/system").json()["DicomAet"] == "OTHER"


def test_wrong_parameter_is_said_and_the_site_goes_on(host: Host) -> None:
    before = host.containers()
    host.put("site", '[dicom]\naet = "MUCH TOO LONG FOR AN AE TITLE"\n')
    host.once(check=False)
    assert host.status["state"] == "failed"
    assert "dicom.aet" in host.status["message"]
    assert host.containers() == before
    host.put("site", '[dicom]\naet = "OTHER"\n')
    host.once()
    assert host.status["state"] == "ready"


def test_password_that_somebody_wants_changed_is_changed_while_images_come_in(host: Host, tmp_path: Path) -> None:
    before = host.containers()
    current = host.secret("index")
    host.aws.client("secretsmanager", REGION).put_secret_value(
        SecretId="orthweb/pacs/index",
        SecretString=json.dumps(current | {"password": "Wanted0By0Somebody"}),
        VersionStages=["AWSPENDING"],
    )
    sent = samples(tmp_path, 60, seed="rotation on a host")
    from orthweb.dicom.peer import Peer, Timeouts

    peer = Peer.of_site(host.target.access(), timeouts=Timeouts(5, 20, 15))
    with sending(peer, sent) as books:
        books.wait_for(10)
        host.once()
        host.server.as_owner("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'orthanc'")
    from live.counting import client

    found = account(client(host.target.access()), sent, books.acknowledged)
    assert found.kept, found
    assert found.acknowledged == len(sent), books
    assert host.containers() == before


def test_host_that_rebooted_serves_again_with_the_same_certificate_and_images(
    host: Host, docker_engine: DockerEngine
) -> None:
    authority, before = host.secret("tls")["site-ca.pem"], host.get("/statistics").json()["CountInstances"]
    docker_engine.docker("kill", *docker_engine.docker("ps", "--quiet").split())
    shutil.rmtree(host.run)  # it was in memory
    host.once()
    assert host.secret("tls")["site-ca.pem"] == authority
    assert host.get("/statistics").json()["CountInstances"] == before

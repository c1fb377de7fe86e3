"""Images on their way to a site's own repositories: a real engine, a real registry that wants ECR's login."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aws.emulator import ACCOUNT, REGION, Emulator, emulator
from live.docker_engine import DockerEngine
from live.sites import free_port
from orthweb import image
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError
from orthweb.image.engine import Engine
from orthweb.site import Site
from orthweb.targets.aws import images

TOKEN = f"{ACCOUNT}-auth-token"
"""The emulator's login; below its bcrypt hash, which is what the registry keeps."""

PASSWORDS = "AWS:$2b$04$LT1myDxedpVNlRkz68eyruTxSvlUnpuz8T2TUSUrW8tQit3BYRM92\n"
CONFIGURATION = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: ecr, path: {passwords}}}}}
"""
ROLES: tuple[image.Role, ...] = ("archive", "ops")


@pytest.fixture(scope="module")
def registry(folder: Path, program: Callable[[str], Path]) -> Iterator[str]:
    """The address of a registry that asks for the login."""
    port = free_port()
    (folder / "passwords").write_text(PASSWORDS)
    configuration = CONFIGURATION.format(folder=folder / "blobs", port=port, passwords=folder / "passwords")
    (folder / "registry.yml").write_text(configuration)
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program("docker-registry"), "serve", folder / "registry.yml"], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert process.poll() is None, (folder / "registry.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def account(folder: Path, registry: str) -> Iterator[Emulator]:
    """An account whose registry that is."""
    with emulator(folder / "emulator") as aws, pytest.MonkeyPatch.context() as patch:
        aws.registry(registry)
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        yield aws


@pytest.fixture
def engine(docker_engine: DockerEngine) -> Engine:
    """An engine with images of these names, of one small file each."""
    for role in ROLES:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            member = tarfile.TarInfo("role")
            member.size = len(role)
            archive.addfile(member, io.BytesIO(role.encode()))
        path = docker_engine.folder / f"{role}.tar"
        path.write_bytes(content.getvalue())
        docker_engine.engine.load(path, image.reference(role))
    return docker_engine.engine


def make(account: Emulator, name: str) -> None:
    for role in ROLES:
        account.client("ecr").create_repository(repositoryName=f"{name}/{role}")


def tags(registry: str, name: str) -> list[str]:
    import httpx

    found = httpx.get(f"http://{registry}/v2/{name}/tags/list", auth=("AWS", TOKEN), trust_env=False)
    return list(found.json().get("tags") or []) if found.status_code == 200 else []


def test_push_when_the_repositories_come_later_then_waits_and_pushes_with_a_sign_in_of_its_own(
    account: Emulator, registry: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "POLL", 0.1)
    monkeypatch.setenv("HOME", str(tmp_path))
    lines: list[str] = []
    arguments: set[bytes] = set()
    done = threading.Event()

    def work() -> None:
        images.push(Session(REGION), engine, Site(name="first"), list(ROLES), "1.0", lines.append, threading.Event())
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    assert lines == []
    make(account, "first")
    while not done.wait(0.01) and thread.is_alive():
        arguments |= command_lines()
    thread.join()
    assert [line.split(" (")[0] for line in lines if line.startswith("pushed")] == [
        "pushed image archive",
        "pushed image ops",
    ]
    assert {role: tags(registry, f"first/{role}") for role in ROLES} == {role: ["1.0"] for role in ROLES}
    assert not any(TOKEN.encode() in line for line in arguments)
    assert not (tmp_path / ".docker").exists()
    assert not [name for name in json.loads(names(engine)) if registry in name]


def command_lines() -> set[bytes]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes())
        except OSError:
            continue
    return found


def names(engine: Engine) -> str:
    lines = engine.run("image", "ls", "--format", "{{.Repository}}").split()
    return json.dumps(lines)


def test_push_when_the_repositories_will_not_come_then_ends(account: Emulator, engine: Engine) -> None:
    stop = threading.Event()
    stop.set()
    images.push(Session(REGION), engine, Site(name="never"), list(ROLES), "1.0", lambda _: None, stop)


def test_push_when_the_registry_refuses_then_names_the_image(
    account: Emulator, engine: Engine, folder: Path, registry: str
) -> None:
    make(account, "third")
    account.registry("127.0.0.1:1")
    try:
        with pytest.raises(OrthwebError, match=r"127\.0\.0\.1:1"):
            images.push(
                Session(REGION), engine, Site(name="third"), list(ROLES), "1.0", lambda _: None, threading.Event()
            )
    finally:
        account.registry(registry)
    assert os.environ["AWS_ENDPOINT_URL"] == account.url


def test_lacking_when_a_repository_or_a_tag_is_not_there_then_names_the_role(account: Emulator) -> None:
    assert images.lacking(Session(REGION), Site(name="fourth"), "1.0") == ["archive", "edge", "ops"]
    make(account, "fourth")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    account.client("ecr").put_image(repositoryName="fourth/archive", imageManifest=json.dumps(manifest), imageTag="1.0")
    assert images.lacking(Session(REGION), Site(name="fourth"), "1.0") == ["edge", "ops"]

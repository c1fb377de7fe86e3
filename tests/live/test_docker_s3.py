"""A site in containers whose images lie in a bucket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from live.counting import account, data_set, samples, sending
from live.docker_engine import DockerEngine
from live.docker_sites import DockerSite, docker_site
from live.s3_server import S3Server, s3_server

pytestmark = pytest.mark.usefixtures("docker_host", "images")


@pytest.fixture(scope="module")
def place(
    docker_host: str, images: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DockerSite, S3Server]]:
    """A site in containers, and the S3 server that it reaches at this machine's address in its network."""
    with docker_site(store={"kind": "filesystem"}) as site:
        gateway = site.target.place.kept_layout().addresses.gateway
        folder = tmp_path_factory.mktemp("s3")
        with s3_server(folder, host=gateway, names=[gateway]) as s3:
            site.write(
                store={"kind": "s3"},
                s3={
                    "bucket": s3.bucket,
                    "region": s3.region,
                    "endpoint": f"https://{gateway}:{s3.port}",
                    "ca": str(s3.ca),
                    "credentials": str(s3.credentials),
                    "encryption": "s3",
                    "root": "images/",
                },
            )
            site.orthweb("up")
            yield site, s3


def test_instance_when_acknowledged_then_is_in_the_bucket_as_it_was_sent_and_encrypted_as_asked(
    place: tuple[DockerSite, S3Server], tmp_path: Path
) -> None:
    site, s3 = place
    sent = samples(tmp_path, 20, seed="bucket")
    with sending(site, sent) as books:
        pass
    assert len(books.acknowledged) == len(sent), books
    objects = {key: s3.read(key) for key in s3.keys("images/") if key.endswith(".dcm")}
    wanted = {hashlib.sha256(data_set(sample.content)).digest() for sample in sent}
    assert {hashlib.sha256(data_set(body)).digest() for body in objects.values()} == wanted
    puts = [each for each in s3.seen("PUT") if each.key.endswith(".dcm")]
    assert {each.headers.get("x-amz-server-side-encryption") for each in puts} == {"AES256"}
    server = json.loads((site.state / "archive/configuration/orthanc.json").read_text())["Orthweb"]["S3"]["Endpoint"]
    anonymous = httpx.get(f"{server}/{s3.bucket}/{next(iter(objects))}", verify=str(s3.ca), trust_env=False)
    assert anonymous.status_code == 403
    found = account(site, sent, books.acknowledged)
    assert found.kept, found


def test_site_with_a_bucket_then_passes_its_checks_and_shows_the_credentials_nowhere(
    place: tuple[DockerSite, S3Server], docker_engine: DockerEngine
) -> None:
    site, s3 = place
    report = json.loads(site.orthweb("validate", "--json", check=False).stdout)
    assert [(each["id"], each["evidence"]) for each in report["checks"] if each["status"] == "fail"] == []
    secret = next(line.split("=")[1].strip() for line in s3.credentials.read_text().splitlines() if "secret" in line)
    names = docker_engine.docker("ps", "--quiet").split()
    assert secret not in docker_engine.docker("inspect", *names)
    assert secret not in site.target.place.compose_file.read_text()


def test_archive_when_killed_while_it_takes_images_in_then_all_that_was_acknowledged_is_in_the_bucket(
    place: tuple[DockerSite, S3Server], docker_engine: DockerEngine, tmp_path: Path
) -> None:
    site, _ = place
    sent = samples(tmp_path, 60, seed="bucket killed")
    with sending(site, sent) as books:
        books.wait_for(20)
        docker_engine.docker("kill", "--signal", "KILL", site.container("archive"))
        docker_engine.docker("start", site.container("archive"))
    found = account(site, sent, books.acknowledged)
    assert found.kept, found
    assert found.acknowledged == len(sent), books

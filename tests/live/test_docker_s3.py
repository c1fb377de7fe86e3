"""A site in containers whose images lie in a bucket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from live.counting import account, answers, client, data_set, eventually, samples, sending
from live.docker_engine import DockerEngine
from live.docker_sites import DockerIndex, DockerSite, docker_site
from live.lost_answers import assert_nothing_is_lost
from live.s3_server import S3Server, s3_server
from live.stores import digests, kill, read_until, stored_files, unfinished

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
    objects = {key: s3.read(key) for key in s3.images("images/") if key.endswith(".dcm")}
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


def test_image_when_the_answer_to_its_commit_is_lost_then_it_is_there_after_the_next_success(
    place: tuple[DockerSite, S3Server], docker_engine: DockerEngine
) -> None:
    site, _ = place
    assert_nothing_is_lost(site.access, DockerIndex(site, docker_engine))


def test_upload_when_the_bucket_takes_nothing_then_503_with_the_time_of_the_next_try(
    place: tuple[DockerSite, S3Server], tmp_path: Path
) -> None:
    site, s3 = place
    [sample] = samples(tmp_path, 1, seed="bucket refuses")
    with client(site.access) as http, s3.fault(status=403, code="AccessDenied", methods={"PUT"}):
        # For a second the archive believes what it knew of the bucket before: then Orthanc fails itself.
        eventually(lambda: "retry-after" in http.post("/instances", content=sample.content).headers, 10, "never said")
        answer = http.post("/dicom-web/studies", content=b"none of it is read", headers={"content-type": "text/plain"})
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)


def test_images_when_moved_to_a_folder_and_back_killed_twice_on_the_way_then_each_is_bit_identical(
    place: tuple[DockerSite, S3Server], tmp_path: Path
) -> None:
    site, s3 = place
    sent = samples(tmp_path / "small", 40, seed="moved") + samples(tmp_path / "large", 1, seed="large", size=20_000_000)
    with sending(site, sent) as books:
        pass
    assert len(books.acknowledged) == len(sent), books
    before = digests(site, sent)
    in_bucket = site.file.read_text()

    site.file.write_text(in_bucket.replace('kind = "s3"', 'kind = "filesystem"'))
    done = json.loads(site.orthweb("store", "migrate", "--to", "filesystem", "--delete-source", "--json").stdout)
    orphans = s3.images()  # what was being stored when the archive was killed
    assert (done["switched"], done["left"]) == (True, len(orphans))
    assert done["deleted"] == done["verified"] >= len(sent)
    assert digests(site, sent) == before
    assert unfinished(site) is None

    # Killed while it copies, and once more when it has just begun to stop the containers.
    site.file.write_text(in_bucket)
    s3.latency = 0.05
    process = site.start("store", "migrate", "--to", "s3")
    eventually(lambda: len(s3.images()) >= len(orphans) + 10, 60, "nothing is copied")
    kill(process)
    s3.latency = 0
    told = unfinished(site)
    assert told is not None
    assert told["to"] == "s3"
    assert told["verified"] < done["verified"], "it was killed too late to mean anything"
    assert answers(site)
    process = site.start("store", "migrate", "--to", "s3")
    read_until(process.stderr, "stopping the archive")
    kill(process)
    told = unfinished(site)
    assert told is not None
    assert told["verified"] > 0

    again = json.loads(site.orthweb("store", "migrate", "--to", "s3", "--json").stdout)
    assert again["switched"]
    assert again["verified"] == done["verified"]
    assert again["copied"] < done["verified"], "what was copied before was copied again"
    assert answers(site)
    assert unfinished(site) is None
    assert digests(site, sent) == before
    assert len(stored_files(site.state / "store")) == done["verified"], "the source is kept"
    assert len(s3.images("images/")) == done["verified"] + len(orphans)
    assert set(orphans) <= set(s3.images("images/"))

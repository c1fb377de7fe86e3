"""Several Orthancs of one site in containers: one dies, one goes, one is taken by somebody else, all listen on IPv6."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from live.counting import account, eventually, samples, sending
from live.docker_engine import DockerEngine
from live.docker_sites import DockerSite, docker_site
from live.edge_clients import image, store
from orthweb.image import reference
from orthweb.verification import client_context

pytestmark = pytest.mark.usefixtures("docker_host", "images")

LISTEN = ["127.0.0.1", "::1"]


@pytest.fixture(scope="module")
def site(docker_host: str, images: dict[str, Any]) -> Iterator[DockerSite]:
    """A site of two writers and a reader, shared by tests that leave it running."""
    with docker_site(archive={"writers": 2, "readers": 1}, edge={"listen": LISTEN}) as made:
        yield made


def services(site: DockerSite) -> dict[str, dict[str, Any]]:
    found = json.loads(site.orthweb("status", "--json", check=False).stdout)
    return {service["name"]: service for service in found["services"]}


def test_edge_when_it_listens_on_ipv6_then_answers_there_too(site: DockerSite) -> None:
    access = site.access
    for host in ("127.0.0.1", "[::1]"):
        url = f"https://{host}:{access.https_port}/system"
        assert httpx.get(url, verify=client_context(access.ca), trust_env=False).status_code == 401


def test_writer_when_killed_in_the_middle_of_an_association_then_the_other_takes_what_is_sent_again(
    site: DockerSite, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    sent = samples(tmp_path, 90, seed="two writers")
    with sending(site, sent) as books:
        books.wait_for(20)
        docker_engine.docker("kill", "--signal", "KILL", site.container("archive"))
        books.wait_for(60)
        docker_engine.docker("start", site.container("archive"))
    found = account(site, sent, books.acknowledged)
    assert found.kept, found
    assert found.acknowledged == len(sent), books
    eventually(lambda: services(site)["archive"]["state"] != "stopped", 30, "the killed writer does not run again")


def test_store_check_then_finds_index_and_store_alike(site: DockerSite) -> None:
    assert store(site.access, image()) == [0]
    report = json.loads(site.orthweb("store", "check", "--json", "--hash").stdout)
    assert (report["intact"], report["missing"], report["wrong_hash"]) == (True, 0, 0)
    assert report["indexed"] > 0


def test_reader_when_it_is_no_longer_wanted_then_goes_and_the_others_are_not_touched(
    site: DockerSite, docker_engine: DockerEngine
) -> None:
    before = services(site)
    site.write(archive={"writers": 2, "readers": 0}, edge={"listen": LISTEN})
    items = json.loads(site.orthweb("up", "--json").stdout)["changes"]
    assert {item["what"] for item in items if item["action"] == "change"} >= {"reader"}
    after = services(site)
    assert after.keys() == {"index", "archive", "archive-2", "edge"}
    assert not (site.state / "reader").exists()
    assert site.container("reader") not in docker_engine.docker("ps", "--all", "--format", "{{.Names}}").split()
    assert after["index"]["pid"] == before["index"]["pid"]


def test_up_when_a_container_cannot_be_made_then_says_why_and_leaves_nothing_running(
    site: DockerSite, docker_engine: DockerEngine
) -> None:
    site.orthweb("down")
    other = docker_engine.docker("create", "--name", site.container("edge"), "--network", "none", reference("edge"))
    try:
        done = site.orthweb("up", check=False)
        assert (done.returncode, "is already in use" in done.stderr) == (1, True), done.stderr
        label = f"label=org.orthweb.site={site.target.place.identity}"
        assert docker_engine.docker("ps", "--all", "--quiet", "--filter", label) == ""
    finally:
        docker_engine.docker("rm", "--force", other.strip())
    site.orthweb("up")
    assert store(site.access, image()) == [0]


def test_subnet_when_this_machine_has_a_route_to_it_then_is_refused_before_anything_changes(
    docker_engine: DockerEngine, docker_host: str, images: dict[str, Any]
) -> None:
    taken = docker_engine.docker("network", "create", "--subnet", "10.254.253.0/24", "orthweb-test-taken").strip()
    try:
        with docker_site(up=False, docker={"subnet": "10.254.253.0/24"}) as made:
            done = made.orthweb("up", check=False)
            assert (done.returncode, "docker.subnet: 10.254.253.0/24: overlaps" in done.stderr) == (2, True)
            assert not (made.folder / ".orthweb").exists()
    finally:
        docker_engine.docker("network", "rm", taken)

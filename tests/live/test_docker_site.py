"""A site in containers: every verb, the same checks, no secret, nothing reachable but the edge."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from live.counting import account, client, eventually, samples, sending
from live.docker_engine import DockerEngine
from live.docker_sites import DockerIndex, DockerSite, docker_site
from live.edge_clients import echo_status, image, store
from live.lost_answers import assert_nothing_is_lost
from orthweb import secrets
from orthweb.secrets import basic

pytestmark = pytest.mark.usefixtures("docker_host", "images")


@pytest.fixture(scope="module")
def site(docker_host: str, images: dict[str, Any]) -> Iterator[DockerSite]:
    """One running site, shared by the tests that leave it as they found it."""
    with docker_site() as made:
        yield made


def status(site: DockerSite) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.orthweb("status", "--json", check=False).stdout)
    return found


def pids(site: DockerSite) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in status(site)["services"]}


def changes(site: DockerSite, verb: str) -> list[dict[str, str]]:
    """Give what `plan` or `up` would change or changed, without warnings."""
    found = json.loads(site.orthweb(verb, "--json").stdout)
    items = found if verb == "plan" else found["changes"]
    return [item for item in items if item["action"] != "warn"]


def test_site_when_up_then_all_checks_pass(site: DockerSite) -> None:
    done = site.orthweb("validate", "--json", check=False)
    report = json.loads(done.stdout)
    failed = [(each["id"], each["evidence"]) for each in report["checks"] if each["status"] == "fail"]
    assert failed == []
    left_out = {each["id"] for each in report["checks"] if each["status"] == "n/a"}
    assert left_out <= {"store.encryption", "store.strangers"}, "of a bucket alone"
    assert len(report["checks"]) >= 68


def test_up_and_plan_when_repeated_then_change_nothing(site: DockerSite) -> None:
    before = pids(site)
    assert changes(site, "plan") == []
    assert changes(site, "up") == []
    assert pids(site) == before


def test_status_then_names_every_container_with_its_user_and_version(site: DockerSite) -> None:
    found = status(site)
    assert (found["target"], found["state"], found["answers"]) == ("docker", "running", True)
    services = {service["name"]: service for service in found["services"]}
    assert services.keys() >= {"index", "archive", "edge"}
    for service in services.values():
        assert psutil.Process(service["pid"]).uids().real == int(service["user"]) != 0
        assert service["memory"] > 0
    assert services["index"]["version"].startswith("PostgreSQL ")
    assert services["edge"]["version"].startswith("Envoy 1.")


def test_logs_then_come_from_the_engine(site: DockerSite) -> None:
    assert "Orthanc has started" in site.orthweb("logs", "archive", "-n", "1000").stdout
    assert echo_status(site.access) == 0
    eventually(
        lambda: '"protocol":"DICOM"' in site.orthweb("logs", "edge-access", "-n", "20").stdout, 15, "no access log"
    )
    wrong = site.orthweb("logs", "nothing", check=False)
    assert (wrong.returncode, "no such service" in wrong.stderr) == (2, True)


def containers(site: DockerSite, engine: DockerEngine) -> list[str]:
    """Give the site's running containers; the engine may have others."""
    found = engine.docker("ps", "--quiet", "--filter", f"label=org.orthweb.site={site.target.place.identity}").split()
    assert len(found) >= 3
    return found


def secret_values(site: DockerSite) -> list[str]:
    kept = secrets.read(site.state / "secrets")
    keys = [path.read_text().splitlines()[1] for path in (site.state / "pki").glob("*.key")]
    return [*kept.values(), basic("edge", kept.archive_password), *keys]


def test_engine_when_asked_for_everything_it_knows_then_tells_no_secret(
    site: DockerSite, docker_engine: DockerEngine
) -> None:
    values = secret_values(site)
    assert len(values) > 10
    names = containers(site, docker_engine)
    told = {"compose": site.target.place.compose_file.read_text(), "inspect": docker_engine.docker("inspect", *names)}
    told |= {f"top {name}": docker_engine.docker("top", name, "-eo", "pid,args") for name in names}
    images = {docker_engine.docker("inspect", "--format", "{{.Image}}", name).strip() for name in names}
    told |= {f"history {name}": docker_engine.docker("history", "--no-trunc", name) for name in images}
    for name in names:
        log = subprocess.run(
            ["docker", "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        ).stdout
        assert log
        told[f"logs {name}"] = log
    for process in psutil.process_iter():
        for file in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{process.pid}/{file}").read_bytes()
            except OSError:
                continue
            told[f"{file} {process.pid}"] = content.decode(errors="replace")
    for where, text in told.items():
        assert not [value for value in values if value in text], where


def test_containers_when_looked_at_then_can_do_no_more_than_they_must(
    site: DockerSite, docker_engine: DockerEngine
) -> None:
    names = containers(site, docker_engine)
    for found in json.loads(docker_engine.docker("inspect", *names)):
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["Privileged"] is False
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"].keys() == {"max-size", "max-file"}
        status = Path(f"/proc/{found['State']['Pid']}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
    with pytest.raises(Exception, match=r"[Rr]ead-only"):
        docker_engine.docker("exec", site.container("edge"), "/bin/sh", "-c", "echo x > /usr/bin/x")


def test_index_when_called_from_the_edge_then_cannot_be_reached(site: DockerSite, docker_engine: DockerEngine) -> None:
    address = site.target.place.kept_layout().endpoints.index.address
    words = ("curl", "--max-time", "2", "--silent", "--show-error", f"telnet://{address}:5432")
    with pytest.raises(Exception, match="docker exec"):
        docker_engine.docker("exec", site.container("edge"), *words)
    if docker_engine.filters:
        outside = ("exec", site.container("archive"), "/usr/bin/python3", "-c")
        code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
        with pytest.raises(Exception, match="docker exec"):
            docker_engine.docker(*outside, code)


def test_certificates_when_renewed_while_an_association_is_open_then_it_goes_on(site: DockerSite) -> None:
    from live.edge_clients import associated

    with associated(site.access) as association:
        assert association.send_c_echo().Status == 0
        site.orthweb("certificates", "renew")
        assert association.is_established
        assert association.send_c_echo().Status == 0
    assert echo_status(site.access) == 0


def test_archive_when_a_setting_changes_then_is_restarted_and_nothing_else(site: DockerSite) -> None:
    before = pids(site)
    site.write(archive={"stable_age": 61})
    items = changes(site, "plan")
    assert {item["what"] for item in items if item["action"] == "restart"} >= {"archive"}
    site.orthweb("up")
    after = pids(site)
    assert after["archive"] != before["archive"]
    assert (after["index"], after["edge"]) == (before["index"], before["edge"])


def test_container_when_its_limits_change_then_is_made_anew(site: DockerSite, docker_engine: DockerEngine) -> None:
    site.write(archive={"stable_age": 61}, docker={"archive_memory": "1GiB", "index_memory": "1GiB"})
    items = changes(site, "plan")
    assert {"archive", "index"} <= {item["what"] for item in items if item["action"] == "restart"}
    made = image()
    assert store(site.access, made) == [0]
    site.orthweb("up")
    form = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"
    said = docker_engine.docker("inspect", "--format", form, site.container("index"))
    assert said.split() == [str(1024**3)] * 2
    with client(site.access) as http:
        assert len(http.get("/dicom-web/studies", params={"StudyInstanceUID": made.StudyInstanceUID}).json()) == 1


def test_container_when_killed_then_the_engine_starts_it_again_and_nothing_acknowledged_is_lost(
    site: DockerSite, tmp_path: Path
) -> None:
    sent = samples(tmp_path, 120, seed="containers")
    with sending(site, sent) as books:
        for number, service in enumerate(("archive", "index", "edge")):
            books.wait_for(20 * (number + 1))
            psutil.Process(pids(site)[service]).kill()
    eventually(lambda: status(site)["answers"], 60, "the site does not come back by itself")
    found = account(site, sent, books.acknowledged)
    assert found.kept, found
    assert found.acknowledged == len(sent), books


def test_image_when_the_answer_to_its_commit_is_lost_then_it_is_there_after_the_next_success(
    site: DockerSite, docker_engine: DockerEngine
) -> None:
    assert_nothing_is_lost(site.access, DockerIndex(site, docker_engine))


def test_site_when_brought_down_then_leaves_no_container_or_network_and_comes_back_with_its_images(
    site: DockerSite, docker_engine: DockerEngine
) -> None:
    made = image()
    assert store(site.access, made) == [0]
    site.orthweb("down")
    assert status(site)["state"] == "stopped"
    label = f"label=org.orthweb.site={site.target.place.identity}"
    assert docker_engine.docker("ps", "--all", "--quiet", "--filter", label) == ""
    assert docker_engine.docker("network", "ls", "--quiet", "--filter", label) == ""
    site.orthweb("up")
    with client(site.access) as http:
        assert len(http.get("/dicom-web/studies", params={"StudyInstanceUID": made.StudyInstanceUID}).json()) == 1


def test_engine_when_killed_and_started_again_then_the_site_comes_back_with_all_that_was_acknowledged(
    site: DockerSite, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    for number, containers in enumerate((False, True)):
        sent = samples(tmp_path / str(number), 60, seed=f"engine {number}")
        with sending(site, sent, patience=0, associations=2) as books:
            books.wait_for(20)
            docker_engine.power_cut(containers=containers)
        eventually(lambda: status(site)["answers"], 90, "the site does not come back by itself")
        found = account(site, sent, books.acknowledged)
        assert found.kept, found
        assert found.acknowledged >= 20
    assert changes(site, "up") == []


def test_site_when_destroyed_then_is_gone_with_its_data_only_when_asked(site: DockerSite) -> None:
    site.orthweb("destroy", "--yes")
    assert (site.state / "store").is_dir()
    assert (site.state / "index/data/PG_VERSION").exists()
    assert not (site.state / "docker-compose.yml").exists()
    site.orthweb("destroy", "--data", "--yes")
    assert not (site.folder / ".orthweb").exists()
    assert status(site)["state"] == "absent"

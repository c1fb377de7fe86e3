"""The Compose file and what its containers read, judged by Compose and Envoy."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orthweb.render.compose import compose, definitions
from orthweb.targets.local import programs
from render.rendered import SECRETS, SITES, Rendered

cases = pytest.mark.parametrize("case", SITES)


def services(case: str, folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(Rendered(case, folder).texts()["docker-compose.yml"])["services"]
    return found


def compose_program(program: Callable[[str], Path]) -> list[str]:
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    return [str(program("docker-compose"))]


@cases
@pytest.mark.parametrize("folder", ["plain", "with space, $HOME and 'quotes'"])
def test_compose_when_given_our_file_then_reads_what_we_meant(
    case: str, folder: str, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    base = tmp_path / folder
    base.mkdir()
    site = Rendered(case, base)
    file = base / "docker-compose.yml"
    file.write_text(site.texts()["docker-compose.yml"])
    command = [*compose_program(program), "--project-name", "test", "--file", str(file), "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert read.keys() == {container.name for container in site.stack.containers}
    for container in site.stack.containers:
        # Older ones print mounts in their short form; both escape a dollar again.
        mounts = {
            mount["source"].replace("$$", "$") if isinstance(mount, dict) else mount.split(":")[0].replace("$$", "$")
            for mount in read[container.name]["volumes"]
        }
        assert mounts == {str(mount.source) for mount in container.mounts}


@cases
def test_container_when_rendered_then_has_no_more_than_it_needs(case: str, tmp_path: Path) -> None:
    for name, service in services(case, tmp_path).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.keys() & {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc", "env_file"}
        assert int(service["user"].split(":")[0]) > 0
        assert service["pids_limit"] > 0
        assert service["restart"] == "always"
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        writable = {mount["target"] for mount in service["volumes"] if not mount["read_only"]}
        assert all(target.startswith(("/var/lib/orthweb/", "/run/orthweb")) for target in writable)


@cases
def test_edge_when_rendered_then_alone_publishes_and_alone_is_in_the_network_that_leads_outside(
    case: str, tmp_path: Path
) -> None:
    found = services(case, tmp_path)
    site = Rendered(case, tmp_path / "again").site
    assert [name for name, service in found.items() if "ports" in service] == ["edge"]
    assert len(found["edge"]["ports"]) == 2 * len(site.edge.listen)
    assert [name for name, service in found.items() if "front" in service["networks"]] == ["edge"]
    assert list(found["index"]["networks"]) == ["back"]
    assert "back" not in found["edge"]["networks"]


def test_archive_when_a_modality_speaks_no_tls_then_its_network_leads_outside(tmp_path: Path) -> None:
    closed = yaml.safe_load(Rendered("default", tmp_path / "a").texts()["docker-compose.yml"])["networks"]
    opened = yaml.safe_load(Rendered("hospital", tmp_path / "b").texts()["docker-compose.yml"])["networks"]
    assert (closed["middle"]["internal"], opened["middle"]["internal"]) == (True, False)
    assert closed["back"]["internal"] is opened["back"]["internal"] is True


@cases
def test_compose_file_then_has_no_secret(case: str, tmp_path: Path) -> None:
    text = Rendered(case, tmp_path).texts()["docker-compose.yml"]
    assert not [value for value in (*SECRETS.values(), SECRETS.check_aet) if value in text]


def test_definition_when_something_changes_then_is_another_and_those_of_others_are_not(tmp_path: Path) -> None:
    site = Rendered("default", tmp_path)
    before, networks = definitions(site.stack)
    edge = site.stack.containers[-1]
    changed = type(site.stack)(
        site.stack.project,
        site.stack.site,
        site.stack.networks,
        [*site.stack.containers[:-1], type(edge)(**{**vars(edge), "stop_seconds": 4})],
    )
    after, _ = definitions(changed)
    assert {name for name in before if before[name] != after[name]} == {"edge"}
    assert all(value in compose(site.stack) for value in (*before.values(), *networks.values()))


@cases
def test_envoy_when_given_the_configuration_of_a_container_then_accepts_it(case: str, tmp_path: Path) -> None:
    site = Rendered(case, tmp_path)
    site.put()
    binary = programs.envoy_program()
    assert binary is not None
    # The files are where this machine has them; in the container they are in /etc/orthweb.
    text = site.container_texts()["envoy.json"].replace("/etc/orthweb", str(site.state.edge))
    file = tmp_path / "envoy.json"
    file.write_text(text)
    arguments = ["-c", str(file), "--mode", "validate", "--log-level", "warning"]
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_archive_in_a_container_then_takes_callers_of_its_network_and_still_asks_for_credential_and_certificate(
    tmp_path: Path,
) -> None:
    found = json.loads(Rendered("default", tmp_path).container_texts()["orthanc.json"])
    assert found["RemoteAccessAllowed"] is True
    assert found["AuthenticationEnabled"] is True
    assert found["DicomTlsRemoteCertificateRequired"] is True
    assert found["Orthweb"]["Loopback"] is False
    assert "sslmode=verify-full" in found["PostgreSQL"]["ConnectionUri"]


def test_index_in_a_container_then_lets_the_archives_network_in_over_tls_and_nobody_else(tmp_path: Path) -> None:
    lines = Rendered("default", tmp_path).container_texts()["pg_hba.conf"].splitlines()
    hosts = [line.split() for line in lines if line.startswith("host")]
    assert hosts[0] == ["hostssl", "orthanc", "orthanc", "10.83.44.128/26", "scram-sha-256"]
    assert hosts[1:] == [["host", "all", "all", "all", "reject"]]

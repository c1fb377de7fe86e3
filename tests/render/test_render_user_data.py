"""What an AWS instance is told at its first boot, judged by cloud-init, the shell and Terraform themselves."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orthweb.render.user_data import LARGEST, template, user_data

VALUES = {
    "name": "pacs",
    "region": "eu-central-1",
    "prefix": "/orthweb/pacs",
    "ops_image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/pacs/ops:0.2.0",
}


@pytest.fixture(scope="module")
def text() -> str:
    return user_data(**VALUES)


@pytest.fixture(scope="module")
def files(text: str) -> dict[str, str]:
    return {each["path"]: each["content"] for each in yaml.safe_load(text)["write_files"]}


def test_user_data_is_what_cloud_init_takes(text: str, tmp_path: Path, program: Callable[[str], Path]) -> None:
    file = tmp_path / "user-data"
    file.write_text(text)
    command = [str(program("cloud-init")), "schema", "--config-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout
    assert "deprecat" not in (done.stdout + done.stderr).lower()


def test_user_data_is_small(text: str) -> None:
    assert len(text.encode()) < LARGEST


def test_user_data_is_the_same_for_terraform(text: str, tmp_path: Path, program: Callable[[str], Path]) -> None:
    values = tmp_path / "terraform.tfvars.json"
    values.write_text(json.dumps({"values": VALUES, "file": str(template())}))
    (tmp_path / "main.tf").write_text('variable "values" { type = map(string) }\nvariable "file" { type = string }\n')
    done = subprocess.run(
        [program("terraform"), "console"],
        input="jsonencode(templatefile(var.file, var.values))\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: Any = json.loads(json.loads(done.stdout))
    assert said == text


def test_host_is_told_whose_it_is(files: dict[str, str]) -> None:
    found = json.loads(files["/etc/orthweb/host.json"])
    assert found == {key: VALUES[key] for key in ("name", "region", "prefix")}
    assert files["/etc/orthweb/ops-image"].strip() == VALUES["ops_image"]


def test_start_script_is_one_the_shell_takes(files: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-n"], input=files["/usr/local/sbin/orthweb-host"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_unit_is_one_that_systemd_takes(files: dict[str, str], tmp_path: Path, program: Callable[[str], Path]) -> None:
    unit = tmp_path / "orthweb.service"
    (tmp_path / "start").write_text("#!/bin/sh\n")
    (tmp_path / "start").chmod(0o755)
    # The checker looks for the programs on this machine.
    here = files["/etc/systemd/system/orthweb.service"].replace("/usr/local/sbin/orthweb-host", str(tmp_path / "start"))
    unit.write_text(here.replace("/usr/bin/docker", "/bin/true"))
    command = [str(program("systemd-analyze")), "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "orthweb.service" not in done.stderr, done.stderr


def test_agent_runs_with_few_rights_and_nothing_secret_in_its_environment(files: dict[str, str]) -> None:
    script = files["/usr/local/sbin/orthweb-host"]
    for word in ("--read-only", "--cap-drop ALL", "no-new-privileges:true"):
        assert word in script
    assert "--privileged" not in script
    assert re.findall(r"--env (\S+)", script) == ['ORTHWEB_OPS_IMAGE="$image"', "TINI_SUBREAPER=1"]


class Machine:
    """What the start script finds on a machine, with a Docker that writes down what it is asked to run.

    Parameters
    ----------
    script : its text.
    folder : takes the place of the machine's own folders.
    """

    def __init__(self, script: str, folder: Path) -> None:
        self.folder = folder
        for path in ("/etc/orthweb", "/var/lib/orthweb", "/run/orthweb", "/usr/bin"):
            script = script.replace(path, str(folder) + path)
            (folder / path[1:]).mkdir(parents=True, exist_ok=True)
        self.script = folder / "script"
        self.script.write_text(script)
        self.put("etc/orthweb/ops-image", "ops:0")
        bin = folder / "bin"
        bin.mkdir()
        for name, text in (("mountpoint", ""), ("docker", f'[ "$1" != run ] || echo "$@" >{folder}/asked')):
            (bin / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin / name).chmod(0o755)

    def put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(f"{text}\n")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def start(self) -> str:
        """Run the script once; give the image that it started."""
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        done = subprocess.run(["sh", self.script], env={"PATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        *_, image, _host, _run = self.read("asked").split()
        return image


@pytest.fixture
def machine(files: dict[str, str], tmp_path: Path) -> Machine:
    return Machine(files["/usr/local/sbin/orthweb-host"], tmp_path)


def test_host_starts_with_the_image_it_was_made_with_as_often_as_it_takes(machine: Machine) -> None:
    assert {machine.start() for _ in range(8)} == {"ops:0"}


def test_image_that_dies_again_and_again_gives_way_to_the_one_before(machine: Machine) -> None:
    machine.put("var/lib/orthweb/ops-image.good", "ops:1")
    machine.put("var/lib/orthweb/ops-image", "ops:2")
    assert [machine.start() for _ in range(7)] == ["ops:2"] * 5 + ["ops:1"] * 2
    assert machine.read("var/lib/orthweb/ops-image") == "ops:1"
    assert machine.read("var/lib/orthweb/ops-image.bad") == "ops:2"


def test_image_that_was_good_is_started_however_often_the_machine_does(machine: Machine) -> None:
    for name in ("ops-image", "ops-image.good"):
        machine.put(f"var/lib/orthweb/{name}", "ops:2")
    assert {machine.start() for _ in range(8)} == {"ops:2"}


def test_other_registry_than_ecr_needs_no_helper() -> None:
    found = user_data(**(VALUES | {"ops_image": "registry.example.org/ops:1"}))
    assert "registry.example.org/ops:1" in found

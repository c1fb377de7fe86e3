"""Orthweb as people install it: a package alone, in a folder where no source tree is, plans a site on AWS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aws.driven_life import IMAGES
from aws.emulator import Emulator

ROOT = Path(__file__).parents[2]
REGION = "eu-central-1"
SITE = f"""\
name = "wheel"
target = "aws"
[aws]
https_from = ["203.0.113.0/24"]
dicom_from = ["203.0.113.0/24"]
{IMAGES}"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel and unpack it as pip does; what it needs is there already."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=300)
    [wheel] = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True, timeout=300
    )
    return folder / "site"


def test_plan_when_only_the_package_is_there_then_finds_the_modules(
    installed: Path, aws: Emulator, terraform_program: Path, terraform_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(installed),
        **terraform_environment,
        **aws.environment(REGION),
    }
    where = [sys.executable, "-c", "import orthweb; print(orthweb.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(installed)
    said = subprocess.run(
        [sys.executable, "-m", "orthweb", "plan"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr
    assert "+ create database" in said.stdout
    assert (tmp_path / ".orthweb/aws/work/modules/database/main.tf").is_file()

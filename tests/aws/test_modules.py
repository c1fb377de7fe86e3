"""The modules' own tests (`terraform test`, with a mocked provider): quick, and without an emulator."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from aws.terraform import SOURCE, Terraform
from orthweb import __version__

DATABASE = "module.database.aws_db_instance.this"
GUARD = "terraform_data.guard"
FILES = sorted(path.name for path in (SOURCE / "tests").glob("*.tftest.hcl"))


@pytest.fixture(scope="module")
def terraform(
    terraform_environment: dict[str, str], terraform_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Terraform:
    """Give an installed copy of the configuration with its tests: init installs what these refer to as well."""
    made = Terraform.of(
        SOURCE, tmp_path_factory.mktemp("modules") / "terraform", terraform_environment, terraform_program
    )
    shutil.copytree(SOURCE / "tests", made.folder / "tests")
    made.init()
    return made


def test_files_when_searched_then_each_subject_is_there() -> None:
    assert {"compute", "network", "refusals", "security", "services", "storage", "topologies"} <= {
        name.removesuffix(".tftest.hcl") for name in FILES
    }


@pytest.mark.parametrize("file", FILES)
def test_modules_when_terraform_tests_them_then_every_run_passes(file: str, terraform: Terraform) -> None:
    told = terraform.run(f"test {file}", "test", "-no-color", f"-filter=tests/{file}")
    assert "Success! " in told
    assert "Success! 0 passed" not in told


@pytest.fixture(scope="module")
def drawn(terraform: Terraform) -> list[tuple[str, str]]:
    """Give the graph: what waits for what."""
    return re.findall(r'^\s*"([^"]+)" -> "([^"]+)";', terraform.run("graph", "graph"), re.MULTILINE)


def reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    """List what is led to from a place, over however many edges."""
    found: set[str] = set()
    new = {start}
    while new:
        new = {each for place in new for each in edges.get(place, ())} - found
        found |= new
    return found


def before(drawn: list[tuple[str, str]], place: str) -> set[str]:
    """List what a resource waits for."""
    return reached(place, {later: {earlier for other, earlier in drawn if other == later} for later, _ in drawn})


def after(drawn: list[tuple[str, str]], place: str) -> set[str]:
    """List what waits for a resource."""
    return reached(place, {earlier: {later for later, other in drawn if other == earlier} for _, earlier in drawn})


def test_graph_when_drawn_then_only_what_needs_the_database_waits_for_it(drawn: list[tuple[str, str]]) -> None:
    """The database is most of the time that an apply takes: hosts boot and pull their images meanwhile."""
    assert after(drawn, DATABASE) == {"module.backup.aws_backup_selection.index", GUARD}


def test_graph_when_drawn_then_the_guard_of_production_is_the_first_to_be_destroyed(
    drawn: list[tuple[str, str]],
) -> None:
    """What everything else comes before: when it refuses, nothing has been touched."""
    managed = {name for edge in drawn for name in edge if not re.search(r"(^|\.)data\.", name)}
    assert len(managed) > 80
    assert managed - before(drawn, GUARD) == {GUARD}


def test_graph_when_drawn_then_the_load_balancer_waits_for_the_gateway_and_not_for_nat(
    drawn: list[tuple[str, str]],
) -> None:
    """AWS refuses a public one in a VPC without an internet gateway; NAT gateways would be two minutes more."""
    waited = before(drawn, "module.compute.aws_lb.this")
    assert "module.network.aws_internet_gateway.this" in waited
    assert "module.network.aws_nat_gateway.this" not in waited


def test_image_tag_when_not_given_then_is_what_this_version_builds() -> None:
    block = re.search(r'variable "image_tag" \{.*?\n\}', (SOURCE / "variables.tf").read_text(), re.DOTALL)
    assert block
    assert f'default     = "{__version__}"' in block[0]

"""The modules' own tests (`terraform test`, with a mocked provider): quick, and without an emulator."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from aws.terraform import SOURCE, Terraform
from orthweb import __version__

DATABASE = "module.database.aws_db_instance.this"
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


def test_graph_when_drawn_then_only_what_needs_the_database_waits_for_it(terraform: Terraform) -> None:
    """The database is most of the time that an apply takes: hosts boot and pull their images meanwhile."""
    drawn = re.findall(r'^\s*"([^"]+)" -> "([^"]+)";', terraform.run("graph", "graph"), re.MULTILINE)
    waiting = {later for later, earlier in drawn if earlier == DATABASE}
    while added := {later for later, earlier in drawn if earlier in waiting} - waiting:
        waiting |= added
    assert any(earlier == DATABASE or later == DATABASE for later, earlier in drawn)
    assert waiting <= {"module.backup.aws_backup_selection.index"}


def test_image_tag_when_not_given_then_is_what_this_version_builds() -> None:
    block = re.search(r'variable "image_tag" \{.*?\n\}', (SOURCE / "variables.tf").read_text(), re.DOTALL)
    assert block
    assert f'default     = "{__version__}"' in block[0]

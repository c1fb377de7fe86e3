"""What the AWS tests share: where Terraform and its provider are, and deployments that live while tests run."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aws import plots
from aws.driven_life import Driven
from aws.emulator import Emulator, emulator
from aws.lifecycle import Lifecycle, Plot
from aws.providers import provider_environment
from aws.restored_life import Restored
from aws.terraform import SOURCE

LIVES: dict[str, Callable[[], Plot]] = {"stranger": plots.stranger, "single": plots.single, "ha": plots.ha}

DRIVEN: dict[str, type[Driven]] = {"driven": Driven, "restored": Restored}

WANTED = "1.11 or newer; developer.hashicorp.com/terraform/install"

_lived: list[Lifecycle] = []


@pytest.fixture(scope="session")
def terraform_program(left_out: Callable[[str], None]) -> Path:
    """Find Terraform, which neither Debian nor PyPI has."""
    found = shutil.which("terraform")
    if found is None:
        left_out(f"no terraform on this machine ({WANTED})")
    assert found is not None
    said = subprocess.run([found, "version", "-json"], capture_output=True, text=True, check=True).stdout
    version = json.loads(said)["terraform_version"]
    if tuple(map(int, version.split(".")[:2])) < (1, 11):
        left_out(f"the terraform on this machine is {version} ({WANTED})")
    return Path(found)


@pytest.fixture(scope="session")
def terraform_environment(terraform_program: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the variables with which Terraform finds its AWS provider on this machine."""
    return provider_environment(tmp_path_factory.mktemp("providers"))


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Give an empty account that tests share; they name what they make after themselves."""
    with emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def _lives(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Lifecycle]]:
    """Start at once every life that a chosen test asks for: most of their time passes in waiting."""
    wanted = {name for item in request.session.items for name in _named(item)}
    lives: dict[str, Lifecycle] = {}
    for name in LIVES:
        if name in wanted and shutil.which("terraform"):
            environment = request.getfixturevalue("terraform_environment")
            program = request.getfixturevalue("terraform_program")
            lives[name] = Lifecycle(LIVES[name](), SOURCE, tmp_path_factory.mktemp(name), environment, program)
            lives[name].start()
    _lived.extend(lives.values())
    yield lives
    for life in lives.values():
        life.stop()


def _named(item: pytest.Item) -> set[str]:
    chosen = getattr(item, "callspec", None)
    names = {*getattr(item, "fixturenames", ()), chosen.params.get("life", "") if chosen else ""}
    return names & {*LIVES, *DRIVEN}


@pytest.fixture(scope="session", autouse=True)
def _driven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Driven]]:
    """Start the sites that orthweb drives beside the lives, when a chosen test asks for them."""
    wanted = {name for item in request.session.items for name in _named(item)}
    sites: dict[str, Driven] = {}
    for name, kind in DRIVEN.items():
        if name in wanted and shutil.which("terraform"):
            sites[name] = kind(tmp_path_factory.mktemp(name), request.getfixturevalue("terraform_environment"))
            sites[name].start()
    yield sites
    for site in sites.values():
        site.stop()


@pytest.fixture(scope="session")
def driven(_driven: dict[str, Driven], terraform_program: Path) -> Driven:
    """Give a site with one host that orthweb drives; see `aws.driven_life`."""
    return _driven["driven"]


@pytest.fixture(scope="session")
def restored(_driven: dict[str, Driven], terraform_program: Path) -> Driven:
    """Give a site with a group of hosts that orthweb makes from a snapshot; see `aws.restored_life`."""
    return _driven["restored"]


@pytest.fixture(scope="session")
def life(request: pytest.FixtureRequest, _lives: dict[str, Lifecycle], terraform_program: Path) -> Lifecycle:
    """Give each life that the test is parametrized with, by name."""
    return _lives[request.param]


@pytest.fixture(scope="session")
def single(_lives: dict[str, Lifecycle], terraform_program: Path) -> Lifecycle:
    """One host; see `plots.single`."""
    return _lives["single"]


@pytest.fixture(scope="session")
def ha(_lives: dict[str, Lifecycle], terraform_program: Path) -> Lifecycle:
    """Hosts in three zones; see `plots.ha`."""
    return _lives["ha"]


@pytest.fixture(scope="session")
def stranger(_lives: dict[str, Lifecycle], terraform_program: Path) -> Lifecycle:
    """All defaults; see `plots.stranger`."""
    return _lives["stranger"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what waits for a life behind what does not: its waits pass meanwhile."""
    here = [place for place, item in enumerate(items) if item.path.is_relative_to(Path(__file__).parent)]
    ordered = sorted((items[place] for place in here), key=lambda item: bool(_named(item)))
    for place, item in zip(here, ordered, strict=True):
        items[place] = item


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured: resources and seconds."""
    if _lived:
        terminalreporter.section("deployments")
    for life in _lived:
        commands = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in life.seconds.items())
        whole = f"{life.resource_count} resources, {sum(life.seconds.values()):.0f} s"
        terminalreporter.write_line(f"{life.plot.name}: {whole} ({commands})")

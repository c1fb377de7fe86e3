"""The repository keeps its own promises: lock files, scripts, and commands that the documents name."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from orthweb.cli import app

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"] if path.is_file())
LOCKS = sorted(ROOT.glob("requirements*.lock"))
APART = ROOT / "checkov.lock"
"""What is installed into an environment of its own, and need not agree with the others."""
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def requirement_name(requirement: str) -> str:
    """Normalise as PyPI does (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ;]", requirement)[0]).lower()


def locked(lock: Path) -> dict[str, str]:
    """Map every package of a lock file to its block of text."""
    blocks = re.split(r"\n(?=[a-z0-9])", lock.read_text())
    return {requirement_name(block): block for block in blocks}


@pytest.mark.parametrize("lock", [*LOCKS, APART], ids=lambda lock: lock.name)
def test_lock_file_always_pins_every_package_with_a_hash(lock: Path) -> None:
    loose = [
        name
        for name, block in locked(lock).items()
        if "==" not in block.splitlines()[0] or "--hash=sha256:" not in block
    ]
    assert locked(lock)
    assert loose == []


def test_lock_files_when_a_dependency_is_declared_contain_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-dev.lock": [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]],
        "requirements-build.lock": [*project["build-system"]["requires"], *project["dependency-groups"]["build"]],
        APART.name: project["dependency-groups"]["checkov"],
    }
    for lock, requirements in declared.items():
        absent = {requirement_name(requirement) for requirement in requirements} - set(locked(ROOT / lock))
        assert absent == set(), f"{lock}: run make lock"


def test_lock_files_when_they_share_a_package_agree_on_its_version() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, block in locked(lock).items():
            versions.setdefault(name, set()).add(re.split(r"[ ;\\]", block)[0])
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script_always_parses_and_is_executable(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize(("script", "words"), [("packages", []), ("packages", ["list"]), ("venv", ["anything"])])
def test_setup_script_when_called_wrongly_says_how_and_exits_2(script: str, words: list[str]) -> None:
    result = subprocess.run([str(ROOT / "scripts" / script), *words], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"usage: scripts/{script}")


def test_packages_when_listed_name_each_with_its_purpose() -> None:
    result = subprocess.run(
        [str(ROOT / "scripts/packages"), "list", "test"], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert {"orthanc", "postgresql", "dcmtk"} <= {row[0] for row in rows}
    assert all(len(row) == 2 for row in rows)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_document_when_it_names_a_command_names_one_that_exists(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", text, flags=re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }
    verbs = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"(?:`|^|bin/)orthweb ([a-z]+)", text, flags=re.MULTILINE)) <= verbs


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_document_when_it_links_to_a_file_links_to_one_that_exists(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_index_of_the_documentation_always_lists_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", (ROOT / "docs/README.md").read_text())) == pages

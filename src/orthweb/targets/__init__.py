"""Targets run what was rendered: ``open_site`` gives the one where a site is, ``open_wanted`` where it should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.base import Target

if TYPE_CHECKING:
    from orthweb.site import Site
    from orthweb.state import StateFolder

Name = Literal["local", "docker", "aws"]


@dataclass(frozen=True)
class Choice:
    """Where a site runs, and why there."""

    name: Name
    why: str


def _remembered(site_file: Path) -> Name | None:
    """Give the target that a site was brought up on last; None when it never was."""
    from orthweb.targets.host import folder

    state = folder.locate(site_file.absolute().parent)
    folder.inspect(state.root)
    try:
        known = folder.read_facts(state).target
    except UsageError:
        raise
    except OrthwebError:  # damaged: whoever needs what it says will say so
        known = ""
    if known == "docker":
        return "docker"
    if known == "aws" or (not known and (state.root / "aws" / "site.json").exists()):
        return "aws"
    return "local" if known else _left_behind(state)


def _left_behind(state: StateFolder) -> Name | None:
    """Tell from its files where a site was whose memory is lost."""
    if (state.root / "supervisord.conf").exists():
        return "local"
    return "docker" if (state.root / "docker-compose.yml").exists() else None


def choose(site: Site, site_file: Path) -> Choice:
    """Choose where a site should run."""
    if site.target is not None:
        return Choice(site.target, "the site file says so")
    remembered = _remembered(site_file)
    if remembered is not None:
        return Choice(remembered, "where it ran before")
    from orthweb.targets.docker import engines

    if engines.answers():
        return Choice("docker", 'a Docker engine answers (target = "local" in the site file: without it)')
    return Choice("local", "no Docker engine answers")


def _open(name: Name, site: Site, site_file: Path) -> Target:
    base = site_file.absolute().parent
    if name == "docker":
        from orthweb.targets.docker import DockerTarget

        return DockerTarget(site, base, site_file.name)
    if name == "aws":
        from orthweb.targets.aws import AwsTarget

        return AwsTarget(site, base, site_file.name)
    from orthweb.targets.local import LocalTarget

    return LocalTarget(site, base, site_file.name)


def open_site(site_file: Path) -> Target:
    """Read a site file and give the target where its site is; where it would be brought up, when there is none yet.

    Raises
    ------
    SiteFileError : the site file is wrong.
    """
    from orthweb.sitefile import load

    site = load(site_file)
    return _open(_remembered(site_file) or choose(site, site_file).name, site, site_file)


def open_wanted(site_file: Path) -> tuple[Target, Choice]:
    """Read a site file and give the target where its site should run, and why there.

    Raises
    ------
    SiteFileError : the site file is wrong.
    """
    from orthweb.sitefile import load

    site = load(site_file)
    choice = choose(site, site_file)
    if choice.name != "aws" and _remembered(site_file) == "aws":
        raise UsageError(
            f"target: {choice.name}: this site runs on AWS, with its images",
            'write target = "aws"; to remove it from there: orthweb destroy --data',
        )
    return _open(choice.name, site, site_file), choice

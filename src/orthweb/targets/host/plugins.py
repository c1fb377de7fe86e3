"""The site file's plugins of Orthanc: tried, delivered to the state folder, and removed from it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orthweb.capabilities import extra, refusals, trial
from orthweb.capabilities.build import OrthancBuild
from orthweb.capabilities.probing import Scratch
from orthweb.render.supervisor import Account
from orthweb.site import Site
from orthweb.state import StateFolder
from orthweb.targets.host.deployment import File, readable


def equip(
    site: Site,
    build: OrthancBuild,
    libraries: Sequence[extra.Library],
    scratch: Scratch,
    state: StateFolder,
    folder: Path,
    where: str,
) -> OrthancBuild:
    """Add the site file's plugins to an Orthanc once they have been tried apart, and check that it can do the rest.

    Parameters
    ----------
    folder : where the site's Orthanc sees the plugins that are delivered to the state folder.
    where : where the Orthanc is, in words that follow "the Orthanc".

    Raises
    ------
    SiteFileError : a plugin does not load, or the site file asks for what this Orthanc does not have.
    UsageError : the Orthanc is too old, or lacks what every site needs.
    """
    memory = trial.Memory(state.trials)
    known = trial.with_versions(build, scratch, memory)
    found = trial.with_extra_plugins(site, known, libraries, scratch, folder, memory)
    refusals.refuse(site, found, where)
    return found


def deliver(state: StateFolder, libraries: Sequence[extra.Library], account: Account | None) -> None:
    """Put the plugins where every Orthanc of a site finds them; those that run keep theirs."""
    if libraries:
        readable(state.plugins, account)
    for item in _files(state, libraries):
        if item.differs(account):
            item.put(account)


def sweep(state: StateFolder, libraries: Sequence[extra.Library]) -> None:
    """Remove plugins that a site, which answers, does not use any more."""
    wanted = {item.path for item in _files(state, libraries)}
    for path in state.plugins.glob("*"):
        if path not in wanted:
            path.unlink()


def _files(state: StateFolder, libraries: Sequence[extra.Library]) -> list[File]:
    """Give the delivered files: another content has another name."""
    return [File(state.plugins / each.file_name, each.content, "archive", "none") for each in libraries]

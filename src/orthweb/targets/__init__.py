"""Targets run what was rendered: ``open_site`` gives the one that a site file asks for."""

from __future__ import annotations

from pathlib import Path

from orthweb.targets.base import Target


def open_site(site_file: Path) -> Target:
    """Read a site file and give the target that runs its site.

    Raises
    ------
    SiteFileError : the site file is wrong.
    """
    from orthweb.sitefile import load
    from orthweb.targets.local import LocalTarget

    return LocalTarget(load(site_file), site_file.absolute().parent, site_file.name)

"""Orthancs that are no longer part of a site: known by their names, let finish what they are at, and forgotten."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from orthweb.render import envoy_replicas
from orthweb.render.endpoints import Endpoints
from orthweb.targets.base import Report
from orthweb.targets.host import rolling
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.deployment import File
from orthweb.targets.host.place import SitePlace

_NAME = re.compile(r"(archive|reader)(-[0-9]+)?")


def is_archive(name: str) -> bool:
    """Tell whether a name is that of an Orthanc process."""
    return _NAME.fullmatch(name) is not None


def drain(place: SitePlace, endpoints: Endpoints, admin: Path, users: Accounts, report: Report) -> None:
    """Send processes that are no longer part of the site nothing more, and wait until they have nothing to do.

    Parameters
    ----------
    endpoints : of the site as it will be.
    admin : Envoy's administration socket.
    """
    folder = place.state.edge / "eds"
    old = {path.name: path.read_text() for path in folder.glob("*.json")}
    draining, addresses = rolling.retired(old, envoy_replicas.eds_files(endpoints))
    for name, text in draining.items():
        File(folder / name, text.encode(), "edge", "none").put(users.edge)
    rolling.await_idle(admin, addresses, report)


def forget(place: SitePlace) -> None:
    """Delete the folders of processes that are no longer part of the site: there are passwords in them."""
    for path in place.state.root.iterdir():
        if is_archive(path.name) and path.name not in place.services:
            shutil.rmtree(path)

"""What every target that keeps a site's state here says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from orthweb.targets.base import ServiceStatus, SiteStatus
from orthweb.targets.host.place import SitePlace

_PRIVATE = ("users.json", "index-passfile", "htpasswd")


def private_files(place: SitePlace) -> tuple[Path, ...]:
    """List the files that nobody but the site's services may read."""
    state = place.state
    folders = (state.pki, state.edge, *(state.service(name) for name, _ in place.archives), state.index / "tls")
    return tuple(
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix == ".key" or path.name in _PRIVATE
    )


def site_status(
    place: SitePlace,
    target: str,
    state: Literal["running", "degraded", "stopped", "absent"],
    problem: str | None,
    services: Sequence[ServiceStatus],
    facts: Mapping[str, object],
) -> SiteStatus:
    """Give a site's status: what its file says, and what was found; see `SiteStatus`.

    Parameters
    ----------
    facts : what to say beside where the state folder is.
    """
    site = place.site
    return SiteStatus(
        name=site.name,
        target=target,
        state=state,
        answers=problem is None,
        problem=problem,
        url=f"https://{site.hostname}:{site.edge.https_port}/",
        dicom=f"{site.hostname}:{site.edge.dicom_port}",
        aet=site.dicom.aet,
        services=services,
        facts={"state": str(place.state.root), **facts},
    )

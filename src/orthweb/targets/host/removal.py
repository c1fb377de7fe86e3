"""Remove a site that does not run from this machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from orthweb.state import FOLDER_NAME
from orthweb.targets.base import Report
from orthweb.targets.host import bucket, external, folder, store
from orthweb.targets.host.place import SitePlace


def losses(place: SitePlace, *, data: bool) -> list[str]:
    """Say what would be deleted."""
    state = place.state
    if not data:
        return [f"{state.root}: rendered configuration, logs (images, index, secrets and certificates stay)"]
    return [
        f"{state.root}: configuration, logs, secrets, certificates (clients must trust a new CA)",
        *(
            []
            if external.name(place.site.index)
            else [f"{state.index}: the index, and every snapshot of it in {state.backups}"]
        ),
        *([f"{place.store}: every DICOM file"] if place.site.store.kind == "filesystem" else []),
    ]


def remove_everything(place: SitePlace, report: Report) -> None:
    """Delete a site with its images, index and secrets; to be called with the lock held."""
    outside = place.site.store.path is not None
    identity = folder.read_facts(place.state).site if outside else None
    if not store.delete(place.store, identity):
        report(f"{place.store}: left alone, because it is not marked as this site's store")
    if elsewhere := external.name(place.site.index):
        report(f"{elsewhere}: is somebody else's server; the index there, with patients' names, stays: drop it there")
    if place.bucket:
        report(bucket.leave(place))
    shutil.rmtree(place.run, ignore_errors=True)
    link = place.base / FOLDER_NAME
    if link.is_symlink():
        link.unlink()
    folder.discard(place.state)
    folder.delete_discarded(place.state)


def remove_rendered(place: SitePlace, archives: Sequence[str], files: Sequence[str]) -> None:
    """Delete what the next `up` renders again.

    Parameters
    ----------
    archives : names of the Orthanc processes.
    files : names of the target's own files in the state folder.
    """
    state = place.state
    inside = [state.service(name) / each for name in archives for each in ("configuration", "tls")]
    for path in (state.edge, *inside, state.root / "bin", state.plugins, state.logs, state.reports):
        shutil.rmtree(path, ignore_errors=True)
    for name in files:
        (state.root / name).unlink(missing_ok=True)
    shutil.rmtree(place.run, ignore_errors=True)

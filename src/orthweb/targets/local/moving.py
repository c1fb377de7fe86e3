"""What moving a local site's images to another kind of store needs: where they are, and a site that holds still."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from orthweb.errors import NotRunningError, OrthwebError
from orthweb.store.index import connect
from orthweb.store.site import Kind, Stored
from orthweb.targets.base import Report
from orthweb.targets.host import folder, store
from orthweb.targets.local import bringup, inspection, supervision
from orthweb.targets.local.place import Place

BESIDE = ("edge", "index")
"""The services that are no Orthanc."""

INDEX_SECONDS = 60.0
"""How long the index may take to answer; after a crash it reads its log first."""


def stored(place: Place) -> Stored:
    """Say where the images are, whatever the site file says by now.

    Raises
    ------
    NotRunningError : there is no site yet.
    """
    facts = folder.read_facts(place.state)
    if not facts.site:
        raise NotRunningError("there is no site here yet", "orthweb up")
    images = Path(facts.store) if facts.store else place.state.store
    kind = facts.store_kind or "filesystem"
    if kind == "s3":
        return Stored("s3", images, facts.bucket)
    return Stored("database" if kind == "database" else "filesystem", images)


def prepare(place: Place) -> Path:
    """Make and claim the folder that the site file names for the store; see `StoreHost`."""
    facts = folder.read_facts(place.state)
    if place.site.store.path is not None:
        store.check(place.store, facts.site, "")
    bringup.make_store(place, facts)
    return place.store


def remember(place: Place, kind: Kind) -> None:
    """Note which kind of store the images are in now."""
    outside = kind == "filesystem" and place.site.store.path is not None
    facts = folder.read_facts(place.state)
    kept = replace(facts, store_kind=kind, store=str(place.store) if outside else "", bucket=place.bucket)
    folder.write_facts(place.state, kept)


@contextlib.contextmanager
def quiesced(place: Place, report: Report) -> Iterator[None]:
    """Let nothing but the index run; see `StoreHost`."""
    with folder.locked(place.state, report):
        ran = place.running()
        configuration = place.state.root / "supervisord.conf"
        if not ran and not configuration.exists():
            raise NotRunningError("the site was removed; its data is there", "orthweb up")
        done = False
        try:
            if ran:
                report("stopping the archive")
                place.supervisor.stop("edge", *_archives(place))
            else:
                report("starting the index alone")
                bringup.clear_leftovers(place, report)
                supervision.launch(configuration, place.state.logs / "supervisor.log")
            place.supervisor.start("index")
            _wait_for_index(place)
            yield
            done = True
        finally:
            if not ran:
                bringup.stop(place, report)
            elif not done:
                report("starting the archive again, with the store as it was")
                for name in (*_archives(place), "edge"):
                    place.supervisor.start(name)


def _archives(place: Place) -> list[str]:
    """Name the Orthancs that the supervisor knows: the site file may name others by now."""
    return [name for name in place.supervisor.services() if name not in BESIDE]


def _wait_for_index(place: Place) -> None:
    facts = inspection.host_facts(place).index
    assert facts is not None, "a local site's index is on this machine"
    deadline = time.monotonic() + INDEX_SECONDS
    while True:
        try:
            connect(facts).close()
            return
        except OrthwebError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

"""What moving a site's images to another kind of store needs: where they are, and a site that holds still."""

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
from orthweb.targets.docker import bringup, inspection
from orthweb.targets.docker.containers import compose_up
from orthweb.targets.docker.place import Place, accounts
from orthweb.targets.host import folder, store

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
    if facts.store_kind == "s3":
        return Stored("s3", images, facts.bucket)
    return Stored("database" if facts.store_kind == "database" else "filesystem", images)


def prepare(place: Place) -> Path:
    """Make and claim the folder that the site file names for the store; see `StoreHost`."""
    facts = folder.read_facts(place.state)
    if place.site.store.path is not None:
        store.check(place.store, facts.site, "")
    bringup.make_store(place, accounts(), facts)
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
        states = place.states()
        ran = place.running()
        others = [name for name in states if name != "index" and states[name].runs]
        if not place.compose_file.exists():
            raise NotRunningError("the site was removed; its data is there", "orthweb up")
        running = [[states[name].name for name in others if (name == "edge") == first] for first in (True, False)]
        done = False
        try:
            if ran:
                report("stopping the archive")
                for names in running:
                    place.containers.stop(names)
            else:
                report("starting the index alone")
                facts = folder.read_facts(place.state)
                folder.write_facts(place.state, replace(facts, containers=True))
            if "index" not in states:
                compose_up(place.engine, place.project, place.compose_file, ["index"])
            elif not states["index"].runs:
                place.containers.start(states["index"].name)
            _wait_for_index(place)
            yield
            done = True
        finally:
            if not ran:
                bringup.stop(place, report)
            elif not done:
                report("starting the archive again, with the store as it was")
                # After Ctrl-C the engine may still be stopping one, and a start would do nothing.
                for names in running:
                    place.containers.stop(names)
                for name in others:
                    place.containers.start(states[name].name)


def _wait_for_index(place: Place) -> None:
    facts = inspection.host_facts(place).index
    assert facts is not None, "the index's network is this machine's own"
    deadline = time.monotonic() + INDEX_SECONDS
    while True:
        try:
            connect(facts).close()
            return
        except OrthwebError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

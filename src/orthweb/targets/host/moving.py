"""Where a site's images are, whatever its file says by now, and the index that is asked while they move."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from orthweb.checks.facts import IndexFacts
from orthweb.errors import NotRunningError, OrthwebError
from orthweb.store.index import connect
from orthweb.store.site import Kind, Stored
from orthweb.targets.host import folder
from orthweb.targets.host.place import SitePlace

INDEX_SECONDS = 60.0
"""How long the index may take to answer; after a crash it reads its log first."""


def stored(place: SitePlace) -> Stored:
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
        return Stored("s3", images, facts.bucket, facts.site, facts.bucket_claim)
    return Stored("database" if facts.store_kind == "database" else "filesystem", images, site=facts.site)


def remember(place: SitePlace, kind: Kind) -> None:
    """Note which kind of store the images are in now."""
    outside = kind == "filesystem" and place.site.store.path is not None
    facts = folder.read_facts(place.state)
    kept = replace(facts, store_kind=kind, store=str(place.store) if outside else "", bucket=place.bucket)
    folder.write_facts(place.state, kept)


def wait_for_index(facts: IndexFacts) -> None:
    """Wait until an index that was just started answers.

    Raises
    ------
    OrthwebError : it does not.
    """
    deadline = time.monotonic() + INDEX_SECONDS
    while True:
        try:
            connect(facts).close()
            return
        except OrthwebError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

"""What moving a local site's images to another kind of store needs: where they are, and a site that holds still."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from orthweb.errors import NotRunningError
from orthweb.targets.base import Report
from orthweb.targets.host import folder
from orthweb.targets.host.moving import wait_for_index
from orthweb.targets.local import inspection
from orthweb.targets.local.bringup import Bringup
from orthweb.targets.local.place import Place

BESIDE = ("edge", "index")
"""The services that are no Orthanc."""


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
                Bringup(place, report).clear_leftovers()
                Bringup(place).launch()
            if place.site.index.host is None:
                place.supervisor.start("index")
            wait_for_index(inspection.index_facts(place))
            yield
            done = True
        finally:
            if not ran:
                Bringup(place).stop(report)
            elif not done:
                report("starting the archive again, with the store as it was")
                for name in (*_archives(place), "edge"):
                    place.supervisor.start(name)


def _archives(place: Place) -> list[str]:
    """Name the Orthancs that the supervisor knows: the site file may name others by now."""
    return [name for name in place.supervisor.services() if name not in BESIDE]

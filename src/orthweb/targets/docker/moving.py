"""What moving a site's images to another kind of store needs: where they are, and a site that holds still."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from orthweb.errors import NotRunningError
from orthweb.targets.base import Report
from orthweb.targets.docker import inspection
from orthweb.targets.docker.bringup import Bringup
from orthweb.targets.docker.containers import compose_up
from orthweb.targets.docker.place import Place
from orthweb.targets.host import folder
from orthweb.targets.host.moving import wait_for_index


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
            if place.site.index.host is not None:
                pass  # it runs, or somebody else has to start it
            elif "index" not in states:
                compose_up(place.engine, place.project, place.compose_file, ["index"])
            elif not states["index"].runs:
                place.containers.start(states["index"].name)
            wait_for_index(inspection.index_facts(place))
            yield
            done = True
        finally:
            if not ran:
                Bringup(place).stop(report)
            elif not done:
                report("starting the archive again, with the store as it was")
                # After Ctrl-C the engine may still be stopping one, and a start would do nothing.
                for names in running:
                    place.containers.stop(names)
                for name in others:
                    place.containers.start(states[name].name)

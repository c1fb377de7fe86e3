"""Where a site in containers keeps what this machine and its containers share."""

from __future__ import annotations

from pathlib import Path

from orthweb.site import Site
from orthweb.targets.docker.place import Place
from orthweb.targets.host import folder


def test_sockets_when_the_path_is_long_then_in_the_state_folder_and_reached_by_a_short_link(tmp_path: Path) -> None:
    base = tmp_path / ("a-hospital" * 9)
    base.mkdir()
    place = Place(Site(), base)
    assert place.run != place.state.run
    # What the engine mounts again after a reboot lies on the disk.
    assert place.sockets.is_relative_to(place.state.root)
    folder.make(base)
    try:
        for _ in range(2):
            place.link_sockets()
        assert (place.admin.parent).readlink() == place.sockets
        assert len(str(place.admin)) < 108
    finally:
        place.admin.parent.unlink()
        place.run.rmdir()


def test_sockets_when_the_path_is_short_then_no_link() -> None:
    place = Place(Site(), Path("/srv/site"))
    place.link_sockets()
    assert place.admin == Path("/srv/site/.orthweb/run/edge/admin.sock")

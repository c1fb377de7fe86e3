"""An edge that is told to want no more work, as a host on AWS tells its own before a change."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from live.counting import client, samples, sending
from live.sites import LiveSite
from orthweb.host import edge
from orthweb.targets.host import rolling


def admin(site: LiveSite) -> Path:
    return site.target.place.run / "edge" / "admin.sock"


def health(site: LiveSite) -> int:
    with client(site.access) as http:
        return int(http.get("/healthz", auth=httpx.BasicAuth("", "")).status_code)


@pytest.fixture
def where(site: LiveSite) -> set[str]:
    found = site.target.place.kept_endpoints()
    return {address for process in found.archives for address in rolling.addresses(process)}


def test_health_when_told_so_then_says_503_while_everything_else_goes_on(site: LiveSite, where: set[str]) -> None:
    assert health(site) == 200
    edge.drain(admin(site), where, lambda _line: None, noticed=0)
    try:
        assert health(site) == 503
        with client(site.access) as http:
            assert http.get("/system").status_code == 200
    finally:
        edge.undrain(admin(site))
    assert health(site) == 200


def test_drain_when_images_come_in_then_waits_for_them(site: LiveSite, where: set[str], tmp_path: Path) -> None:
    sent, said = samples(tmp_path, 40, seed="draining"), list[str]()
    with sending(site, sent) as books:
        books.wait_for(5)
        waiting = threading.Thread(target=edge.drain, args=(admin(site), where, said.append), kwargs={"noticed": 0})
        waiting.start()
        # What was begun ends; senders that come anew are let in, since nobody else would take them here.
    waiting.join(60)
    try:
        assert not waiting.is_alive()
        assert any("waiting for" in line for line in said)
        assert len(books.acknowledged) == len(sent)
        assert not rolling.load(admin(site), where)
    finally:
        edge.undrain(admin(site))

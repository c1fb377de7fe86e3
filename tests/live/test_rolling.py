"""A change reaches every Orthanc in its turn while the site goes on; one more or one fewer disturbs nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom.presentation import build_context

from live.counting import CT_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN, account, answers, client, samples, sending
from live.edge_clients import until
from live.replicas import load, pids, queries
from live.sites import LiveSite, live_site
from orthweb.dicom.association import associate
from orthweb.dicom.peer import Peer
from orthweb.targets.base import quiet

ORTHANCS = ("archive", "archive-2", "reader")


@pytest.fixture(scope="module")
def running() -> Iterator[LiveSite]:
    """A site with two writers and one reader; each test changes it from what the one before left."""
    with live_site(archive={"writers": 2, "readers": 1, "stable_age": 60}) as made:
        yield made


def change(site: LiveSite, stable_age: int, readers: int = 1) -> None:
    """Write the site file anew; each Orthanc must be restarted when the age is another one."""
    site.write(archive={"writers": 2, "readers": readers, "stable_age": stable_age})


def test_up_with_a_changed_setting_while_others_send_and_ask_then_no_answer_is_lost(
    running: LiveSite, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    slices = samples(tmp_path, 1500, seed="rolling")
    before = pids(running)
    change(running, 61)
    with queries(running) as asked, sending(running, slices[:1], associations=1):
        asked.wait_for(10)
        up = running.start("up")
        # Many short associations, as modalities make them.
        acknowledged: set[str] = set()
        lost = 0
        rest = slices[1:]
        while rest:
            batch, rest = rest[:20], rest[20:]
            with sending(running, batch, associations=2) as send:
                pass
            acknowledged |= send.acknowledged
            lost += send.lost_associations
            if up.poll() is not None and len(acknowledged) > 200:
                break
        said = up.communicate(timeout=120)
        assert up.returncode == 0, said
    after = pids(running)
    assert {name for name in after if after[name] != before[name]} == set(ORTHANCS)
    assert lost == 0
    assert set(asked.statuses) == {"200"}, asked.statuses
    sent = [sample for sample in slices if sample.uid in acknowledged]
    found = account(running, sent, acknowledged)
    record_property("account", f"rolled: {found}; {asked.statuses}")
    assert found.kept, str(found)


def test_up_while_an_association_is_open_then_it_finishes_before_its_writer_restarts(
    running: LiveSite, tmp_path: Path
) -> None:
    slices = samples(tmp_path, 6, seed="in flight")
    before = pids(running)
    change(running, 62)
    contexts = [build_context(CT_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN)]
    with associate(Peer.of_site(running.access), contexts) as association:
        assert association.send_c_store(slices[0].path).Status == 0
        [busy] = [name for name in ("archive", "archive-2") if load(running, name).associations]
        up = running.start("up")
        lines: list[str] = []
        assert up.stderr is not None
        reading = threading.Thread(target=lambda stream: lines.extend(stream), args=(up.stderr,))
        reading.start()
        until(lambda: any(f"{busy}: waiting for 1 association" in line for line in lines), "the wait", 60)
        for sample in slices[1:]:
            assert association.send_c_store(sample.path).Status == 0
        assert pids(running)[busy] == before[busy]
        # Whoever comes now is served by the other.
        assert answers(running)
    assert up.wait(60) == 0
    reading.join(10)
    after = pids(running)
    assert {name for name in after if after[name] != before[name]} == set(ORTHANCS)


def test_up_when_an_archive_has_only_just_started_then_it_takes_up_the_change_too(running: LiveSite) -> None:
    change(running, 64)
    supervisor = running.target.place.supervisor
    supervisor.stop("reader")
    supervisor.start("reader")
    before = pids(running)
    running.target.up(quiet)
    after = pids(running)
    assert {name for name in after if after[name] != before[name]} == set(ORTHANCS)
    change(running, 62)
    running.orthweb("up")


def test_up_with_another_number_of_readers_then_nobody_else_is_restarted(running: LiveSite) -> None:
    before = pids(running)
    with queries(running) as asked:
        asked.wait_for(10)
        change(running, 62, readers=2)
        assert "start reader-2" in running.orthweb("up").stdout
        more = pids(running)
        assert more.pop("reader-2") > 0
        assert more == before
        until(lambda: load(running, "reader-2").requests, "a request to the new reader", 30)
        change(running, 62)
        assert "reader-2" in running.orthweb("plan").stdout
        running.orthweb("up")
        asked.wait_for(10)
    assert pids(running) == before
    assert not (running.state / "reader-2").exists()
    assert set(asked.statuses) == {"200"}, asked.statuses


def test_up_when_the_first_process_does_not_come_back_then_the_others_stay_as_they_were(running: LiveSite) -> None:
    before = pids(running)
    broken = running.state / "reader" / "configuration" / "broken.json"
    broken.write_text("{")
    configuration = running.state / "archive" / "configuration" / "orthanc.json"
    was = configuration.read_text()
    try:
        change(running, 63)
        said = running.orthweb("up", check=False)
        assert said.returncode == 1
        assert "reader does not start" in said.stderr
        assert {name for name, pid in pids(running).items() if pid != before[name]} == {"reader"}
        assert configuration.read_text() == was
        with client(running.access) as http:
            assert http.get("/dicom-web/studies").status_code in (200, 204)
    finally:
        broken.unlink()
    running.orthweb("up")
    assert configuration.read_text() != was
    assert answers(running)

"""Services and their supervisor die, or go away for a while, during a send: nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from live.counting import Sample, account, answers, eventually, samples, sending
from live.sites import LiveSite, live_site
from orthweb.targets.host.readiness import ready
from orthweb.targets.local import supervision

COUNT = 500
SERVICES = ("index", "archive", "reader", "edge")


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveSite]:
    with live_site(up=False) as made:
        yield made


@pytest.fixture
def running(shared: LiveSite) -> LiveSite:
    """A site that runs, whatever the test before did to it."""
    shared.orthweb("up")
    return shared


@pytest.fixture
def slices(tmp_path: Path, request: pytest.FixtureRequest) -> list[Sample]:
    return samples(tmp_path / "slices", COUNT, seed=request.node.name)


def pid_of(site: LiveSite, service: str) -> int:
    return int(site.target.place.supervisor.services()[service]["pid"])


@pytest.mark.parametrize("service", SERVICES)
def test_kill_9_of_a_service_during_a_send_then_it_restarts_and_every_acknowledged_instance_is_there(
    running: LiveSite, slices: list[Sample], service: str, record_property: Callable[[str, object], None]
) -> None:
    before = pid_of(running, service)
    with sending(running, slices) as send:
        send.wait_for(COUNT // 5)
        os.kill(before, signal.SIGKILL)
    assert len(send.acknowledged) == COUNT, str(send)
    eventually(lambda: answers(running), 30, "the site does not answer again")
    assert pid_of(running, service) not in (0, before)
    found = account(running, slices, send.acknowledged)
    record_property("account", f"kill -9 {service}: {send}; {found}")
    assert found.kept, str(found)


def test_kill_9_of_a_backend_of_the_index_during_a_send_then_every_acknowledged_instance_is_there(
    running: LiveSite, slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    with sending(running, slices) as send:
        send.wait_for(COUNT // 5)
        children = psutil.Process(pid_of(running, "index")).children()
        # PostgreSQL restarts all its processes when one of them dies in an unknown state.
        next(child for child in children if "orthanc" in " ".join(child.cmdline())).kill()
    assert len(send.acknowledged) == COUNT, str(send)
    found = account(running, slices, send.acknowledged)
    record_property("account", f"kill -9 of the archive's PostgreSQL backend: {send}; {found}")
    assert found.kept, str(found)


def test_stop_and_start_of_the_index_during_a_send_then_every_acknowledged_instance_is_there(
    running: LiveSite, slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    supervisor = running.target.place.supervisor
    with sending(running, slices) as send:
        send.wait_for(COUNT // 5)
        supervisor.stop("index")
        seen = len(send.acknowledged)
        eventually(lambda: ready(running.access, timeout=1) is not None, 10, "ready without an index")
        assert running.orthweb("status", check=False).returncode == 1
        supervisor.start("index")
    assert seen < COUNT, "the send was over before the index stopped"
    assert len(send.acknowledged) == COUNT, str(send)
    found = account(running, slices, send.acknowledged)
    record_property("account", f"index stopped and started: {send}; {found}")
    assert found.kept, str(found)


def test_a_changed_setting_during_a_send_then_the_associations_finish_and_nothing_is_lost(
    running: LiveSite, slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    before = pid_of(running, "archive")
    with sending(running, slices) as send:
        send.wait_for(COUNT // 5)
        running.write(archive={"stable_age": 61})
        running.orthweb("up", timeout=60)
    assert send.lost_associations == 0, str(send)
    assert pid_of(running, "archive") != before
    assert len(send.acknowledged) == COUNT, str(send)
    found = account(running, slices, send.acknowledged)
    record_property("account", f"up with a changed setting: {send}; {found}")
    assert found.kept, str(found)


def test_kill_9_of_the_supervisor_during_a_send_then_nothing_is_orphaned_and_up_works_at_once(
    running: LiveSite, slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    supervisor = running.target.place.supervisor.pid()
    assert supervisor is not None
    pids = [pid_of(running, name) for name in SERVICES]
    with sending(running, slices) as send:
        send.wait_for(COUNT // 5)
        os.kill(supervisor, signal.SIGKILL)
        # At once: the services are still on their way out.
        running.orthweb("up")
    assert len(send.acknowledged) == COUNT, str(send)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    found = account(running, slices, send.acknowledged)
    record_property("account", f"kill -9 supervisor, up at once: {send}; {found}")
    assert found.kept, str(found)


def test_kill_9_of_the_supervisor_when_nobody_calls_up_then_everything_ends_and_status_says_stopped(
    running: LiveSite,
) -> None:
    supervisor = running.target.place.supervisor.pid()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: not supervision.leftovers(running.target.state), 15, "orphans")
    said = running.orthweb("status", check=False)
    assert said.returncode == 1
    assert "The site is stopped" in said.stdout
    assert "was not running" in running.orthweb("down").stdout


def test_power_cut_during_a_send_then_up_finds_every_acknowledged_instance(
    running: LiveSite, slices: list[Sample], record_property: Callable[[str, object], None]
) -> None:
    everything = supervision.leftovers(running.target.state)
    with sending(running, slices, patience=0) as send:
        send.wait_for(COUNT // 5)
        children = [child for process in everything for child in process.children()]
        for victim in (*everything, *children):
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
    psutil.wait_procs(everything, 10)
    assert COUNT // 5 <= len(send.acknowledged) < COUNT
    running.orthweb("up")
    found = account(running, slices, send.acknowledged)
    record_property("account", f"kill -9 of everything: {send}; {found}")
    assert found.kept, str(found)


def test_up_after_a_restart_of_the_machine_when_the_indexs_old_process_id_is_somebody_elses_then_it_starts(
    running: LiveSite, program: Callable[[str], Path]
) -> None:
    running.orthweb("down")
    # A process of the same user took the number that the lock file names, as happens after a restart of the machine.
    user = running.target.status().services[0].user
    words = [str(program("setpriv")), "--reuid", user, "--clear-groups"] if os.geteuid() == 0 else []
    stranger = psutil.Popen([*words, str(program("sleep")), "60"])
    try:
        lock = running.state / "index" / "data" / "postmaster.pid"
        data = lock.parent
        lock.write_text(f"{stranger.pid}\n{data}\n1700000000\n5432\n\n127.0.0.1\n       1         1\nready\n")
        os.chown(lock, data.stat().st_uid, data.stat().st_gid)
        running.orthweb("up")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()

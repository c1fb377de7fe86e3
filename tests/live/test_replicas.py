"""Several Orthancs on one index and one store: who gets what, what two do at once, and what happens when one dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from live.counting import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE_ENDIAN,
    TIMEOUTS,
    Sample,
    account,
    answers,
    client,
    data_set,
    eventually,
    many_samples,
    samples,
    sending,
)
from live.replicas import AccessLog, load, pids, processes, queries
from live.sites import LiveSite, live_site
from orthweb.dicom.association import associate
from orthweb.dicom.peer import Peer
from orthweb.render.envoy_routes import SESSION, SESSION_HEADER
from orthweb.targets.base import quiet
from orthweb.targets.host.rolling import upstreams

WRITERS, READERS = ("archive", "archive-2"), ("reader", "reader-2")
NOTHING = "00000000-00000000-00000000-00000000-00000000"


@pytest.fixture(scope="module")
def four() -> Iterator[LiveSite]:
    """A site with two writers and two readers."""
    with live_site(archive={"writers": 2, "readers": 2}) as made:
        yield made


@pytest.fixture
def running(four: LiveSite) -> LiveSite:
    """The same, whole again whatever the test before did to it."""
    supervisor = four.target.place.supervisor
    for name in (*WRITERS, *READERS):
        supervisor.start(name)
    four.orthweb("up")
    return four


# -- who gets what ----------------------------------------------------------------------------------------------------


def test_up_when_it_has_ended_then_the_edge_gives_work_to_every_process(four: LiveSite) -> None:
    four.orthweb("down")
    target = four.target
    target.up(quiet)
    found = upstreams(target.place.run / "edge" / "admin.sock")
    assert found is not None
    assert len({each.address for each in found}) == len(READERS) + 2 * len(WRITERS)
    assert [each.address for each in found if not each.alive] == []


@pytest.mark.parametrize(
    ("role", "requests"),
    [
        (
            READERS,
            [
                ("GET", "/dicom-web/studies?limit=1"),
                ("GET", f"/dicom-web/studies/1.2.3/series/1.2.4/instances/{NOTHING}/metadata"),
                ("GET", "/wado?requestType=WADO&objectUID=1.2.3"),
                ("GET", "/studies?limit=1&since=0"),
                ("GET", f"/studies/{NOTHING}/archive"),
                ("GET", f"/instances/{NOTHING}"),
                ("GET", f"/instances/{NOTHING}/file"),
                ("GET", "/statistics"),
                ("GET", "/system"),
                ("GET", "/changes"),
                ("GET", "/app/explorer.html"),
                ("POST", "/tools/find"),
                ("POST", "/tools/lookup"),
            ],
        ),
        (
            WRITERS,
            [
                ("GET", f"/studies/{NOTHING}"),
                ("GET", f"/patients/{NOTHING}/studies"),
                ("GET", "/jobs"),
                ("GET", "/queries"),
                ("GET", "/modalities"),
                ("GET", "/peers"),
                ("GET", "/tools/metrics-prometheus"),
                ("GET", "/unheard-of"),
                ("POST", "/instances"),
                ("POST", "/dicom-web/studies"),
                ("POST", "/dicom-web/studies/1.2.3"),
                ("POST", "/tools/create-archive"),
                ("POST", f"/studies/{NOTHING}/anonymize"),
                ("PUT", f"/studies/{NOTHING}/metadata/4000"),
                ("DELETE", f"/studies/{NOTHING}"),
            ],
        ),
    ],
    ids=["readers", "writers"],
)
def test_request_when_it_only_reads_then_a_reader_answers_and_else_a_writer(
    four: LiveSite, role: tuple[str, str], requests: list[tuple[str, str]]
) -> None:
    log = AccessLog(four)
    with client(four.access) as http:
        for method, path in requests:
            http.request(method, path, content=b"{}" if method in ("POST", "PUT") else None)
    answered = log.http(len(requests))
    wrong = [(*request, name) for request, name in zip(requests, answered, strict=True) if name not in role]
    assert wrong == []


def test_requests_and_associations_when_there_are_many_then_every_process_gets_some(four: LiveSite) -> None:
    log = AccessLog(four)
    with client(four.access) as http, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: http.get("/dicom-web/studies"), range(24)))
        list(pool.map(lambda _: http.post("/instances", content=b"no DICOM"), range(24)))
    peer = Peer.of_site(four.access, timeouts=TIMEOUTS)
    for _ in range(16):
        with associate(peer, [build_context(CT_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN)]):
            pass
    assert set(log.http(48)) == {*READERS, *WRITERS}
    assert set(log.dicom(16)) == set(WRITERS)


@pytest.mark.parametrize("way", ["cookie", "header"])
def test_job_when_its_client_comes_back_then_is_polled_where_it_was_started(
    four: LiveSite, way: str, tmp_path: Path
) -> None:
    [sample] = samples(tmp_path, 1, seed=f"job {way}")
    with client(four.access) as http:
        http.post("/instances", content=sample.content).raise_for_status()
        order = {"Asynchronous": True, "Resources": [sample.archive_id]}
        for _ in range(3):
            http.cookies.clear()
            started = http.post("/tools/create-archive", json=order).raise_for_status()
            # A client that keeps cookies, or one that sends the answer's header back.
            headers = {}
            if way == "header":
                http.cookies.clear()
                headers = {SESSION_HEADER: started.headers[SESSION_HEADER]}
            for _ in range(8):
                assert http.get(f"/jobs/{started.json()['ID']}", headers=headers).status_code == 200
                if way == "header":
                    http.cookies.clear()
        cookie = http.get("/jobs", headers={"Cookie": ""}).headers["set-cookie"]
    assert cookie.startswith(f"{SESSION}=")
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}


def test_instance_when_a_writer_has_acknowledged_it_then_every_reader_sees_it_at_once(
    four: LiveSite, tmp_path: Path
) -> None:
    log = AccessLog(four)
    with client(four.access) as http:
        for sample in samples(tmp_path, 10, seed="read after write"):
            http.post("/instances", content=sample.content).raise_for_status()
            assert [http.get(f"/instances/{sample.archive_id}/tags").status_code for _ in range(3)] == [200] * 3
            http.delete(f"/instances/{sample.archive_id}").raise_for_status()
            assert [http.get(f"/instances/{sample.archive_id}/tags").status_code for _ in range(3)] == [404] * 3
    assert set(log.http(80)) == {*WRITERS, *READERS}


# -- two writers at once ----------------------------------------------------------------------------------------------


def _association_on(site: LiveSite, writer: str, stack: ExitStack) -> Association:
    """Open an association that the edge gave to this writer."""
    peer = Peer.of_site(site.access, timeouts=TIMEOUTS)
    for _ in range(50):
        before = load(site, writer).associations
        with ExitStack() as one:
            made = one.enter_context(associate(peer, [build_context(CT_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN)]))
            if load(site, writer).associations > before:
                stack.push(one.pop_all())
                return made
    raise AssertionError(f"no association reaches {writer}")


def _store_twice_at_once(site: LiveSite, twice: list[Sample]) -> list[tuple[int | None, int | None]]:
    """Send each instance to both writers in the same moment; give both statuses."""
    with ExitStack() as stack:
        both = [_association_on(site, writer, stack) for writer in WRITERS]
        together = threading.Barrier(2)

        def send(association: Association) -> list[int | None]:
            statuses: list[int | None] = []
            for sample in twice:
                together.wait(60)
                status = association.send_c_store(sample.path)
                statuses.append(int(status.Status) if "Status" in status else None)
            return statuses

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(send, both)
    return list(zip(first, second, strict=True))


def test_two_writers_when_they_get_one_study_and_the_same_instances_at_once_then_nothing_is_double_or_lost(
    running: LiveSite, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with client(running.access) as http:
        for patient in http.get("/patients").json():
            http.delete(f"/patients/{patient}")
    sent = many_samples(tmp_path, 5000, seed="two writers", series=5)
    twice, once = sent[:300], sent[300:]
    statuses = _store_twice_at_once(running, twice)
    record_property("twice", f"{sum(pair != (0, 0) for pair in statuses)} of {len(twice)} refused by one of the two")
    assert all(0 in pair for pair in statuses), statuses
    log = AccessLog(running)
    with sending(running, once, associations=4) as send:
        pass
    record_property("send", str(send))
    assert len(send.acknowledged) == len(once), str(send)
    assert set(log.dicom(4 + send.lost_associations)) == set(WRITERS)
    with client(running.access) as http:
        counts = http.get("/statistics").json()
        found = http.get("/instances").json()
        assert sorted(found) == sorted(sample.archive_id for sample in sent)
        levels = {level: len(http.get(f"/{level}").json()) for level in ("patients", "studies", "series")}
        assert levels == {"patients": 1, "studies": 1, "series": 5}
        assert [counts[f"Count{level}"] for level in ("Patients", "Studies", "Series", "Instances")] == [1, 1, 5, 5000]
        for sample in [*twice[::10], *once[::50]]:
            file = http.get(f"/instances/{sample.archive_id}/file").raise_for_status().content
            assert data_set(file) == data_set(sample.content)


# -- one dies ---------------------------------------------------------------------------------------------------------


def test_writer_when_killed_during_an_association_then_the_senders_retry_lands_on_the_other_and_nothing_is_lost(
    running: LiveSite, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    slices = samples(tmp_path, 200, seed="killed writer")
    log = AccessLog(running)
    before = pids(running)
    supervisor = running.target.place.supervisor.pid()
    assert supervisor is not None
    try:
        with sending(running, slices, associations=1) as send:
            send.wait_for(50)
            [victim] = [name for name in WRITERS if load(running, name).associations]
            # Else it may be back before a sender on a busy machine tries again.
            os.kill(supervisor, signal.SIGSTOP)
            os.kill(before[victim], signal.SIGKILL)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    [other] = set(WRITERS) - {victim}
    assert send.lost_associations == 1, str(send)
    assert log.dicom(2)[:2] == [victim, other]
    assert len(send.acknowledged) == len(slices), str(send)
    found = account(running, slices, send.acknowledged)
    record_property("account", f"kill -9 of {victim}: {send}; {found}")
    assert found.kept, str(found)
    eventually(lambda: pids(running)[victim] not in (0, before[victim]), 20, "the writer does not come back")


def test_reader_when_killed_then_no_query_fails(running: LiveSite) -> None:
    before = pids(running)
    with queries(running) as asked:
        asked.wait_for(20)
        os.kill(before["reader"], signal.SIGKILL)
        asked.wait_for(100)
        eventually(lambda: pids(running)["reader"] not in (0, before["reader"]), 20, "the reader does not come back")
        asked.wait_for(50)
    assert set(asked.statuses) == {"200"}, asked.statuses


def test_readers_when_all_are_away_then_the_writers_answer_queries(running: LiveSite) -> None:
    supervisor = running.target.place.supervisor
    with queries(running) as asked:
        asked.wait_for(20)
        supervisor.stop(*READERS)
        log = AccessLog(running)
        asked.wait_for(50)
        assert set(log.http(40)) <= set(WRITERS)
        for name in READERS:
            supervisor.start(name)
        eventually(lambda: set(AccessLog(running).http(3)) <= set(READERS), 20, "the readers get no queries again")
    assert set(asked.statuses) == {"200"}, asked.statuses


def test_writers_when_all_are_away_then_readers_answer_queries_and_nothing_is_taken_in(
    running: LiveSite, tmp_path: Path
) -> None:
    supervisor = running.target.place.supervisor
    slices = samples(tmp_path, 1, seed="no writer")
    supervisor.stop(*WRITERS)
    try:
        with client(running.access) as http:
            assert http.get("/dicom-web/studies").status_code in (200, 204)
            assert http.post("/tools/find", json={"Level": "Study", "Query": {}}).status_code == 200
            eventually(lambda: http.post("/instances", content=slices[0].content).status_code == 503, 5, "not 503")
        with sending(running, slices, associations=1, patience=0) as send:
            pass
        assert not send.acknowledged
        assert not answers(running)
    finally:
        for name in WRITERS:
            supervisor.start(name)
    eventually(lambda: answers(running), 20, "the writers do not come back")


def test_index_when_it_was_restarted_then_no_query_meets_a_connection_of_before(running: LiveSite) -> None:
    supervisor = running.target.place.supervisor
    with client(running.access) as http, ThreadPoolExecutor(8) as pool:
        # Every connection of the readers has been used, and is open.
        list(pool.map(lambda _: http.get("/dicom-web/studies"), range(64)))
        supervisor.stop("index")
        supervisor.start("index")
        eventually(lambda: answers(running), 20, "the site does not answer again")
        statuses = {http.post("/tools/find", json={"Level": "Study", "Query": {}}).status_code for _ in range(40)}
    assert statuses == {200}


def test_kill_9_of_every_orthanc_during_a_send_then_every_acknowledged_instance_is_there(
    running: LiveSite, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    slices = samples(tmp_path, 400, seed="all killed")
    with sending(running, slices) as send:
        send.wait_for(100)
        before = {name: pid for name, pid in pids(running).items() if name in processes(running)}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
    assert len(send.acknowledged) == len(slices), str(send)
    found = account(running, slices, send.acknowledged)
    record_property("account", f"kill -9 of every Orthanc: {send}; {found}")
    assert found.kept, str(found)
    eventually(lambda: all(pids(running)[name] not in (0, pid) for name, pid in before.items()), 20, "not all are back")

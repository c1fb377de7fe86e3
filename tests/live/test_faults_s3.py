"""The bucket fails in every way: what was acknowledged is found, byte for byte, and nothing else is promised.

Orthanc runs without the local cache here, except where that is what fails: what is found, is found in the bucket.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from live.bare_orthanc import BareOrthanc, bare_orthanc, s3_section
from live.counting import Account, Sample, account, eventually, samples, sending
from live.s3_server import S3Server

DEADLINE = 2
REFUSED = 0xA700
""" "Refused: Out of resources" (PS3.4 B.2.3): a sender may try again later."""

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def orthanc(folder: Path, s3: S3Server) -> Iterator[BareOrthanc]:
    with bare_orthanc(folder, orthweb={"Store": "s3", "S3": s3_section(s3, Deadline=DEADLINE)}) as made:
        yield made


@pytest.fixture
def slices(tmp_path: Path) -> list[Sample]:
    return samples(tmp_path / "slices", 40, seed=tmp_path.name)


def _kept(orthanc: BareOrthanc, slices: list[Sample], acknowledged: set[str]) -> Account:
    found = account(orthanc.client(), slices, acknowledged)
    assert found.kept, str(found)
    return found


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "code": "InternalError", "times": 12},
        {"status": 503, "code": "SlowDown", "times": 12},
        {"harm": "cut request", "times": 12},
        {"harm": "lose answer", "times": 12},
        {"delay": DEADLINE, "times": 3},
    ],
    ids=["500", "slow down", "cut in the middle of a PUT", "answer of a PUT lost", "no answer in time"],
)
def test_short_fault_during_a_send_then_all_is_acknowledged_and_found(
    orthanc: BareOrthanc, s3: S3Server, slices: list[Sample], fault: dict[str, Any], record_property: Record
) -> None:
    with s3.fault(methods={"PUT"}, **fault) as hit, sending(orthanc.peer, slices, patience=0) as send:
        pass
    assert hit.hits == fault["times"]
    assert len(send.acknowledged) == len(slices), str(send)
    record_property("account", f"{fault}: {send}; {_kept(orthanc, slices, send.acknowledged)}")


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (404, "NoSuchBucket"), (503, "SlowDown")], ids=lambda word: str(word)
)
def test_long_fault_during_a_send_then_the_rest_is_refused_and_what_was_acknowledged_is_found(
    orthanc: BareOrthanc, s3: S3Server, slices: list[Sample], status: int, code: str, record_property: Record
) -> None:
    slices = slices[:25]
    with sending(orthanc.peer, slices, patience=0) as send:
        send.wait_for(10)
        fault = s3.fault(status, code)
        fault.__enter__()
    assert 10 <= len(send.acknowledged) < len(slices), str(send)
    assert {found & 0xFF00 for found in send.statuses} == {0, REFUSED}, str(send)
    assert send.lost_associations == 0
    assert not _uploads(orthanc, slices[-1])
    assert f"the server answers {status} {code}" in orthanc.said()
    assert ", in create" not in orthanc.said(), "a refusal is said in words, not by our functions' names"
    fault.__exit__(None, None, None)
    found = _kept(orthanc, slices, send.acknowledged)
    assert found.unacknowledged_found == 0
    record_property("account", f"{status} {code}: {send}; {found}")
    with sending(orthanc.peer, slices, patience=0) as again:
        pass
    assert len(again.acknowledged) == len(slices), str(again)
    _kept(orthanc, slices, again.acknowledged)


def _uploads(orthanc: BareOrthanc, sample: Sample) -> bool:
    """Tell whether upload or STOW-RS answers anything that a client could take for success."""
    body = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + sample.content + b"\r\n--cut--\r\n"
    kind = {"content-type": 'multipart/related; type="application/dicom"; boundary=cut'}
    with orthanc.client() as http:
        upload = http.post("/instances", content=sample.content)
        stow = http.post("/dicom-web/studies", content=body, headers=kind)
    return upload.is_success or stow.is_success


def test_credentials_that_expire_during_a_send_then_it_is_refused_until_they_are_renewed_without_a_restart(
    orthanc: BareOrthanc, s3: S3Server, slices: list[Sample], record_property: Record
) -> None:
    with sending(orthanc.peer, slices, patience=30) as send:
        send.wait_for(10)
        s3.expire_credentials()
        eventually(lambda: send.statuses[REFUSED] > 3, 10, "nothing is refused")
        s3.renew_credentials()
    assert len(send.acknowledged) == len(slices), str(send)
    assert "the credentials have expired: renew them" in orthanc.said()
    record_property("account", f"expired and renewed: {send}; {_kept(orthanc, slices, send.acknowledged)}")


def test_credentials_that_are_renewed_before_they_expire_during_a_send_then_nobody_notices(
    orthanc: BareOrthanc, s3: S3Server, slices: list[Sample]
) -> None:
    with sending(orthanc.peer, slices, patience=0) as send:
        send.wait_for(10)
        s3.renew_credentials(keep_old=True)
    assert len(send.acknowledged) == len(slices), str(send)
    _kept(orthanc, slices, send.acknowledged)


def test_clock_that_is_wrong_then_it_is_refused_with_the_reason_and_works_when_it_is_right(
    orthanc: BareOrthanc, s3: S3Server, slices: list[Sample]
) -> None:
    s3.clock = timedelta(minutes=20)
    try:
        with sending(orthanc.peer, slices[:4], patience=0) as send:
            pass
    finally:
        s3.clock = timedelta(0)
    assert not send.acknowledged
    assert set(send.statuses) == {REFUSED}, str(send)
    assert "RequestTimeTooSkewed (this machine's clock is wrong: set it)" in orthanc.said()
    with sending(orthanc.peer, slices[:4], patience=0) as again:
        pass
    assert len(again.acknowledged) == 4
    _kept(orthanc, slices[:4], again.acknowledged)


@pytest.mark.parametrize(
    "fault",
    [
        {"harm": "cut answer", "times": 10},
        {"harm": "flip", "times": 10},
        {"status": 503, "code": "SlowDown", "times": 10},
    ],
    ids=["cut in the middle of a GET", "bit wrong on the way", "slow down"],
)
def test_short_fault_during_retrieval_then_what_comes_is_right(
    orthanc: BareOrthanc, s3: S3Server, slices: list[Sample], fault: dict[str, Any]
) -> None:
    with sending(orthanc.peer, slices, patience=0) as send:
        pass
    assert len(send.acknowledged) == len(slices), str(send)
    # A read is repeated once when its content is wrong: so no object's answer is wrong twice.
    hurt: set[str] = set()
    with s3.fault(methods={"GET"}, key=lambda key: not (key in hurt or hurt.add(key)), **fault) as hit:  # type: ignore[func-returns-value]
        _kept(orthanc, slices, send.acknowledged)
    assert hit.hits == 10


def test_corrupt_and_deleted_objects_when_they_are_asked_for_then_there_is_an_error_and_no_wrong_content(
    orthanc: BareOrthanc, s3: S3Server, slices: list[Sample]
) -> None:
    s3.empty()
    with sending(orthanc.peer, slices[:6], patience=0, associations=1) as send:
        pass
    assert len(send.acknowledged) == 6
    written = [put.key for put in s3.seen("PUT", ".dcm") if put.key.endswith(".dcm")][-6:]
    s3.corrupt(written[0])
    s3.delete(written[1])
    s3.write(written[2], s3.read(written[2])[:-100], Metadata=s3.head(written[2])["Metadata"])
    with orthanc.client() as http:
        answers = [http.get(f"/instances/{sample.archive_id}/file") for sample in slices[:6]]
    assert [answer.is_success for answer in answers] == [False, False, False, True, True, True]
    assert f"read {written[0]}: the object is damaged" in orthanc.said()
    assert f"read {written[1]}: there is no such object" in orthanc.said()
    _kept(orthanc, slices[3:6], {sample.uid for sample in slices[3:6]})


@contextmanager
def _disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k,mode=0700", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("reason", ["full", "damaged"])
def test_cache_that_fails_during_a_send_then_all_is_acknowledged_and_found(
    s3: S3Server, slices: list[Sample], tmp_path: Path, reason: str, request: pytest.FixtureRequest
) -> None:
    place: AbstractContextManager[Path] = nullcontext(tmp_path / "cache")
    if reason == "full":
        request.getfixturevalue("as_root")  # mounting is for root
        place = _disk(tmp_path / "cache", 300)
    with place as cache:
        section = s3_section(s3, cache)
        with bare_orthanc(tmp_path, orthweb={"Store": "s3", "S3": section}) as orthanc:
            with sending(orthanc.peer, slices, patience=0) as send:
                pass
            assert len(send.acknowledged) == len(slices), str(send)
            kept = [path for path in cache.rglob("*") if path.is_file()]
            if reason == "full":
                assert len(kept) < 2 * len(slices)
                assert "cannot be written to, so it is not used: No space left on device" in orthanc.said()
            else:
                assert len(kept) == 2 * len(slices)
                for path in kept:
                    path.write_bytes(bytes(path.stat().st_size))
            _kept(orthanc, slices, send.acknowledged)


def test_orthanc_killed_during_a_send_then_what_was_acknowledged_is_found_after_its_restart(
    s3: S3Server, slices: list[Sample], tmp_path: Path, record_property: Record
) -> None:
    with bare_orthanc(tmp_path, orthweb={"Store": "s3", "S3": s3_section(s3)}) as orthanc:
        with sending(orthanc.peer, slices, patience=60) as send:
            send.wait_for(15)
            orthanc.stop(kill=True)
            time.sleep(0.2)  # let the senders meet a closed port
            orthanc.start()
        assert len(send.acknowledged) == len(slices), str(send)
        assert send.lost_associations > 0
        record_property("account", f"killed: {send}; {_kept(orthanc, slices, send.acknowledged)}")

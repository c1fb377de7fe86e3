"""``orthweb dicom send`` with real peers: what is acknowledged is there, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID, ImplicitVRLittleEndian

from live.dicom_client_peers import Authority, Orthanc, orthanc, storescp
from orthweb.dicom import phantom
from orthweb.dicom.peer import Peer

MANY = 300


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), authority) as running:
        yield running


@pytest.fixture
def archive(shared: Orthanc) -> Orthanc:
    shared.clear()
    return shared


def slices(folder: Path, seed: str, count: int, size: int = 20_000) -> set[str]:
    """Write slices; give their SOP Instance UIDs."""
    study = phantom.PhantomStudy(seed)
    return {phantom.write(folder, study.slice(number, size=size)).stem for number in range(1, count + 1)}


def words(peer: Peer, tmp_path: Path, *more: str) -> list[str]:
    trust = ["--ca", str(peer.tls.ca)] if peer.tls is not None else ["--no-tls"]
    if peer.tls is not None and peer.tls.certificate is not None:
        trust += ["--cert", str(peer.tls.certificate.certificate), "--key", str(peer.tls.certificate.key)]
    journal = ["--journal", str(tmp_path / "journal.sqlite")]
    return [sys.executable, "-m", "orthweb", "dicom", "send", "--json", "--peer", str(peer), *trust, *journal, *more]


def send(peer: Peer, tmp_path: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Run to the end; give exit code and facts."""
    done = subprocess.run(words(peer, tmp_path, *more), capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


@contextmanager
def sending(peer: Peer, tmp_path: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Start, and make sure that it ends."""
    process = subprocess.Popen(words(peer, tmp_path, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def eventually(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something holds while the sender still runs."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the sender ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def journaled(tmp_path: Path) -> set[str]:
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as database:
        return {row[0] for row in database.execute("SELECT sop_instance FROM acknowledged")}


def test_send_when_run_twice_then_the_second_sends_nothing(archive: Orthanc, tmp_path: Path) -> None:
    uids = slices(tmp_path / "in", "twice", 30)
    code, facts = send(archive.peer, tmp_path, str(tmp_path / "in"))
    assert (code, facts["sent"], facts["already_there"]) == (0, 30, 0)
    assert archive.sop_instances() == uids == journaled(tmp_path)
    for path in (tmp_path / "in").iterdir():
        content = path.read_bytes()
        assert archive.file_of(path.stem).endswith(content[144 + int.from_bytes(content[140:144], "little") :])
    code, facts = send(archive.peer, tmp_path, str(tmp_path / "in"))
    assert (code, facts["sent"], facts["already_there"], facts["associations"]) == (0, 0, 30, 0)
    code, facts = send(archive.peer, tmp_path, str(tmp_path / "in"), "--resend")
    assert (code, facts["sent"]) == (0, 30)


def test_send_when_sender_is_killed_then_a_second_run_completes_and_nothing_is_lost(
    archive: Orthanc, tmp_path: Path
) -> None:
    uids = slices(tmp_path / "in", "killed", MANY, 100_000)
    with sending(archive.peer, tmp_path, str(tmp_path / "in")) as process:
        eventually(lambda: archive.count() >= 20, process)
        process.kill()
        process.wait()
    known = journaled(tmp_path)
    assert known
    assert len(known) < MANY
    assert known <= archive.sop_instances()
    code, facts = send(archive.peer, tmp_path, str(tmp_path / "in"))
    assert code == 0
    assert (facts["already_there"], facts["sent"]) == (len(known), MANY - len(known))
    assert archive.sop_instances() == uids


def test_send_when_interrupted_then_130_and_the_journal_is_true(archive: Orthanc, tmp_path: Path) -> None:
    slices(tmp_path / "in", "interrupted", MANY, 100_000)
    with sending(archive.peer, tmp_path, str(tmp_path / "in")) as process:
        eventually(lambda: archive.count() >= 20, process)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        output, errors = process.communicate(timeout=30)
        assert time.monotonic() - begin < 10
    assert process.returncode == 130
    assert "Traceback" not in errors
    facts = json.loads(output)
    assert facts["interrupted"]
    assert facts["sent"] + facts["not_sent"] == MANY
    assert len(journaled(tmp_path)) == facts["sent"]
    assert journaled(tmp_path) <= archive.sop_instances()


def test_send_when_archive_is_killed_and_comes_back_then_all_arrive(tmp_path: Path, authority: Authority) -> None:
    uids = slices(tmp_path / "in", "archive killed", MANY, 100_000)
    with (
        orthanc(tmp_path / "orthanc", authority) as archive,
        sending(archive.peer, tmp_path, str(tmp_path / "in"), "--retry-for", "60") as process,
    ):
        eventually(lambda: archive.count() >= 20, process)
        archive.kill()
        known = journaled(tmp_path)
        archive.start()
        assert known <= archive.sop_instances()
        output, _ = process.communicate(timeout=100)
        facts = json.loads(output)
        assert (process.returncode, facts["sent"], facts["problem"]) == (0, MANY, None)
        assert facts["retries"] > 0
        assert archive.sop_instances() == uids == journaled(tmp_path)


def test_send_when_archive_stays_away_then_given_up_in_time_and_said_so(tmp_path: Path, authority: Authority) -> None:
    slices(tmp_path / "in", "stays away", MANY, 100_000)
    with (
        orthanc(tmp_path / "orthanc", authority) as archive,
        sending(archive.peer, tmp_path, str(tmp_path / "in"), "--retry-for", "2") as process,
    ):
        eventually(lambda: archive.count() >= 20, process)
        archive.kill()
        output, errors = process.communicate(timeout=40)
    facts = json.loads(output)
    assert process.returncode == 1
    assert facts["sent"] + facts["not_sent"] == MANY
    assert facts["not_sent"] > 0
    assert "connection refused" in facts["problem"]
    assert "error: " in errors


def test_send_when_nobody_listens_then_no_retry_and_exit_1(tmp_path: Path) -> None:
    slices(tmp_path / "in", "nobody", 2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        begin = time.monotonic()
        code, facts = send(Peer("ANY", "127.0.0.1", unused.getsockname()[1]), tmp_path, str(tmp_path / "in"))
    assert (code, facts["not_sent"]) == (1, 2)
    assert "connection refused" in facts["problem"]
    assert time.monotonic() - begin < 30


def test_send_when_input_is_of_all_sorts_then_each_is_accounted_for(archive: Orthanc, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = slices(folder, "all sorts", 4)
    study = phantom.PhantomStudy("more sorts")
    whole = phantom.encode(study.slice(1))
    (folder / "truncated.dcm").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("no image " * 100)
    other = phantom.encode(study.slice(9))
    (folder / "garbled").write_bytes(other[:400] + b"\xde\xad\xbe\xef" * 5000)
    (folder / "dangling").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder)
    shutil.copy(next(path for path in folder.iterdir() if path.stem in good), folder / "copy")
    with zipfile.ZipFile(folder / "deep.zip", "w", zipfile.ZIP_DEFLATED) as archived:
        for number in range(2, 8):
            archived.writestr(f"disc/{number}", phantom.encode(study.slice(number, size=20_000)))
    zipped = {str(study.slice(number).SOPInstanceUID) for number in range(2, 8)}
    code, facts = send(archive.peer, tmp_path, str(folder))
    assert code == 1
    assert archive.sop_instances() == good | zipped
    assert (facts["sent"], facts["duplicates"], facts["not_sent"], facts["problem"]) == (10, 1, 0, None)
    refused = {Path(name).name: reason for reason, names in facts["refused"].items() for name in names}
    assert set(refused) == {"truncated.dcm", "garbled"}
    assert "truncated" in refused["truncated.dcm"]
    assert "damaged" in refused["garbled"]
    assert [Path(entry["file"]).name for entry in facts["not_dicom"]] == ["notes.txt"]
    assert [Path(entry["file"]).name for entry in facts["unreadable"]] == ["dangling"]
    assert "zero.dcm" in {Path(entry["file"]).name for entry in facts["damaged"]}


def test_send_when_more_than_128_contexts_then_all_arrive(tmp_path: Path) -> None:
    study = phantom.PhantomStudy("contexts")
    for number in range(1, 151):
        image = study.slice(number, size=600)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(f"1.2.840.10008.5.1.4.1.1.{number}")
        phantom.write(tmp_path / "in", image)
    with orthanc(tmp_path / "orthanc") as archive:
        code, facts = send(archive.peer, tmp_path, str(tmp_path / "in"))
        assert (code, facts["sent"], facts["refused"]) == (0, 150, {})
        assert archive.count() == 150


def test_send_when_peer_takes_implicit_vr_alone_then_converted(tmp_path: Path) -> None:
    uids = slices(tmp_path / "in", "implicit", 3)
    with storescp(tmp_path / "peer", "+xi", "+B") as peer:
        code, facts = send(peer, tmp_path, str(tmp_path / "in"))
    assert (code, facts["sent"]) == (0, 3)
    received = {str(d.SOPInstanceUID): d for d in map(dcmread, (tmp_path / "peer" / "received").iterdir())}
    assert set(received) == uids
    for path in (tmp_path / "in").iterdir():
        assert received[path.stem].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert received[path.stem] == dcmread(path)


def test_send_when_peer_does_not_take_a_compression_then_refused_and_named(tmp_path: Path) -> None:
    compressed = get_testdata_file("JPEG2000.dcm")
    assert compressed is not None
    slices(tmp_path / "in", "compressed", 2)
    shutil.copy(str(compressed), tmp_path / "in" / "compressed")
    with storescp(tmp_path / "peer") as peer:
        code, facts = send(peer, tmp_path, str(tmp_path / "in"))
    assert (code, facts["sent"]) == (1, 2)
    ((reason, names),) = facts["refused"].items()
    assert "JPEG 2000" in reason
    assert names == [str(tmp_path / "in" / "compressed")]


def test_send_when_dcmtk_speaks_tls_then_all_arrive_byte_for_byte(tmp_path: Path, authority: Authority) -> None:
    uids = slices(tmp_path / "in", "dcmtk tls", 20)
    pair = authority.issue("dcmtk", names=["localhost"])
    # storescp serves one association at a time unless it forks.
    with storescp(tmp_path / "peer", "+B", "--fork", pair=pair, ca=authority.ca) as peer:
        code, facts = send(peer, tmp_path, str(tmp_path / "in"))
    assert (code, facts["sent"]) == (0, 20)
    received = {path.name.split(".", 1)[1]: path.read_bytes() for path in (tmp_path / "peer" / "received").iterdir()}
    assert set(received) == uids
    for uid, content in received.items():
        sent = (tmp_path / "in" / f"{uid}.dcm").read_bytes()
        assert content.endswith(sent[144 + int.from_bytes(sent[140:144], "little") :])


def test_send_when_files_vanish_after_they_were_found_then_said_so_and_the_rest_arrives(
    archive: Orthanc, tmp_path: Path
) -> None:
    slices(tmp_path / "in", "vanish", MANY, 100_000)
    last = sorted((tmp_path / "in").iterdir())[-5:]
    with sending(archive.peer, tmp_path, str(tmp_path / "in")) as process:
        eventually(lambda: archive.count() >= 1, process)
        for path in last:
            path.unlink()
        output, _ = process.communicate(timeout=60)
    facts = json.loads(output)
    assert process.returncode == 1
    assert facts["sent"] == MANY - 5
    ((reason, names),) = facts["refused"].items()
    assert "No such file" in reason
    assert sorted(names) == [str(path) for path in last]


def test_send_when_large_multiframe_then_streamed_in_pieces_and_intact(archive: Orthanc, tmp_path: Path) -> None:
    path = phantom.write(tmp_path / "in", phantom.PhantomStudy("large").multiframe(1))
    code, facts = send(archive.peer, tmp_path, str(tmp_path / "in"))
    assert (code, facts["sent"]) == (0, 1)
    content = path.read_bytes()
    assert archive.file_of(path.stem).endswith(content[144 + int.from_bytes(content[140:144], "little") :])


def stow_words(archive: Orthanc, tmp_path: Path, *more: str) -> list[str]:
    url = f"http://127.0.0.1:{archive.http_port}/dicom-web/studies"
    journal = ["--journal", str(tmp_path / "journal.sqlite")]
    return [sys.executable, "-m", "orthweb", "dicom", "send", "--json", "--via", "stow", "--url", url, *journal, *more]


def test_send_via_stow_when_files_zip_and_bare_data_sets_then_all_arrive_once(archive: Orthanc, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    uids = slices(folder, "stow", 40, 100_000)
    study = phantom.PhantomStudy("stow more")
    content = phantom.encode(study.slice(1, size=5000))
    (folder / "bare").write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])
    with zipfile.ZipFile(folder / "z.zip", "w", zipfile.ZIP_DEFLATED) as archived:
        archived.writestr("2", phantom.encode(study.slice(2, size=5000)))
    truncated = phantom.encode(study.slice(3))
    (folder / "truncated").write_bytes(truncated[:100_000])
    done = subprocess.run(
        stow_words(archive, tmp_path, str(folder)), capture_output=True, text=True, timeout=60, check=False
    )
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["sent"], facts["problem"]) == (1, 42, None)
    assert [names for reason, names in facts["refused"].items() if "truncated" in reason] == [
        [str(folder / "truncated")]
    ]
    assert archive.sop_instances() == uids | {str(study.slice(n).SOPInstanceUID) for n in (1, 2)}
    (folder / "truncated").unlink()
    done = subprocess.run(
        stow_words(archive, tmp_path, str(folder)), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["already_there"]) == (0, 42)


def test_send_via_stow_when_password_is_wrong_then_said_so(tmp_path: Path) -> None:
    slices(tmp_path / "in", "login", 2)
    (tmp_path / "password").write_text("wrong\n")
    with orthanc(tmp_path / "orthanc", AuthenticationEnabled=True, RegisteredUsers={"admin": "right"}) as archive:
        login = ["--user", "admin", "--password-file", str(tmp_path / "password")]
        done = subprocess.run(
            stow_words(archive, tmp_path, str(tmp_path / "in"), *login),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "401" in done.stderr
        assert "wrong" not in done.stdout + done.stderr
        (tmp_path / "password").write_text("right\n")
        done = subprocess.run(
            stow_words(archive, tmp_path, str(tmp_path / "in"), *login),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, json.loads(done.stdout)["sent"]) == (0, 2)


def test_send_when_two_run_at_once_then_both_end_well_and_all_is_there(archive: Orthanc, tmp_path: Path) -> None:
    uids = slices(tmp_path / "in", "at once", 60)
    codes: list[int] = []

    def run() -> None:
        codes.append(send(archive.peer, tmp_path, str(tmp_path / "in"))[0])

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert archive.sop_instances() == uids


def test_send_when_output_is_no_terminal_then_summary_without_patient_names(archive: Orthanc, tmp_path: Path) -> None:
    slices(tmp_path / "in", "plain text", 3)
    (tmp_path / "in" / "x").write_text("no image " * 100)
    command = [word for word in words(archive.peer, tmp_path, str(tmp_path / "in")) if word != "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ})
    assert done.stdout.startswith(f"3 sent to {archive.peer}")
    assert "1 not DICOM" in done.stdout
    assert phantom.PATIENT_ID not in done.stdout + done.stderr

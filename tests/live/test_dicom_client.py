"""The DICOM client with real peers: Orthanc over TLS, dcmtk's storescp, and servers with wrong certificates."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from live.dicom_client_peers import Authority, Orthanc, orthanc, storescp, tls_server
from orthweb.dicom import phantom
from orthweb.dicom.echo import echo
from orthweb.dicom.errors import (
    ContextError,
    LostError,
    PeerError,
    RejectedError,
    StatusError,
    TimedOutError,
    TlsError,
    UnreachableError,
)
from orthweb.dicom.find import find
from orthweb.dicom.get import get
from orthweb.dicom.instance import Instance
from orthweb.dicom.move import Suboperations, move
from orthweb.dicom.peer import Peer, Timeouts, TlsOptions
from orthweb.dicom.scan import scan
from orthweb.dicom.store import store

STUDY = phantom.PhantomStudy("live client")
SLICES = 6


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = [phantom.write(folder, STUDY.slice(number, size=20_000)) for number in range(1, SLICES + 1)]
    compressed = get_testdata_file("JPEG2000.dcm")
    assert compressed is not None
    return [*paths, Path(str(compressed))]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, authority: Authority, files: list[Path]) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("archive")
    with (
        storescp(folder / "destination", "+B") as destination,
        orthanc(
            folder / "orthanc",
            authority,
            DicomModalities={
                "there": {"AET": destination.aet, "Host": "127.0.0.1", "Port": destination.port, "UseDicomTls": False}
            },
        ) as running,
    ):
        assert all(result.stored for result in store(running.peer, files))
        yield running


def pixels_and_all(path: Path) -> bytes:
    """The data set of a file, as it is encoded."""
    (found,) = scan([path])
    assert isinstance(found, Instance)
    return path.read_bytes()[found.offset :]


def test_echo_when_tls_then_version_and_cipher_are_told(archive: Orthanc) -> None:
    found = echo(archive.peer)
    assert found.tls_version in ("TLSv1.2", "TLSv1.3")
    assert found.cipher
    assert found.implementation is not None
    assert found.implementation.startswith("OFFIS")


def assert_same(content: bytes, path: Path) -> None:
    """The same data set as in the file; byte for byte if it is one of the phantom's.

    DCMTK in the archive writes sequences of undefined length again with their lengths: the bundled file has some.
    """
    kept, sent = dcmread(BytesIO(content)), dcmread(path)
    assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert kept == sent
    if sent.PatientID == phantom.PATIENT_ID:
        assert content.endswith(pixels_and_all(path))


def test_store_when_file_then_archive_holds_the_same_data_set(archive: Orthanc, files: list[Path]) -> None:
    for path in files:
        assert_same(archive.file_of(str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)), path)


def test_store_when_data_set_in_memory_then_stored(archive: Orthanc) -> None:
    study = phantom.PhantomStudy("from memory")
    (result,) = store(archive.peer, [study.slice(1, size=5000)])
    assert result.stored
    assert str(result.sop_instance) in archive.sop_instances()


def test_find_when_levels_then_unique_keys_come_back(archive: Orthanc) -> None:
    study = str(STUDY.study_uid)
    assert [m.StudyInstanceUID for m in find(archive.peer, "study", {"StudyInstanceUID": study})] == [study]
    (series,) = find(archive.peer, "series", {"StudyInstanceUID": study})
    assert series.SeriesInstanceUID == STUDY.series_uid(1)
    found = list(find(archive.peer, "instance", {"StudyInstanceUID": study}))
    assert {m.SOPInstanceUID for m in found} == {STUDY.slice(n).SOPInstanceUID for n in range(1, SLICES + 1)}
    (patient,) = find(archive.peer, "patient", {"PatientID": phantom.PATIENT_ID})
    assert patient.PatientName == phantom.PATIENT_NAME


def test_find_when_limit_then_no_more_and_the_association_ends_well(archive: Orthanc) -> None:
    assert len(list(find(archive.peer, "instance", {"StudyInstanceUID": str(STUDY.study_uid)}, limit=2))) == 2


def test_find_when_nothing_matches_then_empty(archive: Orthanc) -> None:
    assert list(find(archive.peer, "study", {"PatientID": "NOBODY HAS THIS"})) == []


def test_get_when_study_then_files_by_uid_with_the_same_data_sets(
    archive: Orthanc, files: list[Path], tmp_path: Path
) -> None:
    for path in files:
        header = dcmread(path, stop_before_pixels=True)
        result = get(archive.peer, {"StudyInstanceUID": str(header.StudyInstanceUID)}, tmp_path)
        assert result.failed == 0
        got = tmp_path / header.StudyInstanceUID / header.SeriesInstanceUID / f"{header.SOPInstanceUID}.dcm"
        assert_same(got.read_bytes(), path)
    assert not list(tmp_path.rglob("*.part"))


def test_get_when_function_then_called_with_each_file(archive: Orthanc) -> None:
    received: dict[str, bytes] = {}
    result = get(
        archive.peer,
        {"StudyInstanceUID": str(STUDY.study_uid)},
        lambda content, uid: received.__setitem__(uid, content),
    )
    assert (result.expected, result.received, result.failed) == (SLICES, SLICES, 0)
    assert set(received) == {str(STUDY.slice(n).SOPInstanceUID) for n in range(1, SLICES + 1)}


def test_get_when_nothing_matches_then_error_not_an_empty_folder(archive: Orthanc, tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="nothing matches"):
        get(archive.peer, {"StudyInstanceUID": "1.2.3.4.5"}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_get_when_folder_cannot_be_written_then_failures_are_counted(archive: Orthanc, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = get(archive.peer, {"StudyInstanceUID": str(STUDY.study_uid)}, tmp_path / "file")
    assert (result.received, result.failed) == (0, SLICES)
    assert any("cannot keep" in problem for problem in result.problems)


def test_get_when_more_sop_classes_than_contexts_then_all_come(archive: Orthanc, tmp_path: Path) -> None:
    study = phantom.PhantomStudy("many classes")
    images = []
    for number in range(1, 13):
        image = study.slice(number, size=2000)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(
            f"1.2.840.10008.5.1.4.1.1.{CLASSES[number - 1]}"
        )
        images.append(image)
    assert all(result.stored for result in store(archive.peer, images))
    result = get(archive.peer, {"StudyInstanceUID": str(study.study_uid)}, tmp_path)
    assert (result.received, result.failed) == (12, 0)
    assert {path.stem for path in tmp_path.rglob("*.dcm")} == {str(image.SOPInstanceUID) for image in images}


CLASSES = ("1", "1.1", "1.2", "2", "4", "7", "20", "128", "6.1", "12.1", "1.3", "77.1.4")
"""Ends of UIDs of storage SOP classes: more than fit into one association with all transfer syntaxes."""


def test_move_when_destination_is_known_then_it_gets_all(archive: Orthanc, files: list[Path]) -> None:
    seen: list[Suboperations] = []
    result = move(archive.peer, {"StudyInstanceUID": str(STUDY.study_uid)}, "STORESCP", on_progress=seen.append)
    assert (result.completed, result.failed) == (SLICES, 0)
    assert seen[-1] == result
    received = archive.folder.parent / "destination" / "received"
    found = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in received.iterdir()}
    assert {STUDY.slice(n).SOPInstanceUID for n in range(1, SLICES + 1)} <= found


def test_move_when_destination_is_unknown_then_status_error_with_next_step(archive: Orthanc) -> None:
    with pytest.raises(StatusError, match="C-MOVE to NOBODY") as caught:
        move(archive.peer, {"StudyInstanceUID": str(STUDY.study_uid)}, "NOBODY")
    assert caught.value.hint is not None
    assert "modalities" in caught.value.hint


# What goes wrong, and what is said


def problem(peer: Peer) -> PeerError:
    with pytest.raises(PeerError) as caught:
        echo(peer)
    assert str(peer) in caught.value.message
    assert "\n" not in str(caught.value)
    return caught.value


def test_echo_when_ca_is_another_then_not_trusted(archive: Orthanc, tmp_path: Path) -> None:
    for name in ("Test CA", "Other CA"):
        other = Authority(tmp_path / name, name)
        found = problem(replace(archive.peer, tls=TlsOptions(ca=other.ca)))
        assert isinstance(found, TlsError)
        assert "not trusted" in found.message
        assert "--ca" in str(found.hint)


def test_echo_when_certificate_is_for_another_name_then_name_mismatch(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issue("other.example.org")
    context.load_cert_chain(pair.certificate, pair.key)
    with tls_server(context) as port:
        found = problem(Peer("ANY", "localhost", port, TlsOptions(ca=authority.ca)))
        assert isinstance(found, TlsError)
        assert "does not cover the name 'localhost'" in found.message


def test_echo_when_certificate_has_expired_then_said_so(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.issue("expired", names=["localhost"], expired=True)
    context.load_cert_chain(pair.certificate, pair.key)
    with tls_server(context) as port:
        found = problem(Peer("ANY", "localhost", port, TlsOptions(ca=authority.ca)))
        assert isinstance(found, TlsError)
        assert "expired" in found.message


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_echo_when_client_certificate_is_required_then_said_so(authority: Authority, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    pair = authority.issue("strict", names=["localhost"])
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with tls_server(context) as port:
        found = problem(Peer("ANY", "localhost", port, TlsOptions(ca=authority.ca)))
        assert "client certificate" in str(found)


def test_echo_when_orthanc_requires_client_certificates_then_only_with_one(
    tmp_path: Path, authority: Authority
) -> None:
    with orthanc(tmp_path, authority, DicomTlsRemoteCertificateRequired=True) as strict:
        assert echo(strict.peer).tls_version
        without = replace(strict.peer, tls=TlsOptions(ca=authority.ca))
        assert "client certificate" in str(problem(without))


def test_echo_when_plain_to_a_tls_port_then_tls_is_suggested(archive: Orthanc) -> None:
    found = problem(replace(archive.peer, tls=None))
    assert isinstance(found, LostError)
    assert "TLS" in str(found)


def test_echo_when_tls_to_a_plain_port_then_said_so(tmp_path: Path, authority: Authority) -> None:
    with storescp(tmp_path) as plain:
        found = problem(replace(plain, tls=TlsOptions(ca=authority.ca)))
    assert isinstance(found, TlsError)
    assert "TLS" in found.message


def test_echo_when_called_title_is_wrong_then_rejected_with_reason(archive: Orthanc) -> None:
    found = problem(replace(archive.peer, aet="SOMEBODY"))
    assert isinstance(found, RejectedError)
    assert "it is not called 'SOMEBODY'" in found.message
    assert not found.transient


def test_echo_when_peer_refuses_all_then_rejected(tmp_path: Path) -> None:
    with storescp(tmp_path, "--refuse") as peer:
        assert isinstance(problem(peer), RejectedError)


def test_find_when_service_is_not_offered_then_no_context(tmp_path: Path) -> None:
    with storescp(tmp_path) as peer, pytest.raises(ContextError, match="none of what was asked for"):
        list(find(peer))


def test_store_when_peer_aborts_half_way_then_lost(tmp_path: Path, files: list[Path]) -> None:
    with storescp(tmp_path, "--abort-after") as peer, pytest.raises(LostError):
        list(store(peer, files[:2]))


def test_store_when_peer_does_not_answer_in_time_then_timed_out(tmp_path: Path, files: list[Path]) -> None:
    with storescp(tmp_path, "--sleep-during", "2") as peer:
        slow = replace(peer, timeouts=Timeouts(response=0.5))
        with pytest.raises(TimedOutError, match=r"no answer within 0\.5 s"):
            list(store(slow, files[:1]))


def test_echo_when_port_is_silent_then_timed_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer("ANY", "127.0.0.1", silent.getsockname()[1], timeouts=Timeouts(association=0.5))
        assert isinstance(problem(peer), TimedOutError)


def test_echo_when_nothing_listens_then_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert isinstance(problem(Peer("ANY", "127.0.0.1", unused.getsockname()[1])), UnreachableError)


# The verbs


def call(archive: Orthanc, *words: str) -> subprocess.CompletedProcess[str]:
    assert archive.peer.tls is not None
    peer = ["--peer", str(archive.peer), "--ca", str(archive.peer.tls.ca)]
    return subprocess.run(
        [sys.executable, "-m", "orthweb", "dicom", *words, *peer],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=60,
        check=False,
    )


def test_verbs_when_json_then_facts_on_standard_output_alone(archive: Orthanc, tmp_path: Path) -> None:
    keys = ["-k", f"StudyInstanceUID={STUDY.study_uid}"]
    answer = json.loads(call(archive, "echo", "--json").stdout)
    assert answer["peer"] == str(archive.peer)
    assert answer["tls_version"]
    (match,) = json.loads(call(archive, "find", *keys, "--json").stdout)
    assert Dataset.from_json(match).StudyInstanceUID == STUDY.study_uid
    got = json.loads(call(archive, "get", *keys, "-o", str(tmp_path), "--json").stdout)
    assert (got["expected"], got["received"], got["failed"], got["problems"]) == (SLICES, SLICES, 0, [])
    moved = json.loads(call(archive, "move", *keys, "--to", "STORESCP", "--json").stdout)
    assert (moved["completed"], moved["failed"], moved["status"]) == (SLICES, 0, "0x0000")


def test_verbs_when_the_peer_is_wrong_then_exit_1_and_when_the_call_is_then_2(archive: Orthanc) -> None:
    failed = call(archive, "get", "-k", "StudyInstanceUID=1.2.3")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: ")
    for words in (
        ["find", "-k", "Nonsense=1"],
        ["get"],
        ["find", "--bogus"],
        ["echo", "--no-tls"],
        ["echo", "--cert", "x"],
    ):
        wrong = call(archive, *words)
        assert wrong.returncode == 2, words
        assert "Traceback" not in wrong.stderr


def test_find_when_no_json_then_a_table_with_names_as_columns(archive: Orthanc) -> None:
    found = call(archive, "find", "-L", "series", "-k", f"StudyInstanceUID={STUDY.study_uid}")
    head, row = found.stdout.splitlines()
    assert head.split()[:2] == ["StudyInstanceUID", "SeriesInstanceUID"]
    assert row.split()[1] == STUDY.series_uid(1)
    assert found.stderr == "1 found\n"

"""Bad input: damaged files, files that are not DICOM, bodies without end. Refused plainly, and the site goes on."""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from h2.connection import H2Connection
from h2.events import ResponseReceived
from pynetdicom.presentation import build_context

from live.counting import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE_ENDIAN,
    Sample,
    account,
    answers,
    client,
    data_set,
    samples,
)
from live.sites import LiveSite, live_site
from orthweb.dicom.association import associate
from orthweb.dicom.peer import Peer, Timeouts
from orthweb.dicom.phantom import SLICE_SIZE

MEBIBYTE = 1024**2
GIBIBYTE = 1024**3
STOW = {
    "content-type": 'multipart/related; type="application/dicom"; boundary=cut',
    "accept": "application/dicom+json",
}
REFERENCED = "00081199"
"""Referenced SOP Sequence: what a STOW-RS acknowledges (PS3.18 table 10.5.3-2)."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return samples(tmp_path_factory.mktemp("good"), 3, seed="input")


def _multipart(*contents: bytes) -> bytes:
    parts = b"".join(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in contents)
    return parts + b"--cut--\r\n"


def _truncated(sample: Sample) -> bytes:
    return sample.content[: len(sample.content) - 3000]


def _garbled(sample: Sample) -> bytes:
    """Keep the File Meta Information, and let the data set be noise."""
    head = len(sample.content) - len(data_set(sample.content))
    return sample.content[:head] + bytes(range(255, 0, -1)) * 20


def _headless(sample: Sample) -> bytes:
    """Keep the File Meta Information alone."""
    return sample.content[: len(sample.content) - len(data_set(sample.content))]


BAD = {"truncated": _truncated, "garbled": _garbled, "without a data set": _headless}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_instance_over_dicom_then_it_is_not_acknowledged_and_the_next_association_works(
    site: LiveSite, tmp_path: Path, kind: str
) -> None:
    (bad, *rest) = samples(tmp_path, 3, seed=f"dicom {kind}")
    bad.path.write_bytes(BAD[kind](bad))
    statuses = []
    # Orthanc does not answer what it cannot parse, and closes the association when it has been silent for long.
    peer = Peer.of_site(site.access, timeouts=Timeouts(5, 5, 5))
    for path in (bad.path, *(sample.path for sample in rest)):
        with associate(peer, [build_context(CT_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN)]) as association:
            answer = association.send_c_store(path)
            statuses.append(answer.get("Status"))
    assert statuses[0] != 0
    assert statuses[1:] == [0, 0]
    found = account(site, [bad, *rest], {sample.uid for sample in rest})
    assert found.kept, str(found)
    assert found.unacknowledged_found == 0


@pytest.mark.parametrize("kind", [*BAD, "empty", "not DICOM"])
def test_damaged_instance_over_stow_then_it_alone_is_not_acknowledged(
    site: LiveSite, tmp_path: Path, kind: str
) -> None:
    first, bad, last = samples(tmp_path, 3, seed=f"stow {kind}")
    content = BAD[kind](bad) if kind in BAD else {"empty": b"", "not DICOM": b"Dear colleague, " * 99}[kind]
    with client(site.access) as http:
        alone = http.post("/dicom-web/studies", content=_multipart(content), headers=STOW)
        assert alone.status_code < 500
        assert bad.uid not in _acknowledged(alone)
        mixed = http.post("/dicom-web/studies", content=_multipart(first.content, content, last.content), headers=STOW)
        assert mixed.status_code < 500
        upload = http.post("/instances", content=content)
        assert 400 <= upload.status_code < 500, upload.text
    acknowledged = _acknowledged(mixed)
    assert bad.uid not in acknowledged
    found = account(site, [first, bad, last], acknowledged)
    assert found.kept, str(found)
    assert answers(site)


def _acknowledged(answer: httpx.Response) -> set[str]:
    if not answer.is_success:
        return set()
    items = json.loads(answer.content).get(REFERENCED, {}).get("Value", [])
    return {item["00081155"]["Value"][0] for item in items}


def test_send_when_a_folder_holds_all_kinds_of_bad_files_then_the_good_ones_arrive_and_the_bad_ones_are_named(
    site: LiveSite, tmp_path: Path
) -> None:
    good = samples(tmp_path / "in", 3, seed="folder")
    for number, damage in enumerate(BAD.values()):
        (bad,) = samples(tmp_path / "bad", 1, seed=f"bad {number}")
        (tmp_path / "in" / f"bad{number}.dcm").write_bytes(damage(bad))
    (tmp_path / "in" / "empty.dcm").touch()
    (tmp_path / "in" / "letter.txt").write_text("Dear colleague, " * 99)
    for words in ([], ["--via", "stow"]):
        said = site.orthweb(
            "dicom",
            "send",
            *words,
            "--journal",
            str(tmp_path / f"journal{len(words)}"),
            str(tmp_path / "in"),
            check=False,
        )
        assert said.returncode == 1, said.stderr
        for number in range(len(BAD)):
            assert f"bad{number}.dcm" in said.stdout + said.stderr
    found = account(site, good, {sample.uid for sample in good})
    assert found.kept, str(found)


# -- bodies without end ---------------------------------------------------------------------------------------------


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A STOW-RS body of 5 GB that takes no room on the disk."""
    path = tmp_path / "body"
    with path.open("wb") as file:
        file.write(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + bytes(128) + b"DICM")
        file.truncate(5 * GIBIBYTE)
    return path


@dataclass(frozen=True)
class Upload:
    status: int
    sent: int


def _upload(site: LiveSite, curl: Path, body: Path, *words: str) -> Upload:
    """Let curl send a body; with ``-T -`` it cannot know its length."""
    login = body.with_name("curlrc")
    login.write_text(f'user = "{site.access.credentials.user}:{site.access.credentials.password}"\n')
    login.chmod(0o600)
    command = [str(curl), "--silent", "--config", str(login), "--cacert", str(site.access.ca), "--request", "POST"]
    command += ["--header", f"Content-Type: {STOW['content-type']}", "--header", "Expect:", "--output", "/dev/null"]
    command += ["--write-out", "%{http_code} %{size_upload}", *words, f"{site.access.url}/dicom-web/studies"]
    with body.open("rb") as stream:
        # curl's exit code tells that it could not send everything: that is what is wanted.
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True, timeout=120, check=False)
    status, sent = done.stdout.split()
    return Upload(int(status), int(sent))


def _upload_over_http2(site: LiveSite, body: Path, length: int | None = None) -> Upload:
    """Send a body over HTTP/2, reading while writing (curl 7.88 gives no status when it is stopped on the way)."""
    access = site.access
    context = ssl.create_default_context(cafile=str(access.ca))
    context.set_alpn_protocols(["h2"])
    login = base64.b64encode(f"{access.credentials.user}:{access.credentials.password}".encode()).decode()
    headers = [(":method", "POST"), (":path", "/dicom-web/studies"), (":scheme", "https"), (":authority", access.host)]
    headers += [("content-type", STOW["content-type"]), ("authorization", f"Basic {login}")]
    if length is not None:
        headers.append(("content-length", str(length)))
    http = H2Connection()
    http.initiate_connection()
    http.send_headers(1, headers)
    sent = 0
    with (
        context.wrap_socket(
            socket.create_connection((access.host, access.https_port), timeout=30), server_hostname=access.host
        ) as connection,
        body.open("rb") as source,
    ):
        connection.sendall(http.data_to_send())
        while True:
            window = min(http.local_flow_control_window(1), http.max_outbound_frame_size)
            if window:
                http.send_data(1, source.read(window))
                sent += window
                connection.sendall(http.data_to_send())
            if not window or connection.pending() or select.select([connection], [], [], 0)[0]:
                for event in http.receive_data(connection.recv(65536)):
                    if isinstance(event, ResponseReceived):
                        return Upload(int(dict(event.headers)[b":status"]), sent)
                connection.sendall(http.data_to_send())


def _memory(site: LiveSite) -> int:
    pid = int(site.target.place.supervisor.services()["archive"]["pid"])
    return int(psutil.Process(pid).memory_info().rss)


def test_body_of_5_gb_when_its_length_is_told_then_it_is_refused_at_once(
    site: LiveSite, program: Callable[[str], Path], endless: Path
) -> None:
    before = _memory(site)
    for found in (
        _upload(site, program("curl"), endless, "--http1.1", "--upload-file", str(endless)),
        _upload_over_http2(site, endless, length=5 * GIBIBYTE),
    ):
        assert found.status == 413
        # What fits into the buffers on the way.
        assert found.sent < 64 * MEBIBYTE
    assert _memory(site) - before < 32 * MEBIBYTE
    assert answers(site)


def test_body_of_5_gb_when_its_length_is_not_told_then_it_is_cut_at_the_limit_and_memory_stays(
    small_limit: LiveSite, program: Callable[[str], Path], endless: Path
) -> None:
    before = _memory(small_limit)
    for found in (
        _upload(small_limit, program("curl"), endless, "--http1.1", "--upload-file", "-"),
        _upload_over_http2(small_limit, endless),
    ):
        assert found.status == 413
        assert found.sent < 128 * MEBIBYTE
    # Orthanc holds a body in memory up to three times.
    assert _memory(small_limit) - before < 3 * 64 * MEBIBYTE
    assert answers(small_limit)
    assert not list((small_limit.state / "store").rglob("[0-9a-f]*-*")), "a part of the body lies in the store"


def test_send_over_stow_when_an_instance_is_larger_than_the_limit_then_it_is_named_and_the_others_arrive(
    small_limit: LiveSite, tmp_path: Path
) -> None:
    small = samples(tmp_path / "in", 3, seed="limit")
    (large,) = samples(tmp_path / "large", 1, seed="large", size=80 * MEBIBYTE)
    large.path.rename(tmp_path / "in" / "large.dcm")
    said = small_limit.orthweb(
        "dicom",
        "send",
        "--via",
        "stow",
        "--journal",
        str(tmp_path / "j"),
        str(tmp_path / "in"),
        check=False,
        timeout=60,
    )
    assert said.returncode == 1
    assert "large.dcm" in said.stdout + said.stderr
    assert account(small_limit, small, {sample.uid for sample in small}).kept


@pytest.fixture(scope="module")
def small_limit() -> Iterator[LiveSite]:
    with live_site(edge={"max_body": "64 MiB"}) as made:
        yield made


def test_large_good_instance_next_to_refused_bodies_then_it_is_stored(site: LiveSite, tmp_path: Path) -> None:
    (sample,) = samples(tmp_path, 1, seed="beside", size=16 * SLICE_SIZE)
    with client(site.access) as http:
        answer = http.post("/dicom-web/studies", content=_multipart(sample.content), headers=STOW)
    assert _acknowledged(answer) == {sample.uid}
    assert account(site, [sample], {sample.uid}).kept

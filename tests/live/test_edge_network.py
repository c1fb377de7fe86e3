"""The edge of a site in a network: client certificates, modalities, limits, several addresses, strangers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from live.dicom_client_peers import Authority
from live.edge_clients import (
    Neighbour,
    associate,
    associated,
    echo_status,
    https,
    image,
    modality,
    neighbour,
    server_context,
    status_of,
    store,
    tls_socket,
    until,
)
from live.sites import LiveSite, free_port, live_site
from orthweb.access import CertificatePair, SiteAccess
from orthweb.targets.host.folder import run_folder
from orthweb.targets.local import inspection
from orthweb.targets.local.supervision import Supervisor

FIND, MOVE = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove


@dataclass(frozen=True)
class Hospital:
    """A site with modalities, and what stands around it.

    Parameters
    ----------
    client : a DICOM client certificate that the site issued.
    stranger : a CA that the site does not know.
    ports : of the modalities, by their name.
    """

    site: LiveSite
    access: SiteAccess
    client: CertificatePair
    stranger: Authority
    modality_ca: Authority
    ports: dict[str, int]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("authorities")
    modality_ca, stranger = Authority(folder / "modality"), Authority(folder / "stranger")
    ports = {name: free_port() for name in ("receiver", "impostor", "misnamed", "plain")}
    peers = {
        "receiver": {"aet": "RECEIVER", "host": "localhost", "port": ports["receiver"], "ca": str(modality_ca.ca)},
        "impostor": {"aet": "IMPOSTOR", "host": "localhost", "port": ports["impostor"], "ca": str(modality_ca.ca)},
        "misnamed": {"aet": "MISNAMED", "host": "localhost", "port": ports["misnamed"], "ca": str(modality_ca.ca)},
        "plain": {"aet": "PLAIN", "host": "127.0.0.1", "port": ports["plain"], "tls": False, "allow": ["echo"]},
    }
    # The edge's user reads the modalities' CA too.
    for path in (folder.parent, folder, modality_ca.folder):
        path.chmod(0o755)
    with live_site(
        up=False,
        edge={
            "max_body": "1MiB",
            "max_connections": 16,
            "max_associations": 4,
            "listen": ["127.0.0.1", "127.0.0.2", "::1"],
        },
        tls={"client_certificates": "required"},
        dicom={"unknown_peers": "none"},
        modalities=peers,
    ) as site:
        ca = site.folder / "modality-ca.pem"
        ca.write_bytes(modality_ca.ca.read_bytes())
        site.file.write_text(site.file.read_text().replace(str(modality_ca.ca), ca.name))
        site.orthweb("up")
        site.orthweb("certificates", "client", "ct1", "--out", str(folder / "client"))
        client = CertificatePair(folder / "client/ct1.pem", folder / "client/ct1.key")
        access = dataclasses.replace(site.access, client=None)
        yield Hospital(site, access, client, stranger, modality_ca, ports)


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold every test to leaving no association open, at either side of the edge."""
    yield
    if "hospital" in request.fixturenames and "lingers" not in request.fixturenames:
        made = request.getfixturevalue("hospital")
        until(lambda: open_associations(made) == 0, "the end of the test's associations", 5)


@pytest.fixture
def lingers() -> None:
    """Let a test off that: after a command that it refuses, Orthanc waits up to 180 s for the TCP connection's end.

    The edge passes a TLS end on as a TLS end alone, which DCMTK has read by then.
    """


# -- client certificates and peers ------------------------------------------------------------------------------------


def test_association_without_a_client_certificate_when_one_is_required_then_is_refused(hospital: Hospital) -> None:
    assert not associate(hospital.access, calling="RECEIVER").is_established


def test_association_with_a_strangers_certificate_when_one_is_required_then_is_refused(hospital: Hospital) -> None:
    stranger = hospital.stranger.issue("ct1")
    assert not associate(hospital.access, calling="RECEIVER", client=stranger).is_established


def test_association_with_a_server_certificate_of_the_site_then_is_refused(hospital: Hospital) -> None:
    edge = hospital.site.state / "pki"
    pair = CertificatePair(edge / "edge-ecdsa.pem", edge / "edge-ecdsa.key")
    assert not associate(hospital.access, calling="RECEIVER", client=pair).is_established


def test_association_with_the_issued_certificate_then_is_answered(hospital: Hospital) -> None:
    assert echo_status(hospital.access, calling="RECEIVER", client=hospital.client) == 0


def test_https_when_dicom_requires_client_certificates_then_asks_for_none(hospital: Hospital) -> None:
    with https(hospital.access) as client:
        assert client.get("/system").status_code == 200


def test_unknown_peer_when_none_are_welcome_then_may_do_nothing(hospital: Hospital) -> None:
    assert echo_status(hospital.access, calling="NOBODY", client=hospital.client) != 0
    association = associate(hospital.access, calling="NOBODY", client=hospital.client, contexts=(CTImageStorage, FIND))
    if association.is_established:
        stored = association.send_c_store(image())
        assert stored.get("Status") != 0
        association.abort()


# -- from the archive to modalities -----------------------------------------------------------------------------------


def move(hospital: Hospital, made: Dataset, destination: str) -> tuple[int, int]:
    """Ask for a C-MOVE; give the final status and the number of completed suboperations."""
    keys = Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    keys.StudyInstanceUID = made.StudyInstanceUID
    with associated(hospital.access, calling="RECEIVER", client=hospital.client, contexts=(MOVE,)) as association:
        *_, (status, _) = association.send_c_move(keys, destination, MOVE)
    return int(status.Status), int(status.get("NumberOfCompletedSuboperations") or 0)


def test_move_to_a_modality_with_tls_then_shows_a_client_certificate_and_arrives(hospital: Hospital) -> None:
    made = image()
    assert store(hospital.access, made, calling="RECEIVER", client=hospital.client) == [0]
    context = server_context(hospital.modality_ca.issue("localhost"), hospital.access.ca)
    with modality("RECEIVER", hospital.ports["receiver"], context) as receiver:
        assert move(hospital, made, "RECEIVER") == (0, 1)
        with https(hospital.access) as client:
            assert client.post("/modalities/receiver/echo", json={}).status_code == 200
    assert receiver.received == [made.SOPInstanceUID]
    assert receiver.calling[0].strip() == "ORTHANC"


@pytest.mark.parametrize("case", ["impostor", "misnamed"])
def test_move_to_a_modality_whose_certificate_is_wrong_then_gives_it_nothing(hospital: Hospital, case: str) -> None:
    made = image()
    assert store(hospital.access, made, calling="RECEIVER", client=hospital.client) == [0]
    pairs: dict[str, Callable[[], CertificatePair]] = {
        "impostor": lambda: hospital.stranger.issue("localhost"),
        "misnamed": lambda: hospital.modality_ca.issue("ct7.example.org"),
    }
    context = server_context(pairs[case](), hospital.access.ca)
    context.verify_mode = ssl.CERT_NONE
    with modality(case.upper(), hospital.ports[case], context) as receiver:
        status, completed = move(hospital, made, case.upper())
    assert (status != 0, completed) == (True, 0)
    assert receiver.calling == []


def test_move_to_a_modality_without_tls_then_arrives_when_the_site_file_says_so(hospital: Hospital) -> None:
    made = image()
    assert store(hospital.access, made, calling="RECEIVER", client=hospital.client) == [0]
    with modality("PLAIN", hospital.ports["plain"]) as receiver:
        assert move(hospital, made, "PLAIN") == (0, 1)
    assert receiver.received == [made.SOPInstanceUID]


def test_way_out_to_modalities_when_somebody_else_calls_it_then_is_closed(hospital: Hospital) -> None:
    target = hospital.site.target
    egress = {port.name: port.port for port in target.host_facts().internal_ports if port.name.startswith("egress")}
    assert len(egress) == 4
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(hospital.client.certificate, hospital.client.key)
    request = bytes.fromhex(association_request())

    def answer(port: int) -> bytes:
        # With TLS 1.3 the refusal of the client's certificate comes after the handshake.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain) as secure,
        ):
            secure.sendall(request)
            return secure.recv(100)
        return b""

    assert {port: answer(port) for port in egress.values()} == dict.fromkeys(egress.values(), b"")


# -- limits -----------------------------------------------------------------------------------------------------------


def test_body_when_larger_than_the_site_allows_then_is_refused_with_413(hospital: Hospital) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    with https(hospital.access) as client:
        assert client.post("/instances", content=b"x" * 2_000_000).status_code == 413
        assert client.post("/instances", content=chunks()).status_code == 413
        assert client.get("/system").status_code == 200


def test_connections_when_too_many_are_open_then_the_next_is_closed_and_others_go_on(hospital: Hospital) -> None:
    def served() -> bool:
        with contextlib.suppress(OSError, AssertionError):
            return status_of(hospital.access, "GET", "/healthz") == 200
        return False

    with contextlib.ExitStack() as held:
        for _ in range(16):
            held.enter_context(tls_socket(hospital.access, alpn="http/1.1"))
        assert not served()
    until(served, "a connection after the others have gone")


def test_associations_when_too_many_are_open_then_the_next_is_refused(hospital: Hospital) -> None:
    def one() -> Association:
        return associate(hospital.access, calling="RECEIVER", client=hospital.client)

    held = [one() for _ in range(4)]
    try:
        assert all(association.is_established for association in held)
        assert not one().is_established
        assert held[0].send_c_echo().Status == 0
    finally:
        for association in held:
            association.release()
    until(
        lambda: echo_status(hospital.access, calling="RECEIVER", client=hospital.client) == 0,
        "an association after the others have gone",
    )


def open_associations(hospital: Hospital) -> int:
    return inspection.open_associations(run_folder(hospital.site.target.state) / "edge/admin.sock")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_edge_when_it_has_several_addresses_then_serves_each_with_a_certificate_for_it(
    hospital: Hospital, host: str
) -> None:
    with tls_socket(hospital.access, host=host) as connection:
        assert connection.version() == "TLSv1.3"
    assert echo_status(hospital.access, host=host, calling="RECEIVER", client=hospital.client) == 0


# -- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["archive", "index"])
def test_healthz_when_a_service_is_stopped_then_says_503_until_it_is_back(hospital: Hospital, service: str) -> None:
    supervisor = Supervisor(run_folder(hospital.site.target.state) / "supervisor.sock")

    def health() -> tuple[int, str]:
        with https(hospital.access, login=False) as client:
            answer = client.get("/healthz")
        return answer.status_code, answer.text

    assert health() == (200, "ok\n")
    begun = time.monotonic()
    supervisor.stop(service)
    assert time.monotonic() - begun < 15, f"{service} stops slowly"
    try:
        until(lambda: health() == (503, "not ready\n"), "503", 20)
    finally:
        supervisor.start(service)
    until(lambda: health() == (200, "ok\n"), "200 again", 40)


# -- last: what leaves an association open ----------------------------------------------------------------------------


def test_modality_when_it_may_only_echo_then_cannot_store(hospital: Hospital, lingers: None) -> None:
    assert echo_status(hospital.access, calling="PLAIN", client=hospital.client) == 0
    made = image()
    with associated(hospital.access, calling="PLAIN", client=hospital.client, contexts=(CTImageStorage,)) as peer:
        assert peer.send_c_store(made).get("Status") != 0
    with https(hospital.access) as client:
        assert client.post("/tools/lookup", content=str(made.SOPInstanceUID)).json() == []


# -- another address of the machine -----------------------------------------------------------------------------------

PROBE = """
    import json, socket, ssl, sys
    host, ports = sys.argv[1], json.loads(sys.argv[2])
    association = bytes.fromhex(sys.argv[3])

    def reach(port, secure, words):
        try:
            with socket.create_connection((host, port), timeout=3) as plain:
                stream = plain
                if secure:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                    stream = context.wrap_socket(plain)
                stream.sendall(words)
                return stream.recv(100).decode("latin-1")
        except OSError:
            return ""

    http = b"GET /system HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
    postgresql = bytes.fromhex("0000000804d2162f")
    print(json.dumps({
        port: [reach(port, secure, words) for secure in (False, True) for words in (http, association, postgresql)]
        for port in ports
    }))
"""
ASSOCIATION = (
    "0100 00000000 0001 0000"
    + b"ORTHANC         STRANGER        ".hex()
    + "00" * 32
    + "10000015"
    + b"1.2.840.10008.3.1.1.1".hex()
    + "2000002e 01000000"
    + "30000011"
    + b"1.2.840.10008.1.1".hex()
    + "40000011"
    + b"1.2.840.10008.1.2".hex()
    + "50000008 51000004 00004000"
)


def association_request() -> str:
    raw = bytearray.fromhex(ASSOCIATION)
    raw[2:6] = (len(raw) - 6).to_bytes(4, "big")
    return raw.hex()


@pytest.fixture
def other_machine(as_root: None, program: Callable[[str], Path]) -> Iterator[Neighbour]:
    program("ip")
    with neighbour() as made:
        yield made


def internal_ports(site: LiveSite) -> dict[str, int]:
    return {port.name: port.port for port in site.target.host_facts().internal_ports}


def tells_nothing(answer: str) -> bool:
    """Whether it is silence, a refused login or a TLS alert."""
    return not answer or " 401 " in answer or " 403 " in answer or answer.startswith("\x15")


def test_internal_ports_when_called_from_another_machine_then_tell_it_nothing(
    site: LiveSite, other_machine: Neighbour
) -> None:
    edge = {"https": site.https_port, "dicom": site.dicom_port}
    ports = internal_ports(site) | edge
    answers = other_machine.run(PROBE, other_machine.host, json.dumps(list(ports.values())), association_request())
    for name, port in ports.items():
        for answer in answers[str(port)]:
            assert not answer or " 401 " in answer or " 403 " in answer or answer.startswith("\x07"), (
                f"{name}: {answer!r}"
            )
    # The same words are answered on loopback, so that the silence above means something.
    assert https(site.access).get("/system").status_code == 200


def test_edge_when_it_listens_on_a_networks_address_then_is_all_that_another_machine_reaches(
    other_machine: Neighbour,
) -> None:
    with live_site(edge={"listen": [other_machine.host, "127.0.0.1"]}) as networked:
        inside = internal_ports(networked)
        ports = [*inside.values(), networked.https_port, networked.dicom_port]
        answers = other_machine.run(PROBE, other_machine.host, json.dumps(ports), association_request())
        assert " 401 " in answers[str(networked.https_port)][3]
        assert answers[str(networked.dicom_port)][4].startswith("\x02"), "the association was not accepted"
        for name, port in inside.items():
            for answer in answers[str(port)]:
                assert tells_nothing(answer), f"{name}: {answer!r}"
        with tls_socket(networked.access, host=other_machine.host) as connection:
            assert connection.version() == "TLSv1.3"


# -- what peers may do, by the site file ------------------------------------------------------------------------------


def test_peers_when_certificates_are_optional_then_each_may_do_what_the_site_file_says() -> None:
    with live_site(tls={"client_certificates": "optional"}, dicom={"unknown_peers": "store"}) as site:
        access = dataclasses.replace(site.access, client=None)
        authority = Authority(site.folder / "stranger")
        assert not associate(access, client=authority.issue("ct1")).is_established
        site.orthweb("certificates", "client", "ct1", "--out", str(site.folder / "client"))
        issued = CertificatePair(site.folder / "client/ct1.pem", site.folder / "client/ct1.key")
        assert echo_status(access) == 0
        assert echo_status(access, client=issued) == 0
        made = image()
        assert store(access, made) == [0]
        keys = Dataset()
        keys.QueryRetrieveLevel = "STUDY"
        keys.PatientID = "*"
        association = associate(access, contexts=(FIND,))
        if association.is_established:
            statuses = [status.get("Status") for status, _ in association.send_c_find(keys, FIND)]
            assert 0xFF00 not in statuses
            assert statuses[-1] != 0
            association.abort()

"""The edge of a site with default settings: who gets in, to what, and what is said to those who do not."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from live.edge_clients import associate, echo_status, https, image, status_of, store, tls_socket, until
from live.sites import LiveSite
from orthweb.access import SiteAccess

SECURITY_HEADERS = {
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "permissions-policy",
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
}

RESET_PATHS = (
    "/tools/reset",
    "//tools/reset",
    "/tools//reset",
    "/tools/reset/",
    "/tools/reset//",
    "/tools/./reset",
    "/tools/x/../reset",
    "/dicom-web/../tools/reset",
    "/tools/reset/.",
    "/tools/reset/x",
    "/tools/reset?x=1",
    "/tools/reset.",
    "/tools/reset...",
    "/tools/reset./",
    "/tools./reset",
    "/tools.../reset",
    "/tools/.../reset",
    "/tools/reset%2e",
    "/tools/%2e/reset",
    "/tools/%72eset",
    "/%74ools/reset",
    "/tools%2freset",
    "/tools%5creset",
    "/tools\\reset",
    "/tools/reset%2f",
    "/tools/reset%00",
)
ELSEWHERE_PATHS = (
    "/TOOLS/reset",
    "/tools/RESET",
    "/tools/reset;x=1",
    "/tools/reset%3bx",
    "/tools/reset%20",
    "/tools/reset%09",
    "/tools/reset%0a",
    "/tools/reset%3fx",
    "/tools/reset%23x",
    "/tools/%2572eset",
    "/tools/reset%252e",
    "/tools/reset*",
    "/.tools/reset",
    "/app/..;/tools/RESET",
)
"""What the archive itself takes for another path, and does not know."""


@pytest.fixture(scope="module")
def access(site: LiveSite) -> SiteAccess:
    return site.access


# -- login ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/app/explorer.html", "/system", "/dicom-web/studies", "/nothing", "/wado"])
def test_https_without_a_password_then_answers_401_and_nothing_else(access: SiteAccess, path: str) -> None:
    with https(access, login=False) as client:
        answer = client.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="orthweb", charset="UTF-8"'
    assert "Orthanc" not in answer.text


@pytest.mark.parametrize(
    ("user", "password"), [("admin", "wrong"), ("admin", ""), ("edge", ""), ("orthanc", "orthanc"), ("", "")]
)
def test_https_with_a_wrong_password_then_answers_401(access: SiteAccess, user: str, password: str) -> None:
    with https(access, auth=httpx.BasicAuth(user, password)) as client:
        assert client.get("/system").status_code == 401


def test_https_with_the_archives_own_credential_then_answers_401(site: LiveSite, access: SiteAccess) -> None:
    inner = json.loads((site.state / "archive/configuration/users.json").read_text())["RegisteredUsers"]
    with https(access, auth=httpx.BasicAuth("edge", inner["edge"])) as client:
        assert client.get("/system").status_code == 401


@pytest.mark.parametrize("http2", [True, False])
def test_https_with_the_password_then_speaks_both_versions_of_http(access: SiteAccess, http2: bool) -> None:
    with https(access, http2=http2) as client:
        answer = client.get("/system")
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert answer.json()["Name"] == "orthweb"


def test_root_path_then_leads_to_orthanc_explorer(access: SiteAccess) -> None:
    with https(access) as client:
        answer = client.get("/", follow_redirects=True)
    assert answer.url.path == "/app/explorer.html"
    assert "Orthanc Explorer" in answer.text


def test_healthz_without_a_password_then_says_ok_and_no_figures(access: SiteAccess) -> None:
    with https(access, login=False) as client:
        answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


# -- what is closed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RESET_PATHS)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_reset_when_its_path_is_disguised_then_is_refused_at_the_edge(
    access: SiteAccess, method: str, path: str
) -> None:
    assert status_of(access, method, path) in (400, 403)


@pytest.mark.parametrize("path", ELSEWHERE_PATHS)
def test_reset_when_the_archive_reads_another_path_then_does_not_happen(access: SiteAccess, path: str) -> None:
    # The archive would answer 200 before it restarts.
    assert status_of(access, "POST", path) in (400, 403, 404)


@pytest.mark.parametrize(
    "path", ["/tools/execute-script", "/tools/shutdown", "/tools/exec%75te-script", "/tools/shutdown."]
)
def test_lua_and_shutdown_then_are_refused_at_the_edge(access: SiteAccess, path: str) -> None:
    assert status_of(access, "POST", path, body=b"print(1)") in (400, 403)


@pytest.mark.parametrize(
    "query",
    ["_method=delete", "a=b&_method=DELETE", "%5fmethod=delete", "_%6deth%6Fd=delete", "_method=delete&a", "_method"],
)
def test_get_when_an_argument_asks_for_another_method_then_is_refused(access: SiteAccess, query: str) -> None:
    made = image()
    store(access, made)
    with https(access) as client:
        (study,) = client.post("/tools/lookup", content=str(made.StudyInstanceUID)).json()
        path = study["Path"]
        assert status_of(access, "GET", f"{path}?{query}") == 400
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_request_when_a_header_asks_for_another_method_then_it_is_ignored(access: SiteAccess, method: str) -> None:
    made = image()
    store(access, made)
    with https(access) as client:
        (study,) = client.post("/tools/lookup", content=str(made.StudyInstanceUID)).json()
        client.request(method, study["Path"], headers={"X-HTTP-Method-Override": "DELETE"})
        assert client.get(study["Path"]).status_code == 200


def test_log_level_then_can_be_read_and_not_raised(access: SiteAccess) -> None:
    with https(access) as client:
        assert client.put("/tools/log-level", content="trace").status_code == 403
        assert client.put("/tools/log-level-http", content="trace").status_code == 403
        assert client.put("/tools/log-level/", content="trace").status_code == 403
        assert client.get("/tools/log-level?_method=put").status_code == 400
        assert client.get("/tools/log-level").text == "default"


@pytest.mark.parametrize("origin", ["cross-site", "same-site"])
def test_writing_request_from_another_origin_then_is_refused(access: SiteAccess, origin: str) -> None:
    with https(access, headers={"Sec-Fetch-Site": origin}) as client:
        assert client.post("/tools/find", json={"Level": "Study", "Query": {}}).status_code == 403
        assert client.delete("/patients/none").status_code == 403
        assert client.get("/system").status_code == 200


@pytest.mark.parametrize("origin", ["same-origin", "none"])
def test_writing_request_from_the_sites_own_pages_then_is_answered(access: SiteAccess, origin: str) -> None:
    with https(access, headers={"Sec-Fetch-Site": origin}) as client:
        assert client.post("/tools/find", json={"Level": "Study", "Query": {"PatientID": "none"}}).status_code == 200


# -- headers and limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "login"),
    [
        ("/system", 200, True),
        ("/nothing", 404, True),
        ("/tools/reset", 403, True),
        ("/x.", 400, True),
        ("/a%2fb", 400, True),
        ("/", 302, True),
        ("/system", 401, False),
        ("/healthz", 200, False),
    ],
)
def test_every_answer_then_has_the_security_headers_once(
    access: SiteAccess, path: str, status: int, login: bool
) -> None:
    with https(access, login=login) as client:
        answer = client.get(path)
    assert answer.status_code == status
    names = [name.lower() for name, _ in answer.headers.multi_items()]
    assert {name for name in SECURITY_HEADERS if names.count(name) == 1} == SECURITY_HEADERS
    assert answer.headers["server"] == "orthweb"
    assert not {"x-powered-by", "x-envoy-upstream-service-time", "via"} & set(names)


def test_hsts_when_the_host_is_localhost_then_is_not_sent(access: SiteAccess) -> None:
    with https(access) as client:
        assert "strict-transport-security" not in client.get("/system").headers
        elsewhere = client.get("/system", headers={"Host": "pacs.example.org"})
    assert elsewhere.headers["strict-transport-security"] == "max-age=63072000"


def test_headers_when_too_large_or_too_many_then_are_refused_with_431(access: SiteAccess) -> None:
    assert status_of(access, "GET", "/system", f"X-Large: {'a' * 40_000}") == 431
    assert status_of(access, "GET", "/system", *(f"X-{number}: a" for number in range(120))) == 431


@pytest.mark.parametrize(
    "header", ["Transfer-Encoding: chunked", "Content-Length: 5", "X_Under_score: a", "X-Bad\x01Name: a", " folded"]
)
def test_malformed_headers_then_are_refused_with_400(access: SiteAccess, header: str) -> None:
    assert status_of(access, "POST", "/tools/find", header) == 400


def test_slow_clients_when_they_send_next_to_nothing_then_are_cut_off(access: SiteAccess) -> None:
    def trickle(secure: bool) -> float:
        """Send a byte a second; give the seconds until the edge hangs up."""
        begun = time.monotonic()
        with socket.create_connection((access.host, access.https_port), timeout=40) as connection:
            stream: socket.socket = connection
            if secure:
                context = ssl.create_default_context(cafile=str(access.ca))
                stream = context.wrap_socket(connection, server_hostname=access.host)
                stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
            stream.settimeout(1)
            while time.monotonic() - begun < 30:
                try:
                    stream.sendall(b"a")
                    if not stream.recv(4096):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        return time.monotonic() - begun

    with ThreadPoolExecutor() as pool:
        headers, handshake = pool.map(trickle, (True, False))
    assert 12 < headers < 22
    assert handshake < 16


# -- what is not offered ----------------------------------------------------------------------------------------------


def test_plain_http_on_the_https_port_then_gets_no_answer(access: SiteAccess) -> None:
    with socket.create_connection((access.host, access.https_port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/" not in received(connection)


def test_plain_dicom_on_the_dicom_port_then_gets_no_answer(access: SiteAccess) -> None:
    request = b"ORTHANC".ljust(16) + b"STRANGER".ljust(16)
    body = struct.pack(">HH", 1, 0) + request + bytes(32)
    with socket.create_connection((access.host, access.dicom_port), timeout=20) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, len(body)) + body)
        answer = received(connection)
    assert not answer.startswith((b"\x02\x00", b"\x03\x00")), "an association was accepted or rejected in plain DICOM"


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_then_is_refused_on_both_ports(access: SiteAccess, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    for port in (access.https_port, access.dicom_port):
        with (
            socket.create_connection((access.host, port), timeout=20) as connection,
            pytest.raises(OSError, match=r"alert|reset|EOF|closed"),
        ):
            context.wrap_socket(connection)


# -- logs -------------------------------------------------------------------------------------------------------------


def test_access_log_then_has_the_user_and_the_path_and_no_patient_data(site: LiveSite, access: SiteAccess) -> None:
    mark = f"mark-{uuid.uuid4().hex[:8]}"
    name = f"SENTINEL{uuid.uuid4().hex[:8]}"
    made = image()
    made.PatientName, made.PatientID = f"{name}^Jane", name
    store(access, made)
    with https(access) as client:
        client.get(f"/{mark}?PatientName={name}", headers={"X-Orthweb-User": "root"})
        found = client.get("/dicom-web/studies", params={"PatientName": name + "*", "includefield": "00081030"})
        assert len(found.json()) == 1
    with https(access, login=False) as client:
        client.get(f"/{mark}-stranger?PatientName={name}", headers={"X-Orthweb-User": "root"})

    def entries() -> list[dict[str, object]]:
        lines = (site.state / "logs/edge-access.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if mark in line]
        return found if len(found) == 2 else []

    known, stranger = until(entries, "two lines in the access log", 15)
    assert (known["path"], known["user"], known["status"], known["method"]) == (f"/{mark}", "admin", 404, "GET")
    assert (stranger["path"], stranger["user"], stranger["status"]) == (f"/{mark}-stranger", None, 401)
    assert known["tls"] == "TLSv1.3"
    assert known["request_id"] != stranger["request_id"]
    for log in (site.state / "logs").iterdir():
        assert name not in log.read_text(errors="replace"), log.name


def test_association_then_leaves_a_line_in_the_access_log(site: LiveSite, access: SiteAccess) -> None:
    log = site.state / "logs/edge-access.log"
    before = log.read_text().count('"protocol":"DICOM"')
    assert echo_status(access) == 0
    until(lambda: log.read_text().count('"protocol":"DICOM"') > before, "a line for the association", 15)


# -- DICOMweb addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [None, "pacs.example.org", "pacs.example.org:443", "10.1.2.3:8443", "[2001:db8::1]:1"])
def test_dicomweb_links_then_lead_back_to_the_address_that_was_called(access: SiteAccess, host: str | None) -> None:
    made = image()
    store(access, made)
    authority = host or f"{access.host}:{access.https_port}"
    with https(access, headers={"Host": authority}) as client:
        (study,) = client.get("/dicom-web/studies", params={"StudyInstanceUID": made.StudyInstanceUID}).json()
        (metadata,) = client.get(f"/dicom-web/studies/{made.StudyInstanceUID}/metadata").json()
    expected = f"https://{authority}/dicom-web/studies/{made.StudyInstanceUID}"
    assert study["00081190"]["Value"] == [expected]
    assert metadata["7FE00010"]["BulkDataURI"].startswith(expected)


@pytest.mark.parametrize("query", ["PatientName=%2AENC%4fDED%2A", "00100010=ENCODED*", "PatientName=ENCODED%5EJane"])
def test_qido_when_a_client_encodes_more_than_it_must_then_finds_the_same(access: SiteAccess, query: str) -> None:
    made = image(seed="a study that is found by name")
    made.PatientName = "ENCODED^Jane"
    store(access, made)
    with https(access) as client:
        found = client.get(f"/dicom-web/studies?{query}").json()
        none = client.get("/dicom-web/studies?PatientName=ENCODED%26limit%3D1").json()
    assert [study["0020000D"]["Value"] for study in found] == [[made.StudyInstanceUID]]
    assert none == []


# -- many at once -----------------------------------------------------------------------------------------------------


def test_associations_when_many_are_open_then_each_is_answered(access: SiteAccess) -> None:
    held = [associate(access, calling=f"PEER{number}") for number in range(20)]
    try:
        assert all(association.is_established for association in held)
        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(lambda association: association.send_c_echo().Status, held))
        assert statuses == [0] * 20
    finally:
        for association in held:
            association.release()


def test_http2_without_login_then_a_posted_body_is_answered_with_401(access: SiteAccess) -> None:
    with https(access, login=False, http2=True) as client:
        # A body that is on its way when the answer comes makes some clients see a reset stream instead (RFC 9113 8.1).
        assert client.post("/dicom-web/studies", content=b"x" * 100).status_code == 401


def test_connection_when_the_tls_name_is_unknown_then_is_served(access: SiteAccess) -> None:
    with tls_socket(access, host="127.0.0.1") as connection:
        assert connection.version() == "TLSv1.3"

"""Foreign clients trust the site with what `orthweb trust` prints: each printed command is run as it stands.

The servers here have the edge's certificates and its TLS profiles; that the edge itself is reached the same way
is proven with the whole site.
"""

from __future__ import annotations

import base64
import os
import pty
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from orthweb import pki, trust
from orthweb.access import CertificatePair
from orthweb.site import Dicom, Site, Tls
from orthweb.trust import TRUST_STORE_PASSWORD, Connection

pytestmark = pytest.mark.live

AET = "A 'B' $HOME"
"""An AE title that only survives a shell when it is quoted."""

JAVA_CLIENT = """
import javax.net.ssl.*;

public class Client {
    public static void main(String[] peer) throws Exception {
        var socket = (SSLSocket) SSLSocketFactory.getDefault().createSocket(peer[0], Integer.parseInt(peer[1]));
        var parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        socket.setSoTimeout(20000);
        var request = "GET /healthz HTTP/1.0\\r\\n\\r\\n";
        socket.getOutputStream().write(request.getBytes());
        System.out.println(new String(socket.getInputStream().readAllBytes()));
    }
}
"""


PROGRAMS = {
    "dcmtk": ("echoscu", "storescu", "findscu"),
    "server": ("echoscu",),
    "curl": ("curl",),
    "java": ("java",),
    "keytool": ("keytool",),
    "openssl": ("openssl",),
    "chromium": ("chromium", "certutil"),
}
"""What each group of tests (the word after ``test_``) runs."""


@pytest.fixture(autouse=True)
def programs(request: pytest.FixtureRequest, program: Callable[[str], Path]) -> None:
    """Have the foreign programs of a test, or leave it out."""
    for name in PROGRAMS.get(request.node.name.split("_")[1], ()):
        program(name)


@dataclass
class Place:
    """A site's PKI and the folder that its exports were written to."""

    base: Path
    site: Site
    connection: Connection
    pki: pki.Pki


@dataclass
class Archive:
    """A DICOM server, and what it was asked."""

    port: int
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    base = tmp_path_factory.mktemp("a site")
    site = Site(dicom=Dicom(aet="ORTHANC"))
    pki.ensure(base / "pki", site, base)
    connection = replace(trust.export(base / "pki", site, base, base / "trust"), aet=AET)
    return Place(base, site, connection, pki.paths(base / "pki", site, base))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """Another site of the same name: its CA must not open this one's doors."""
    base = tmp_path_factory.mktemp("stranger")
    pki.ensure(base / "pki", Site(), base)
    return replace(trust.export(base / "pki", Site(), base, base / "trust"), aet=AET)


def server_context(place: Place, kinds: tuple[str, ...], modern: bool, required: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if modern else ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM")
    for pair in place.pki.edge:
        if pair.certificate.stem in kinds:
            context.load_cert_chain(pair.certificate, pair.key)
    if required:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(place.pki.site_ca.certificate)
    return context


@contextmanager
def archive(context: ssl.SSLContext) -> Iterator[Archive]:
    """Run a DICOM server on loopback that answers C-ECHO, C-STORE and C-FIND."""
    running = Archive(port=0)

    def asked(event: Event) -> int:
        running.asked.append(event.event.name)
        return 0x0000

    def find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        running.asked.append(event.event.name)
        study = Dataset()
        study.QueryRetrieveLevel = "STUDY"
        study.PatientName = "Test^Found"
        yield 0xFF00, study

    ae = AE(ae_title=AET)
    ae.require_called_aet = True
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    handlers: list[Any] = [(evt.EVT_C_ECHO, asked), (evt.EVT_C_STORE, asked), (evt.EVT_C_FIND, find)]
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=handlers)
    assert server is not None
    try:
        running.port = int(server.server_address[1])
        yield running
    finally:
        server.shutdown()


class Web(BaseHTTPRequestHandler):
    """Answers what the edge answers: health to everyone, studies to who knows the password."""

    password = "correct horse"

    def do_GET(self) -> None:
        login = base64.b64encode(f"admin:{self.password}".encode()).decode()
        open_to_all = self.path == "/healthz"
        allowed = open_to_all or self.headers.get("Authorization") == f"Basic {login}"
        body = b"ok" if open_to_all else b'["a study"]' if allowed else b"no"
        self.send_response(200 if allowed else 401)
        # Without it the body ends with the connection, and curl with OpenSSL 3.5 insists on a TLS close_notify.
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@contextmanager
def web(context: ssl.SSLContext) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def paste(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a printed command the way a person does: pasted into a shell."""
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def command(connection: Connection, tool: str, step: int) -> str:
    printed = trust.instructions(connection, tool)[0].steps[step].command
    assert printed is not None
    return printed


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(str(get_testdata_file("CT_small.dcm")), folder / "ct.dcm")
    shutil.copy(str(get_testdata_file("MR_small.dcm")), folder / "mr.dcm")
    return folder


DCMTK_STEPS = [(0, ["EVT_C_ECHO"]), (1, ["EVT_C_STORE", "EVT_C_STORE"]), (2, ["EVT_C_FIND"])]


@pytest.mark.parametrize("kinds", [("edge-ecdsa", "edge-rsa"), ("edge-rsa",), ("edge-ecdsa",)], ids="+".join)
@pytest.mark.parametrize("modern", [False, True], ids=["intermediate", "modern"])
@pytest.mark.parametrize(("step", "asked"), DCMTK_STEPS, ids=["echo", "store", "find"])
def test_dcmtk_when_its_commands_are_pasted_then_the_archive_is_asked(
    place: Place, images: Path, kinds: tuple[str, ...], modern: bool, step: int, asked: list[str]
) -> None:
    with archive(server_context(place, kinds, modern, required=False)) as running:
        to = replace(place.connection, dicom_port=running.port, modern=modern)
        done = paste(command(to, "dcmtk", step), images)
    assert done.returncode == 0, done.stderr
    assert running.asked == asked
    if step == 2:
        assert "Test^Found" in done.stdout + done.stderr


@pytest.mark.parametrize(("step", "asked"), DCMTK_STEPS, ids=["echo", "store", "find"])
def test_dcmtk_when_client_certificates_are_required_then_the_issued_one_opens_the_door(
    place: Place, images: Path, step: int, asked: list[str]
) -> None:
    pki.issue_client(place.base / "pki", place.site, "ct1")
    with archive(server_context(place, ("edge-ecdsa", "edge-rsa"), modern=False, required=True)) as running:
        to = replace(place.connection, dicom_port=running.port)
        refused = paste(command(to, "dcmtk", step), images)
        assert refused.returncode != 0
        assert running.asked == []
        shown = trust.with_client(to, "ct1", place.pki.client_folder)
        done = paste(command(shown, "dcmtk", step), images)
    assert done.returncode == 0, done.stderr
    assert running.asked == asked


def test_dcmtk_when_the_client_certificate_was_handed_out_then_it_is_found_in_the_folder(
    place: Place, images: Path
) -> None:
    pki.issue_client(place.base / "pki", place.site, "NAME", out=images)
    with archive(server_context(place, ("edge-ecdsa", "edge-rsa"), modern=False, required=True)) as running:
        to = replace(place.connection, dicom_port=running.port, client_certificates="required")
        done = paste(command(trust.with_client(to, None, place.base), "dcmtk", 0), images)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("step", [0, 1, 2], ids=["echo", "store", "find"])
def test_dcmtk_when_it_trusts_another_ca_then_it_refuses(
    place: Place, stranger: Connection, images: Path, step: int
) -> None:
    with archive(server_context(place, ("edge-ecdsa", "edge-rsa"), modern=False, required=False)) as running:
        done = paste(command(replace(stranger, dicom_port=running.port), "dcmtk", step), images)
    assert done.returncode != 0
    assert running.asked == []


def test_server_certificate_when_shown_as_a_client_certificate_then_it_is_refused(place: Place, images: Path) -> None:
    with archive(server_context(place, ("edge-ecdsa",), modern=False, required=True)) as running:
        edge = place.pki.edge[1]
        to = replace(place.connection, dicom_port=running.port, client=CertificatePair(edge.certificate, edge.key))
        assert paste(command(to, "dcmtk", 0), images).returncode != 0
        check = place.pki.check
        to = replace(to, client=CertificatePair(check.certificate, check.key))
        assert paste(command(to, "dcmtk", 0), images).returncode == 0
    assert running.asked == ["EVT_C_ECHO"]


@pytest.mark.parametrize("required", [False, True], ids=["off", "required"])
@pytest.mark.parametrize("modern", [False, True], ids=["intermediate", "modern"])
def test_pynetdicom_when_its_program_is_run_then_the_archive_answers(
    place: Place, tmp_path: Path, modern: bool, required: bool
) -> None:
    with archive(server_context(place, ("edge-ecdsa", "edge-rsa"), modern, required)) as running:
        to = replace(place.connection, dicom_port=running.port)
        if required:
            pki.issue_client(place.base / "pki", place.site, "py1")
            to = trust.with_client(to, "py1", place.pki.client_folder)
        program = tmp_path / "echo.py"
        program.write_text(command(to, "pynetdicom", 0))
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "C-ECHO status 0x0000\n"), done.stderr
    assert running.asked == ["EVT_C_ECHO"]


def test_pynetdicom_when_it_trusts_another_ca_then_it_refuses(
    place: Place, stranger: Connection, tmp_path: Path
) -> None:
    with archive(server_context(place, ("edge-ecdsa", "edge-rsa"), modern=False, required=False)) as running:
        program = tmp_path / "echo.py"
        program.write_text(command(replace(stranger, dicom_port=running.port), "pynetdicom", 0))
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "no association" in done.stderr
    assert running.asked == []


@pytest.mark.parametrize("kinds", [("edge-rsa",), ("edge-ecdsa",)], ids="+".join)
def test_curl_when_its_command_is_pasted_then_the_site_says_it_is_well(
    place: Place, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    with web(server_context(place, kinds, modern=False, required=False)) as port:
        done = paste(command(replace(place.connection, https_port=port), "curl", 0), tmp_path)
    assert (done.returncode, done.stdout) == (0, "ok"), done.stderr


def test_curl_when_it_trusts_another_ca_then_it_refuses(place: Place, stranger: Connection, tmp_path: Path) -> None:
    with web(server_context(place, ("edge-rsa",), modern=False, required=False)) as port:
        done = paste(command(replace(stranger, https_port=port), "curl", 0), tmp_path)
    assert done.returncode == 60, done.stderr
    assert done.stdout == ""


def test_curl_when_it_asks_for_the_password_then_the_typed_one_opens_dicomweb(place: Place) -> None:
    with web(server_context(place, ("edge-ecdsa",), modern=False, required=False)) as port:
        printed = command(replace(place.connection, https_port=port), "curl", 1)
        assert Web.password not in printed
        child, terminal = pty.fork()
        if child == 0:
            os.execvp("bash", ["bash", "-c", printed])
        seen = b""
        while b"password for user 'admin'" not in seen:
            seen += os.read(terminal, 1024)
        os.write(terminal, f"{Web.password}\n".encode())
        try:
            while piece := os.read(terminal, 1024):
                seen += piece
        except OSError:
            pass  # Linux reports the end of a terminal as an error
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert seen.endswith(b'["a study"]')


@pytest.fixture(scope="module")
def java_client(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], subprocess.CompletedProcess[str]]:
    source = tmp_path_factory.mktemp("java") / "Client.java"
    source.write_text(JAVA_CLIENT)

    def run(options: str, port: int) -> subprocess.CompletedProcess[str]:
        line = f"java -XX:TieredStopAtLevel=1 -Xmx128m {options} {shlex.quote(str(source))} localhost {port}"
        return paste(line, source.parent)

    return run


@pytest.mark.parametrize("kinds", [("edge-rsa",), ("edge-ecdsa",)], ids="+".join)
def test_java_when_given_the_printed_options_then_it_trusts_the_site(
    place: Place, java_client: Callable[[str, int], subprocess.CompletedProcess[str]], kinds: tuple[str, ...]
) -> None:
    with web(server_context(place, kinds, modern=False, required=False)) as port:
        done = java_client(command(place.connection, "java", 0), port)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("ok")


def test_java_when_it_offers_what_dcm4che_is_told_to_then_the_site_agrees(
    place: Place, java_client: Callable[[str, int], subprocess.CompletedProcess[str]]
) -> None:
    words = shlex.split(command(place.connection, "dcm4che", 0))
    protocol, suite = (words[words.index(option) + 1] for option in ("--tls-protocol", "--tls-cipher"))
    offer = f"-Djdk.tls.client.protocols={protocol} -Djdk.tls.client.cipherSuites={suite}"
    with web(server_context(place, ("edge-ecdsa", "edge-rsa"), modern=False, required=False)) as port:
        done = java_client(f"{command(place.connection, 'java', 0)} {offer}", port)
    assert done.returncode == 0, done.stderr


def test_java_when_it_has_another_trust_store_then_it_refuses(
    place: Place, stranger: Connection, java_client: Callable[[str, int], subprocess.CompletedProcess[str]]
) -> None:
    with web(server_context(place, ("edge-rsa",), modern=False, required=False)) as port:
        done = java_client(command(stranger, "java", 0), port)
    assert done.returncode != 0
    assert "SSLHandshakeException" in done.stderr


def test_java_when_it_shows_the_issued_pkcs12_then_it_passes_a_required_client_certificate(
    place: Place, java_client: Callable[[str, int], subprocess.CompletedProcess[str]]
) -> None:
    client = pki.issue_client(place.base / "pki", place.site, "java1")
    options = command(place.connection, "java", 0)
    shown = " ".join(
        [
            options,
            shlex.quote(f"-Djavax.net.ssl.keyStore={client.container}"),
            "-Djavax.net.ssl.keyStoreType=PKCS12",
            f'-Djavax.net.ssl.keyStorePassword="$(cat {shlex.quote(str(client.password))})"',
        ]
    )
    with web(server_context(place, ("edge-rsa",), modern=False, required=True)) as port:
        assert java_client(options, port).returncode != 0
        done = java_client(shown, port)
    assert done.returncode == 0, done.stderr


def test_keytool_when_it_reads_the_trust_store_then_it_lists_the_ca_as_trusted(place: Place, tmp_path: Path) -> None:
    store = shlex.quote(str(place.connection.trust_store))
    done = paste(f"keytool -list -keystore {store} -storepass {TRUST_STORE_PASSWORD}", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "orthweb-ca" in done.stdout
    assert "trustedCertEntry" in done.stdout
    assert place.connection.ca_sha256 in done.stdout


def test_keytool_when_it_makes_the_store_for_old_java_then_java_reads_it(place: Place, tmp_path: Path) -> None:
    assert paste(command(place.connection, "java", 1), tmp_path).returncode == 0
    done = paste(f"keytool -list -keystore orthweb-truststore.jks -storepass {TRUST_STORE_PASSWORD}", tmp_path)
    assert place.connection.ca_sha256 in done.stdout


@pytest.mark.parametrize("profile", ["intermediate", "modern"])
@pytest.mark.parametrize("name", ["edge", "check"])
def test_openssl_when_strict_then_it_accepts_every_server_certificate(tmp_path: Path, profile: str, name: str) -> None:
    site = Site(tls=Tls.model_validate({"profile": profile}))
    pki.ensure(tmp_path / "pki", site, tmp_path)
    made = pki.paths(tmp_path / "pki", site, tmp_path)
    for pair in made.edge if name == "edge" else (made.check,):
        done = subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"),
                *("-CAfile", made.site_ca.certificate, pair.certificate),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kinds", [("edge-rsa",), ("edge-ecdsa",)], ids="+".join)
def test_chromium_when_the_printed_import_was_run_then_it_shows_the_site(
    place: Place, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    browse = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    with web(server_context(place, kinds, modern=False, required=False)) as port:

        def page() -> str:
            url = f"https://localhost:{port}/healthz"
            return subprocess.run([*browse, url], env=environment, capture_output=True, text=True, timeout=60).stdout

        assert ">ok<" not in page()
        (step,) = [
            step for step in trust.instructions(place.connection, "chrome")[0].steps if "nssdb" in f"{step.command}"
        ]
        imported = subprocess.run(
            ["bash", "-c", str(step.command)], cwd=place.connection.ca.parent, env=environment, timeout=30, check=False
        )
        assert imported.returncode == 0
        assert ">ok<" in page()

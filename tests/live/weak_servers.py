"""Servers that do on purpose what a site must not do, for tests of the checks; all on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from live.sites import free_port
from orthweb.access import CertificatePair, SiteAccess


def identity(folder: Path, *, name: str = "localhost", days: float = 80, rsa_bits: int = 0) -> CertificatePair:
    """Write a self-signed certificate for a DNS name (its own CA: trust the file) and its key."""
    key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = CertificatePair(folder / f"{name}-{days}-{rsa_bits}.pem", folder / f"{name}-{days}-{rsa_bits}.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


def server_context(pair: CertificatePair, *, ciphers: str = "", oldest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Make a server's TLS context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ciphers:
        context.set_ciphers(ciphers)
    context.minimum_version = oldest or ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@contextmanager
def tcp_server(answer: Callable[[socket.socket], None], *, one_at_a_time: bool = False) -> Iterator[int]:
    """Listen on a free port and answer each connection; give the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    stop = threading.Event()
    open_now: list[socket.socket] = []

    def guarded(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            answer(connection)

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(30)
            open_now.append(connection)
            if one_at_a_time:
                guarded(connection)
            else:
                threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        for connection in open_now:
            connection.close()
        thread.join(5)
        listener.close()


@contextmanager
def tls_server(context: ssl.SSLContext, *, one_at_a_time: bool = False) -> Iterator[int]:
    """Do TLS handshakes and read until the other side closes; give the port."""

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            while secure.recv(4096):
                pass

    with tcp_server(answer, one_at_a_time=one_at_a_time) as port:
        yield port


@contextmanager
def plain_server(banner: bytes) -> Iterator[int]:
    """Answer the first bytes of each connection with `banner`, without TLS; give the port."""

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(banner)

    with tcp_server(answer) as port:
        yield port


@dataclass
class Answer:
    """What the weak edge is about to answer; a test changes it."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class WeakEdge:
    """A proxy in front of a real site's edge that is weak where a test says so.

    Parameters
    ----------
    add_login : whether it signs everybody in.
    drop : request headers that it does not pass on.
    swallow : methods that it answers with 200 by itself.
    change : changes an answer; gets the request's path with its query.
    """

    access: SiteAccess
    add_login: bool = False
    drop: frozenset[str] = frozenset()
    swallow: frozenset[str] = frozenset()
    change: Callable[[str, Answer], None] = field(default=lambda _path, _answer: None)

    @contextmanager
    def running(self, folder: Path) -> Iterator[SiteAccess]:
        """Run it; give the access that leads to it."""
        pair = identity(folder)
        trust = ssl.create_default_context(cafile=self.access.ca)
        with httpx.Client(base_url=self.access.url, verify=trust, timeout=30, trust_env=False) as onward:
            server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(onward))
            server.daemon_threads = True
            server.socket = server_context(pair).wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            try:
                # The DICOM port is still the real one.
                both = folder / "both.pem"
                both.write_bytes(pair.certificate.read_bytes() + self.access.ca.read_bytes())
                yield replace(self.access, host="localhost", https_port=server.server_address[1], ca=both)
            finally:
                server.shutdown()
                server.server_close()
                thread.join(5)

    def _handler(self, onward: httpx.Client) -> type[BaseHTTPRequestHandler]:
        edge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def handle_one(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                answer = edge.swallowed(self.command, length)
                if answer is None:
                    answer = edge.pass_on(onward, self.command, self.path, dict(self.headers), self.rfile.read(length))
                edge.change(self.path, answer)
                self.send_response_only(answer.status)
                for key, value in answer.headers.items():
                    self.send_header(key, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_DELETE = do_PUT = handle_one  # noqa: N815

        return Handler

    def swallowed(self, method: str, length: int) -> Answer | None:
        """Answer by itself what it does not pass on: some methods, and bodies that never come."""
        if method in self.swallow or length > 1024**3:
            return Answer(200, {"connection": "close"}, b"{}")
        return None

    def pass_on(self, onward: httpx.Client, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Ask the real edge."""
        apart = {"content-length", "connection", "accept-encoding"} | self.drop
        kept = {key: value for key, value in headers.items() if key.lower() not in apart}
        login = self.access.credentials
        if self.add_login:
            kept = {key: value for key, value in kept.items() if key.lower() != "authorization"}
        url = httpx.URL(self.access.url).copy_with(raw_path=path.encode())
        auth = httpx.BasicAuth(login.user, login.password) if self.add_login else None
        got = onward.request(method, url, headers=kept, content=body, auth=auth)
        hop = {"content-length", "transfer-encoding", "connection"}
        return Answer(got.status_code, {k: v for k, v in got.headers.items() if k not in hop}, got.content)


@dataclass(frozen=True)
class WeakIndex:
    """A PostgreSQL that trusts everybody, with and without TLS."""

    port: int
    ca: Path


@contextmanager
def weak_index() -> Iterator[WeakIndex]:
    """Run a PostgreSQL whose role ``orthanc`` is a superuser and whose database ``orthanc`` is empty."""
    binaries = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name)) / "bin"
    folder = Path(tempfile.mkdtemp(prefix="orthweb-test-", dir="/var/tmp"))
    port = free_port()
    pair = identity(folder)
    as_user: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        for path in folder.iterdir():
            shutil.chown(path, "postgres", "postgres")
        as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]
    pair.key.chmod(0o600)
    data = folder / "data"
    subprocess.run(
        [
            *as_user,
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            "orthanc",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ],
        check=True,
        capture_output=True,
        cwd="/",
    )
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": str(pair.certificate),
        "ssl_key_file": str(pair.key),
        "fsync": "off",
    }
    command = [*as_user, str(binaries / "postgres"), "-D", str(data)]
    for key, value in settings.items():
        command += ["-c", f"{key}={value}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
    try:
        import psycopg

        end = time.monotonic() + 30
        while True:
            try:
                with psycopg.connect(
                    host="127.0.0.1", port=port, user="orthanc", dbname="postgres", autocommit=True
                ) as made:
                    made.execute("CREATE DATABASE orthanc")
                break
            except psycopg.OperationalError:
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.05)
        yield WeakIndex(port, pair.certificate)
    finally:
        server.send_signal(2)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)

"""Each check fails when its subject is broken: one way to break each, and the reason that it must give.

The site is real and shared; what breaks is a server in its place that is weak on purpose, a file, or what was stored.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from live.sites import LiveSite
from live.weak_servers import (
    Answer,
    WeakEdge,
    WeakIndex,
    identity,
    plain_server,
    server_context,
    tls_server,
    weak_index,
)
from orthweb.access import SiteAccess
from orthweb.checks import archive, catalogue, reachability
from orthweb.checks.check import Check
from orthweb.checks.context import Context
from orthweb.checks.facts import HostFacts, InternalPort, ServiceFacts, StoreFacts
from orthweb.checks.runner import run
from orthweb.checks.store import _kept
from orthweb.logs import LogFiles
from orthweb.site import S3

pytestmark = [
    pytest.mark.live,
    # Old TLS is offered on purpose.
    pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning"),
]


@dataclass
class World:
    """What a breaker works with; it changes `access` and `facts`, or damages things until the test ends."""

    access: SiteAccess
    facts: HostFacts
    folder: Path
    until_end: ExitStack
    monkeypatch: pytest.MonkeyPatch
    index: Callable[[], WeakIndex]
    after: Callable[[Context], None] = lambda _: None
    """Runs once the check's own preparation has run (or, if it has none, before the check)."""

    def enter(self, server: AbstractContextManager[Any]) -> Any:
        """Keep a server running until the test ends."""
        return self.until_end.enter_context(server)

    def edge(self, **weakness: Any) -> None:
        """Put a weak proxy in place of the edge's HTTPS."""
        self.access = self.enter(WeakEdge(self.access, **weakness).running(self.folder))

    def answer(self, where: str, change: Callable[[Answer], None]) -> None:
        """Change the answers to requests whose path matches."""

        def changed(path: str, answer: Answer) -> None:
            if re.search(where, path):
                change(answer)

        self.edge(change=changed)

    def tls(self, port: str, **certificate: Any) -> None:
        """Put a TLS server with another certificate in place of a port."""
        pair = identity(self.folder, **certificate)
        context = server_context(pair, ciphers="ALL:@SECLEVEL=0")
        self.access = replace(self.access, ca=pair.certificate, **{port: self.enter(tls_server(context))})

    def weak_index(self) -> None:
        """Put the weak PostgreSQL in place of the index."""
        weak = self.index()
        assert self.facts.index is not None
        self.facts = replace(
            self.facts, index=replace(self.facts.index, host="localhost", port=weak.port, sslrootcert=weak.ca)
        )


Breaker = Callable[[World], None]
BREAKERS: dict[str, tuple[Breaker, str]] = {}


def breaks(name: str, reason: str) -> Callable[[Breaker], Breaker]:
    """Register how to break a check's subject, and what the evidence must then say."""

    def register(breaker: Breaker) -> Breaker:
        assert name not in BREAKERS
        BREAKERS[name] = (breaker, reason)
        return breaker

    return register


def same(name: str, reason: str, breaker: Breaker) -> None:
    """Register a breaker that needs no function of its own."""
    breaks(name, reason)(breaker)


# --- dicom ------------------------------------------------------------------------------------------------------------


@breaks("dicom.echo", "ended the association|no answer")
def no_dicom_there(world: World) -> None:
    world.access = replace(world.access, dicom_port=world.access.https_port)


@breaks("dicom.store", "refused|out of resources|no answer")
def store_cannot_be_written(world: World) -> None:
    assert world.facts.store is not None
    folder = world.facts.store.path
    assert folder is not None
    # Every subfolder that Orthanc might use exists, and none can be written.
    mode = folder.stat().st_mode
    moved = folder.with_name("store-aside")
    folder.rename(moved)
    folder.touch(0o000)

    def back() -> None:
        folder.unlink()
        moved.rename(folder)
        folder.chmod(mode)

    world.until_end.callback(back)


def delete_what_was_sent(context: Context) -> None:
    context.sent()
    with context.client() as client:
        for key in archive.patients(client, context.patient.patient_id):
            archive.delete_patient(client, key)


@breaks("dicom.find", "stored one is not among them")
def study_is_not_found(world: World) -> None:
    world.after = delete_what_was_sent


def alter_what_was_sent(context: Context) -> None:
    """From here on the archive has other bytes than those that the checks believe they sent."""
    sent = context.sent()
    content = bytearray(sent[0].content)
    content[-1000] ^= 1
    sent[0] = replace(sent[0], content=bytes(content))


@breaks("dicom.get", "another data set")
def get_gives_other_bytes(world: World) -> None:
    world.after = alter_what_was_sent


@breaks("dicom.move", "another data set")
def move_gives_other_bytes(world: World) -> None:
    world.after = alter_what_was_sent


@contextmanager
def plain_dicom() -> Iterator[int]:
    application = AE(ae_title="WEAK")
    application.add_supported_context(Verification)
    server = application.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@breaks("dicom.plaintext", "accepted the association without TLS")
def dicom_without_tls(world: World) -> None:
    world.access = replace(world.access, dicom_port=world.enter(plain_dicom()))


@breaks("dicom.wrong_ca", "before a certificate was judged")
def dicom_without_certificate(world: World) -> None:
    world.access = replace(world.access, dicom_port=world.enter(plain_dicom()))


@breaks("dicom.client_certificates", "with none accepted")
def policy_is_not_enforced(world: World) -> None:
    world.access = replace(world.access, client_certificates="required")


@breaks("dicom.silent_peer", "no answer|handshake")
def one_connection_at_a_time(world: World) -> None:
    pair = identity(world.folder)
    port = world.enter(tls_server(server_context(pair), one_at_a_time=True))
    world.access = replace(world.access, dicom_port=port, ca=pair.certificate)


# --- web --------------------------------------------------------------------------------------------------------------


@breaks("web.login", "answered 401, not 200")
def password_has_changed(world: World) -> None:
    world.access = replace(world.access, credentials=replace(world.access.credentials, password="another"))


def open_to_everybody(world: World) -> None:
    world.edge(add_login=True)


same("web.no_login", "without a login / answered (200|302), not 401", open_to_everybody)
same("web.wrong_password", "wrong password /system answered 200", open_to_everybody)
same("web.default_passwords", "orthanc:orthanc /system answered 200", open_to_everybody)


@breaks("web.healthz", "answered 503, not 200")
def not_ready(world: World) -> None:
    world.answer("/healthz", lambda answer: setattr(answer, "status", 503))


@breaks("web.closed", "reached the archive")
def endpoints_are_open(world: World) -> None:
    world.answer("tools.+shutdown", lambda answer: setattr(answer, "status", 405))


@breaks("web.method", "taken for a DELETE")
def method_can_be_overridden(world: World) -> None:
    world.answer("_method", lambda answer: setattr(answer, "status", 405))


def https_without_tls(world: World) -> None:
    port = world.enter(plain_server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    world.access = replace(world.access, https_port=port)


same("web.plaintext", "answered HTTP without TLS: HTTP/1.1 200 OK", https_without_tls)
same("web.wrong_ca", "before a certificate was judged", https_without_tls)
same("web.http2", "got HTTP/1.1", lambda world: world.edge())
same(
    "web.headers",
    "missing or weak content-security-policy",
    lambda world: world.answer("", lambda answer: answer.headers.update({"content-security-policy": ""})),
)
same("web.origin", "answered 200, not 403", lambda world: world.edge(drop=frozenset({"sec-fetch-site", "origin"})))
same(
    "web.explorer",
    "is not Orthanc Explorer",
    lambda world: world.answer("explorer.html", lambda answer: setattr(answer, "body", b"It works!")),
)


def nothing_stored(answer: Answer) -> None:
    answer.body = b"{}"


same("web.stow", "13 of 13 instances are not in the answer", lambda w: w.answer("/dicom-web/studies$", nothing_stored))
same(
    "web.qido",
    "posted one is not among them",
    lambda world: world.answer(r"/dicom-web/studies\?", lambda answer: setattr(answer, "body", b"[]")),
)


def flip(answer: Answer) -> None:
    middle = len(answer.body) // 2
    answer.body = answer.body[:middle] + bytes([answer.body[middle] ^ 1]) + answer.body[middle + 1 :]


same("web.wado_instance", "differs from what was sent", lambda world: world.answer(r"/instances/[\d.]+$", flip))
same("web.wado_study", "another data set", lambda world: world.answer(r"/studies/[\d.]+$", flip))
same("web.wado_frames", "frame 1 of 2 differs", lambda world: world.answer("/frames/1$", flip))


@breaks("web.wado_metadata", "Modality .* differs")
def other_modality(world: World) -> None:
    world.answer("/metadata", lambda a: setattr(a, "body", a.body.replace(b'"CT"', b'"MR"')))


@breaks("web.wado_rendered", "x 100 pixels")
def other_size(world: World) -> None:
    def shrink(answer: Answer) -> None:
        answer.body = answer.body[:20] + (100).to_bytes(4, "big") + answer.body[24:]

    world.answer("/rendered", shrink)


same("web.body_limit", "answered with 200, not 413", lambda world: world.edge())


@breaks("web.removal", "still in the archive")
def deletion_does_nothing(world: World) -> None:
    world.edge(swallow=frozenset({"DELETE"}))


# --- tls --------------------------------------------------------------------------------------------------------------


@contextmanager
def old_tls(folder: Path) -> Iterator[tuple[int, Path]]:
    pair = identity(folder)
    context = server_context(pair, ciphers="ALL:@SECLEVEL=0", oldest=ssl.TLSVersion.TLSv1)
    with tls_server(context) as port:
        yield port, pair.certificate


for _port in ("https", "dicom"):

    def _old(world: World, port: str = f"{_port}_port") -> None:
        number, ca = world.enter(old_tls(world.folder))
        world.access = replace(world.access, ca=ca, **{port: number})

    def _weak(world: World, port: str = f"{_port}_port", **certificate: Any) -> None:
        world.tls(port, **certificate)

    def _other_ca(world: World) -> None:
        world.access = replace(world.access, ca=identity(world.folder).certificate)

    def _other_name(world: World, weak: Callable[..., None] = _weak) -> None:
        weak(world, name="elsewhere.example")

    def _ends_soon(world: World, weak: Callable[..., None] = _weak) -> None:
        weak(world, days=3)

    def _short_key(world: World, weak: Callable[..., None] = _weak) -> None:
        weak(world, rsa_bits=1024)

    same(f"tls.{_port}_profile", "not intermediate: .*(tls_versions|ciphers)", _old)
    same(f"tls.{_port}_versions", r"TLS 1\.[01] is accepted", _old)
    same(f"tls.{_port}_chain", "certificate verify failed", _other_ca)
    same(f"tls.{_port}_names", "Hostname mismatch", _other_name)
    same(f"tls.{_port}_validity", "ECDSA secp256r1: ends", _ends_soon)
    same(f"tls.{_port}_keys", "RSA 1024: too weak", _short_key)


# --- index ------------------------------------------------------------------------------------------------------------


@breaks("index.tls", "certificate verify failed")
def index_of_another_ca(world: World) -> None:
    assert world.facts.index is not None
    other = identity(world.folder).certificate
    world.facts = replace(world.facts, index=replace(world.facts.index, sslrootcert=other))


@breaks("index.archive_tls", "1 of 1 connections of the archive: no TLS")
def archive_without_tls(world: World) -> None:
    world.weak_index()
    assert world.facts.index is not None
    world.enter(
        psycopg.connect(
            host="127.0.0.1", port=world.facts.index.port, user="orthanc", dbname="orthanc", sslmode="disable"
        )
    )


same("index.plaintext", "accepted without TLS", World.weak_index)
same("index.password", "accepted with a wrong password", World.weak_index)
same("index.role", "the role has SUPERUSER", World.weak_index)
same("index.tables", "missing: attachedfiles", World.weak_index)


@breaks("index.row", "has no row")
def row_is_gone(world: World) -> None:
    world.after = delete_what_was_sent


# --- store ------------------------------------------------------------------------------------------------------------


def stored_file(context: Context) -> Path:
    folder, uuid = context.store.path, _kept(context, context.sent()[0]).uuid
    assert folder is not None
    return folder / uuid[0:2] / uuid[2:4] / uuid


@breaks("store.file", "bytes, the index says")
def file_is_cut(world: World) -> None:
    def cut(context: Context) -> None:
        path = stored_file(context)
        path.write_bytes(path.read_bytes()[:-10])

    world.after = cut


@breaks("store.hash", "differs from the one in the index")
def file_has_another_bit(world: World) -> None:
    def damage(context: Context) -> None:
        content = bytearray(stored_file(context).read_bytes())
        content[-10] ^= 1
        stored_file(context).write_bytes(content)

    world.after = damage


@breaks("store.mode", "mode 0755")
def store_is_open(world: World) -> None:
    assert world.facts.store is not None
    path = world.facts.store.path
    assert path is not None
    world.until_end.callback(path.chmod, path.stat().st_mode)
    path.chmod(0o755)


@breaks("store.removal", "1 of 2 files are still in the store")
def file_cannot_be_deleted(world: World) -> None:
    def keep(context: Context) -> None:
        folder = stored_file(context).parent
        before = folder.stat()
        # Nobody but root can unlink there, and the archive is not root.
        os.chown(folder, os.geteuid(), -1)
        folder.chmod(0o555)
        world.until_end.callback(shutil.rmtree, folder)
        world.until_end.callback(os.chown, folder, before.st_uid, -1)

    world.after = keep


@contextmanager
def careless_bucket(folder: Path, **settings: Any) -> Iterator[S3]:
    """Give a server that answers every request with 200 and nothing else, signed or not."""

    class Careless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    credentials = folder / "s3-credentials"
    credentials.touch(0o600)
    credentials.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        yield S3(bucket="images", endpoint=endpoint, credentials=credentials, **settings)
        server.shutdown()


@breaks("store.strangers", "a request without credentials is answered 200")
def bucket_is_open(world: World) -> None:
    world.facts = replace(world.facts, store=StoreFacts(None, world.enter(careless_bucket(world.folder))))


@breaks("store.encryption", "asked for aws:kms, the object has none")
def objects_are_not_encrypted(world: World) -> None:
    world.facts = replace(
        world.facts, store=StoreFacts(None, world.enter(careless_bucket(world.folder, encryption="kms")))
    )


# --- host -------------------------------------------------------------------------------------------------------------


def with_service(world: World, **changed: Any) -> None:
    *others, last = world.facts.services
    world.facts = replace(world.facts, services=(*others, replace(last, **changed)))


@breaks("host.services", "edge does not run")
def service_is_dead(world: World) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with_service(world, pid=ended.pid)


@breaks("host.users", "edge runs as (root|user id)")
def service_of_another_user(world: World) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    world.until_end.callback(process.wait)
    world.until_end.callback(process.kill)
    with_service(world, pid=process.pid, user="nobody")


@breaks("host.versions", r"edge 1\.2\.3 is too old")
def program_is_old(world: World) -> None:
    with_service(world, version_command=("echo", "version: 1.2.3"))


@breaks("host.disk", "state: 0.0 of")
def disk_is_full(world: World) -> None:
    # A file system that really has no room: the kernel's own.
    world.facts = replace(world.facts, state=Path("/proc"))


@breaks("host.memory", "in all, but a body of")
def body_is_larger_than_memory(world: World) -> None:
    world.facts = replace(world.facts, max_body=64 * 1024**4)


@breaks("host.clock", "edge's clock is .* s away")
def clock_is_wrong(world: World) -> None:
    world.answer("/system", lambda answer: answer.headers.update(date="Mon, 01 Jan 2024 00:00:00 GMT"))


# --- security ---------------------------------------------------------------------------------------------------------


@breaks("security.reach", "an inner server on 127.0.0.2:.* answers 200 to a stranger")
def inner_port_is_open(world: World) -> None:
    # Another loopback address stands for another address of the machine, so that the test opens nothing to the network.
    world.monkeypatch.setattr(reachability, "other_addresses", lambda: ["127.0.0.2"])
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.2", "0"]
    (world.folder / "patients").write_text("[]")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=world.folder, text=True)
    world.until_end.callback(server.wait)
    world.until_end.callback(server.kill)
    assert server.stdout is not None
    said = re.search(r"port (\d+)", server.stdout.readline())
    assert said is not None
    port = InternalPort("an inner server", int(said[1]), "http")
    world.facts = replace(world.facts, internal_ports=(port,))


@breaks("security.listeners", "another program does")
def another_program_listens(world: World) -> None:
    world.facts = replace(world.facts, services=(ServiceFacts("edge", os.getpid(), "root"),))


def other_mode(world: World, path: Path, mode: int) -> None:
    world.until_end.callback(path.chmod, path.stat().st_mode)
    path.chmod(mode)


@breaks("security.secret_files", "mode 0644")
def secret_is_open(world: World) -> None:
    other_mode(world, next(path for path in world.facts.secrets.iterdir() if path.is_file()), 0o644)


def left_in_state(world: World, content: str, mode: int) -> None:
    path = world.facts.state / "left-by-a-test"
    path.touch(mode)
    path.chmod(mode)
    path.write_text(content)
    world.until_end.callback(path.unlink)


@breaks("security.state_folder", "others may read left-by-a-test|state folder has mode")
def file_is_open(world: World) -> None:
    other_mode(world, world.facts.state, 0o711)
    left_in_state(world, "something", 0o644)


@breaks("security.configuration", "left-by-a-test contains the secret")
def password_in_configuration(world: World) -> None:
    left_in_state(world, json.dumps({"password": world.access.credentials.password}), 0o600)


@breaks("security.processes", "has the secret .* in its (environment|arguments)")
def password_in_environment(world: World) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        env={"PGPASSWORD": (world.facts.secrets / "index-password").read_text().strip()},
    )
    world.until_end.callback(process.wait)
    world.until_end.callback(process.kill)


@breaks("security.access_log", "1 of 1 lines have a query string")
def query_in_access_log(world: World) -> None:
    log = world.folder / "access.log"
    world.facts = replace(world.facts, logs=LogFiles({log.name: log}), access_log=log.name)

    def write(context: Context) -> None:
        log.write_text(json.dumps({"path": f"/dicom-web/studies/{context.sent()[0].study}?limit=1"}) + "\n")

    world.after = write


@breaks("security.logs", "archive.log has the test patient's ID in it")
def patient_in_log(world: World) -> None:
    logs = world.folder / "logs"
    logs.mkdir()
    world.facts = replace(world.facts, logs=LogFiles({"archive.log": logs / "archive.log"}))

    def write(context: Context) -> None:
        (logs / "archive.log").write_text(f"stored {context.patient.patient_id}\n")

    world.after = write


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_weak_index() -> Iterator[Callable[[], WeakIndex]]:
    """Start the weak PostgreSQL when the first test needs it."""
    with ExitStack() as stack:
        started: list[WeakIndex] = []

        def start() -> WeakIndex:
            if not started:
                started.append(stack.enter_context(weak_index()))
            return started[0]

        yield start


def damaged(check: Check, world: World) -> Check:
    """Let the damage happen between a check's preparation and the check, or just before it."""

    def run_damaged(context: Context) -> str:
        world.after(context)
        return check.run(context)

    def prepare_and_damage(context: Context) -> None:
        assert check.prepare is not None
        check.prepare(context)
        world.after(context)

    if check.prepare is None:
        return replace(check, run=run_damaged)
    return replace(check, prepare=prepare_and_damage)


def test_breakers_then_there_is_one_for_each_check() -> None:
    assert set(BREAKERS) == {check.id for check in catalogue.ALL}


@pytest.mark.parametrize("name", [check.id for check in catalogue.ALL])
def test_check_when_its_subject_is_broken_then_it_fails_and_says_why(
    name: str,
    site: LiveSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared_weak_index: Callable[[], WeakIndex],
) -> None:
    (check,) = catalogue.select(ids=[name])
    breaker, reason = BREAKERS[name]
    target = site.target
    with ExitStack() as until_end:
        world = World(target.access(), target.host_facts(), tmp_path, until_end, monkeypatch, shared_weak_index)
        breaker(world)
        context = Context(world.access, world.facts)
        found = {result.id: result for result in run([damaged(check, world)], context)}
    with Context(target.access()).client() as client:
        for key in archive.patients(client, context.patient.patient_id):
            archive.delete_patient(client, key)
    result = found[name]
    assert result.status == "fail", result
    assert re.search(reason, result.evidence), result
    assert result.hint
    assert world.access.credentials.password not in result.evidence


def test_socket_when_nothing_listens_then_refusal_is_not_taken_for_safety(site: LiveSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    access = replace(site.access, https_port=port, dicom_port=port)
    names = ["web.plaintext", "dicom.plaintext", "web.wrong_ca", "dicom.wrong_ca"]
    results = run(catalogue.select(ids=names), Context(access))
    assert [result.status for result in results] == ["fail"] * 4
    assert all("no connection" in result.evidence for result in results)

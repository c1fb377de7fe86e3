"""Clients that a site's edge meets: browsers' libraries, raw bytes, DICOM peers on both sides, another address."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

from orthweb.access import CertificatePair, SiteAccess
from orthweb.dicom.phantom import PhantomStudy


def https(access: SiteAccess, *, login: bool = True, **options: Any) -> httpx.Client:
    """Give a client for the site's web side that trusts its CA."""
    context = ssl.create_default_context(cafile=str(access.ca))
    auth = httpx.BasicAuth(access.credentials.user, access.credentials.password) if login else None
    given: dict[str, Any] = {"base_url": access.url, "verify": context, "auth": auth, "timeout": 30} | options
    return httpx.Client(trust_env=False, **given)


@contextmanager
def tls_socket(
    access: SiteAccess, port: int | None = None, host: str | None = None, alpn: str | None = None
) -> Iterator[ssl.SSLSocket]:
    """Open a verified TLS connection and nothing more."""
    context = ssl.create_default_context(cafile=str(access.ca))
    if alpn:
        context.set_alpn_protocols([alpn])
    where = host or access.host
    with (
        socket.create_connection((where, port or access.https_port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=where) as secure,
    ):
        yield secure


def status_of(access: SiteAccess, method: str, path: str, *headers: str, body: bytes = b"") -> int:
    """Send a request byte for byte, as no well-behaved client would, and give the status of the answer."""
    login = httpx.BasicAuth(access.credentials.user, access.credentials.password)
    authorization = login._auth_header
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {access.host}:{access.https_port}",
        f"Authorization: {authorization}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    with tls_socket(access, alpn="http/1.1") as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = b""
        while b"\r\n" not in answer:
            part = connection.recv(65536)
            assert part, f"{method} {path}: closed without an answer"
            answer += part
    return int(answer.split(b" ", 2)[1])


def associate(
    access: SiteAccess,
    *,
    calling: str = "STRANGER",
    client: CertificatePair | None = None,
    contexts: tuple[str, ...] = (Verification,),
    host: str | None = None,
) -> Association:
    """Ask for an association over TLS, the way pynetdicom's documentation does."""
    context = ssl.create_default_context(cafile=str(access.ca))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for sop_class in contexts:
        entity.add_requested_context(sop_class)
    where = host or access.host
    return entity.associate(where, access.dicom_port, ae_title=access.aet, tls_args=(context, where))


@contextmanager
def associated(access: SiteAccess, **options: Any) -> Iterator[Association]:
    """Hold an association; it must come about."""
    association = associate(access, **options)
    try:
        assert association.is_established
        yield association
    finally:
        if association.is_established:
            association.release()
        elif association.is_alive():
            association.abort()


def echo_status(access: SiteAccess, **options: Any) -> int | None:
    """Give the status of a C-ECHO; None when there is no association or no answer."""
    association = associate(access, **options)
    if not association.is_established:
        return None
    answer = association.send_c_echo()
    association.release()
    return int(answer.Status) if "Status" in answer else None


def image(number: int = 1, seed: str | None = None) -> Dataset:
    """Make a small CT slice of a study of its own."""
    return PhantomStudy(seed or f"live {uuid.uuid4()}").slice(number, size=8192)


def store(access: SiteAccess, *images: Dataset, **options: Any) -> list[int]:
    """Send images; give the statuses."""
    with associated(access, contexts=(CTImageStorage,), **options) as association:
        return [int(association.send_c_store(one).Status) for one in images]


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Wait until `condition` gives something true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found


@dataclass
class Modality:
    """A storage SCP, and what it received."""

    received: list[str] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)


@contextmanager
def modality(aet: str, port: int, context: ssl.SSLContext | None = None) -> Iterator[Modality]:
    """Run a storage SCP (pynetdicom's) on loopback."""
    seen = Modality()

    def on_store(event: Event) -> int:
        seen.received.append(str(event.dataset.SOPInstanceUID))
        return 0x0000

    def on_request(event: Event) -> None:
        request = event.assoc.requestor.primitive
        assert request is not None
        seen.calling.append(str(request.calling_ae_title))

    entity = AE(ae_title=aet)
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage)
    handlers: list[Any] = [(evt.EVT_C_STORE, on_store), (evt.EVT_REQUESTED, on_request)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=context)
    try:
        yield seen
    finally:
        assert server is not None
        server.shutdown()


def server_context(pair: CertificatePair, client_ca: Path) -> ssl.SSLContext:
    """Give the TLS context of a modality that wants the archive's client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass(frozen=True)
class Neighbour:
    """Another machine on a network of two: a network namespace. `host` is this machine's address there.

    Parameters
    ----------
    name : of the namespace.
    """

    name: str
    host: str

    def run(self, program: str, *arguments: str) -> Any:
        """Run Python code there, which prints JSON."""
        command = ["ip", "netns", "exec", self.name, sys.executable, "-c", textwrap.dedent(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def neighbour() -> Iterator[Neighbour]:
    """Make a network namespace with a cable to this machine (root)."""
    label = uuid.uuid4().hex[:8]
    name, ours, theirs = f"orthweb-{label}", f"ow{label}a", f"ow{label}b"
    octets = int(label[:2], 16), int(label[2:4], 16) & 0xFC
    network = f"198.18.{octets[0]}"  # for tests between two machines (RFC 2544)
    here, there = f"{network}.{octets[1] + 1}", f"{network}.{octets[1] + 2}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("addr", "add", f"{here}/30", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "addr", "add", f"{there}/30", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield Neighbour(name, here)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", ours)
        ip("netns", "del", name)

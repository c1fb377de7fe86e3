"""An S3 server for tests: moto keeps the objects; a server in front of it is as strict, slow or broken as told.

What moto does not do is done here: every request's signature (Signature Version 4), age, session token, payload hash
and checksum is verified, an anonymous request is refused, and what was asked is recorded. Faults are told one by one.

    with s3_server(tmp_path) as s3:
        s3.endpoint, s3.bucket, s3.credentials, s3.ca   # what a site file needs
        with s3.fault(status=503, code="SlowDown", methods={"PUT"}, times=3):
            ...
        s3.requests, s3.keys(), s3.read(key), s3.write(key, body), s3.delete(key), s3.renew_credentials()
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import math
import os
import secrets
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from live.s3_signature import Claim, claim, signature
from live.sites import free_port
from orthweb.pki.issue import SERVER, Leaf, certificate_pem, key_pem, new_authority, new_leaf
from orthweb.store.s3 import MARK

if TYPE_CHECKING:
    from botocore.client import BaseClient

REGION = "eu-central-1"
LARGEST_SKEW = timedelta(minutes=15)
"""A request that is older or younger is refused (Amazon S3, "RequestTimeTooSkewed")."""

Harm = Literal["cut request", "cut answer", "lose answer", "flip"]
"""What happens to a request or its answer: the connection is cut in the middle of the body of either, or before the
answer of a request that was carried out; or a bit of the answer's body is wrong."""


@dataclass(frozen=True)
class Seen:
    """A request that the server has answered, or has cut off without an answer (status 0)."""

    method: str
    key: str
    query: str
    headers: dict[str, str]
    size: int
    status: int


@dataclass
class Fault:
    """What the server does to some requests.

    Parameters
    ----------
    status, code : answer with this error and the name that S3 gives it.
    delay : seconds to wait first.
    methods : none: all of them.
    key : function of the object's key; requests on the bucket have an empty one.
    times : how many requests are hit.
    """

    status: int = 0
    code: str = ""
    harm: Harm | None = None
    delay: float = 0
    methods: Collection[str] = ()
    key: Callable[[str], bool] = field(default=lambda _: True)
    times: float = math.inf
    hits: int = 0

    def takes(self, method: str, key: str) -> bool:
        """Tell whether a request is hit, and count it."""
        found = self.hits < self.times and (not self.methods or method in self.methods) and self.key(key)
        self.hits += found
        return found


class S3Server:
    """The running server; see the module. Times and sizes are seconds and bytes."""

    def __init__(self, folder: Path, backend: int, *, bucket: str, tls: bool, host: str, names: Sequence[str]) -> None:
        self.bucket = bucket
        self.region = REGION
        self.latency = 0.0
        """What every request waits for before it is looked at."""
        self.clock = timedelta(0)
        """How far the server's clock is ahead of this machine's."""
        self.conditions = True
        """Whether a write's condition is looked at (If-Match, If-None-Match); not every server does."""
        self.requests: list[Seen] = []
        self.credentials = folder / "s3-credentials"
        self.ca: Path | None = None
        self.tls: ssl.SSLContext | None = None
        self._backend = backend
        self._client: BaseClient | None = None
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.conditional = threading.Lock()
        """Held by a conditional write: moto looks and writes in two steps."""
        self._keys: dict[str, tuple[str, str]] = {}
        self._expired: set[str] = set()
        self.renew_credentials()
        if tls:
            self.ca = folder / "s3-ca.pem"
            self.tls = _tls(folder, self.ca, ("localhost", "127.0.0.1", f"{bucket}.localhost", *names))
        self._server = _Listener((host, 0), _handler(self))
        self.port = int(self._server.server_address[1])
        scheme, name = ("https", "localhost") if tls else ("http", "127.0.0.1")
        self.endpoint = f"{scheme}://{name}:{self.port}"

    def renew_credentials(self, *, keep_old: bool = False) -> None:
        """Write a new access key, secret and session token to the credentials file; the old ones are expired."""
        access_key, secret, token = f"TEST{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(30)
        if not keep_old:
            self.expire_credentials()
        with self._lock:
            self._keys[access_key] = secret, token
        lines = f"aws_access_key_id = {access_key}\naws_secret_access_key = {secret}\naws_session_token = {token}\n"
        new = self.credentials.with_suffix(".new")
        new.touch(0o600)
        new.write_text(f"[default]\n{lines}")
        new.replace(self.credentials)

    def expire_credentials(self) -> None:
        """Refuse what the credentials file says, from now on."""
        with self._lock:
            self._expired.update(self._keys)
            self._keys.clear()

    @contextmanager
    def fault(self, status: int = 0, code: str = "", **options: Any) -> Iterator[Fault]:
        """Break requests while the block runs; see `Fault`."""
        made = Fault(status, code, **options)
        with self._lock:
            self._faults.append(made)
        try:
            yield made
        finally:
            with self._lock:
                self._faults.remove(made)

    def client(self) -> BaseClient:
        """Give a client that reaches the objects behind the server's back, without its faults and records."""
        if self._client is None:
            self._client = self._new_client()
        return self._client

    def _new_client(self) -> BaseClient:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._backend}",
            region_name=self.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def keys(self, prefix: str = "") -> list[str]:
        """List the objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def images(self, prefix: str = "") -> list[str]:
        """List the objects that are files of Orthanc's, without the one that says whose the bucket is."""
        return [key for key in self.keys(prefix) if key.rpartition("/")[2] != MARK]

    def read(self, key: str) -> bytes:
        """Give an object's content."""
        return bytes(self.client().get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def head(self, key: str) -> dict[str, Any]:
        """Give what the server knows about an object (HeadObject)."""
        return dict(self.client().head_object(Bucket=self.bucket, Key=key))

    def write(self, key: str, body: bytes, **options: Any) -> None:
        """Put an object there, or other content into one."""
        self.client().put_object(Bucket=self.bucket, Key=key, Body=body, **options)

    def corrupt(self, key: str) -> None:
        """Change a bit in the middle of an object; its metadata stay as they were."""
        body = bytearray(self.read(key))
        body[len(body) // 2] ^= 1
        self.write(key, bytes(body), Metadata=self.head(key)["Metadata"])

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.client().delete_object(Bucket=self.bucket, Key=key)

    def empty(self) -> None:
        """Remove all objects."""
        client, keys = self.client(), self.keys()
        for start in range(0, len(keys), 1000):
            named = [{"Key": key} for key in keys[start : start + 1000]]
            client.delete_objects(Bucket=self.bucket, Delete={"Objects": named})

    def seen(self, method: str, part: str = "") -> list[Seen]:
        """List the requests of one method whose key holds `part`."""
        return [request for request in list(self.requests) if request.method == method and part in request.key]

    @contextmanager
    def _serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(5)

    def hit(self, method: str, key: str) -> Fault | None:
        """Give the fault that a request meets."""
        with self._lock:
            return next((fault for fault in self._faults if fault.takes(method, key)), None)

    def refusal(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str] | None:
        """Judge a request as S3 does before it looks at the object; give status and code of the error."""
        claimed = claim(headers, query)
        if claimed is None:
            return 403, "AccessDenied"
        with self._lock:
            secret, token = self._keys.get(claimed.access_key, ("", ""))
        if claimed.access_key in self._expired or (secret and claimed.token != token):
            return 400, "ExpiredToken"
        if not secret:
            return 403, "InvalidAccessKeyId"
        if abs(claimed.time - datetime.now(UTC) - self.clock) > LARGEST_SKEW:
            return 403, "RequestTimeTooSkewed"
        if signature(claimed, secret, method, path, query, headers) != claimed.signature:
            return 403, "SignatureDoesNotMatch"
        return _damage(claimed, headers, body)


def _damage(claimed: Claim, headers: dict[str, str], body: bytes) -> tuple[int, str] | None:
    if len(claimed.payload) == 64 and hashlib.sha256(body).hexdigest() != claimed.payload:
        return 400, "XAmzContentSHA256Mismatch"
    checksum = headers.get("x-amz-checksum-sha256")
    if checksum is not None and base64.b64encode(hashlib.sha256(body).digest()).decode() != checksum:
        return 400, "BadDigest"
    return None


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Say nothing about connections that break: it is what the tests do."""


def _handler(server: S3Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 60
        onward: http.client.HTTPConnection
        seen: Callable[[int], Seen]

        def setup(self) -> None:
            if server.tls is not None:
                self.request.settimeout(self.timeout)
                self.request = server.tls.wrap_socket(self.request, server_side=True)
            super().setup()
            self.onward = http.client.HTTPConnection("127.0.0.1", server._backend, timeout=60)

        def finish(self) -> None:
            self.onward.close()
            with suppress(OSError):
                super().finish()
            self.request.close()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def handle_one(self) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            virtual = headers.get("host", "").startswith(f"{server.bucket}.")
            path = f"/{server.bucket}{url.path}" if virtual else url.path
            key = unquote(path.removeprefix(f"/{server.bucket}").removeprefix("/"))
            length = int(headers.get("content-length") or 0)
            fault = server.hit(self.command, key) or Fault()
            time.sleep(server.latency + fault.delay)
            # Kept before the answer leaves: who has got it finds it here.
            self.seen = partial(Seen, self.command, key, url.query, headers, length)
            if fault.harm == "cut request":
                self.rfile.read(length // 2)
                server.requests.append(self.seen(0))
                self._cut()
            else:
                body = self._chunks() if "transfer-encoding" in headers else self.rfile.read(length)
                refusal = (fault.status, fault.code) if fault.status else None
                refusal = refusal or server.refusal(self.command, url.path, url.query, headers, body)
                if refusal is not None:
                    self._refuse(*refusal)
                else:
                    self._pass_on(f"{path}?{url.query}" if url.query else path, headers, body, fault.harm)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815

        def _chunks(self) -> bytes:
            """Read a body that comes in chunks (RFC 9112 7.1), without extensions and trailers."""
            found = []
            while size := int(self.rfile.readline(), 16):
                found.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(found)

        def _pass_on(self, path: str, headers: dict[str, str], body: bytes, harm: Harm | None) -> None:
            blind = self.command == "PUT" and not server.conditions
            own = (*_OWN_HEADERS, "expect", "host", *(_CONDITIONS if blind else ()))
            wanted = {name: value for name, value in headers.items() if name not in own}
            wanted["content-length"] = str(len(body))
            with server.conditional if wanted.keys() & set(_CONDITIONS) else nullcontext():
                try:
                    self.onward.request(self.command, path, body, wanted)
                    answer = self.onward.getresponse()
                except (http.client.HTTPException, ConnectionError):
                    self.onward.close()  # it was idle for too long
                    self.onward.request(self.command, path, body, wanted)
                    answer = self.onward.getresponse()
                content = answer.read()
            if harm == "lose answer":
                server.requests.append(self.seen(0))
                self._cut()
                return
            if harm == "flip" and content:
                content = content[:-1] + bytes([content[-1] ^ 1])
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OWN_HEADERS]
            size = answer.getheader("content-length") if self.command == "HEAD" else str(len(content))
            if harm == "cut answer":
                self._answer(answer.status, [*kept, ("Content-Length", size or "0")], content[: len(content) // 2])
                self._cut()
                return
            self._answer(answer.status, [*kept, ("Content-Length", size or "0")], content)

        def _refuse(self, status: int, code: str) -> None:
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))]
            self._answer(status, headers, b"" if self.command == "HEAD" else text)

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            server.requests.append(self.seen(status))
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _cut(self) -> None:
            """Reset the connection, as a broken line or a dying server does."""
            self.wfile.flush()
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()
            self.close_connection = True

    return Handler


_OWN_HEADERS = ("connection", "content-length", "transfer-encoding")
_CONDITIONS = ("if-match", "if-none-match")


def _tls(folder: Path, ca: Path, names: tuple[str, ...]) -> ssl.SSLContext:
    now = datetime.now(UTC)
    authority = new_authority("test S3", now)
    leaf = new_leaf(Leaf("test S3", names, (SERVER,)), authority, now)
    both = folder / "s3-server.pem"
    both.write_bytes(certificate_pem(leaf.chain) + key_pem(leaf.key))
    ca.write_bytes(certificate_pem(authority.chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


@contextmanager
def _moto() -> Iterator[int]:
    """Run moto in a process of its own: it must not compete with the test for Python's lock."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, "moto does not start"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline, "moto does not answer"
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def s3_server(
    folder: Path,
    *,
    bucket: str = "pacs-images",
    create: bool = True,
    tls: bool = True,
    host: str = "127.0.0.1",
    names: Sequence[str] = (),
) -> Iterator[S3Server]:
    """Run the server.

    Parameters
    ----------
    folder : where its credentials file and CA go.
    bucket : its one bucket; it exists if `create` says so.
    host : address to listen on; a container network's for clients inside.
    names : further names and addresses of its certificate.
    """
    with _moto() as backend:
        made = S3Server(folder, backend, bucket=bucket, tls=tls, host=host, names=names)
        if create:
            place = {"LocationConstraint": made.region}
            made.client().create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        with made._serving():
            yield made

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from orthweb.errors import OrthwebError
from orthweb.host import metadata


class Imds(BaseHTTPRequestHandler):
    """IMDSv2: nothing without a token."""

    answers: ClassVar = {
        "/latest/meta-data/instance-id": "i-0123456789abcdef0",
        "/latest/meta-data/placement/availability-zone": "eu-central-1a",
        "/latest/meta-data/local-ipv4": "10.83.0.10",
    }

    def do_PUT(self) -> None:
        self._answer(200 if int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) else 400, "token")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "token":
            self._answer(401, "")
        else:
            self._answer(200 if self.path in self.answers else 404, self.answers.get(self.path, ""))

    def _answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Imds)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(metadata.ENDPOINT, f"http://127.0.0.1:{server.server_port}/")
    yield
    server.shutdown()
    server.server_close()


def test_instance_knows_itself_with_a_token(service: None) -> None:
    assert metadata.read() == metadata.Instance("i-0123456789abcdef0", "eu-central-1a", "10.83.0.10")


def test_machine_without_the_service_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metadata.ENDPOINT, "http://127.0.0.1:1")
    with pytest.raises(OrthwebError, match="metadata service does not answer"):
        metadata.read()

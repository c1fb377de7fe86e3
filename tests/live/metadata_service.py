"""The part of EC2's instance metadata service (IMDSv2) that the agent asks: nothing without a token."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

INSTANCE = "i-0123456789abcdef0"


class _Handler(BaseHTTPRequestHandler):
    answers: ClassVar = {
        "/latest/meta-data/instance-id": INSTANCE,
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


@contextmanager
def metadata_service() -> Iterator[str]:
    """Run it; give its address, as AWS_EC2_METADATA_SERVICE_ENDPOINT has it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()

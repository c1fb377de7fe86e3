"""How a machine asks its own edge when the site's name leads elsewhere."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from orthweb.access import Credentials, SiteAccess
from orthweb.pki.issue import SERVER, Leaf, certificate_pem, key_pem, new_authority, new_leaf
from orthweb.targets.host.readiness import own_edge

NAME = "pacs.nowhere.example"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["Host"].encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def access(tmp_path: Path) -> Iterator[SiteAccess]:
    """A server on this machine whose certificate is for the site's name alone."""
    now = datetime.now(UTC)
    authority = new_authority("the owner's CA", now)
    leaf = new_leaf(Leaf("own", (NAME,), (SERVER,)), authority, now)
    (tmp_path / "ca.pem").write_bytes(certificate_pem(authority.chain))
    (tmp_path / "edge.pem").write_bytes(certificate_pem(leaf.chain) + key_pem(leaf.key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "edge.pem")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        login = Credentials("admin", "password")
        port = server.server_address[1]
        yield SiteAccess("pacs", NAME, port, 11112, "ORTHANC", tmp_path / "ca.pem", login, local="127.0.0.1")
        server.shutdown()
        thread.join()


def test_own_edge_is_asked_here_and_by_the_name_of_the_site(access: SiteAccess) -> None:
    with own_edge(access, 5) as client:
        assert client.get("/").text == f"{NAME}:{access.https_port}"


def test_own_edge_with_a_certificate_for_another_name_is_refused(access: SiteAccess) -> None:
    with (
        own_edge(replace(access, host="another.example"), 5) as client,
        pytest.raises(httpx.ConnectError, match="Host"),
    ):
        client.get("/")

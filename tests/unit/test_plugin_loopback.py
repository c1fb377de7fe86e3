"""What runs inside Orthanc, tried on sockets of this process."""

from __future__ import annotations

import importlib
import socket
from typing import Any


def _loopback() -> Any:
    return importlib.import_module("loopback")


def _device(found: socket.socket) -> bytes:
    return found.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0")


def test_close_when_a_socket_listens_then_it_is_bound_to_the_loopback_interface() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as idle:
        port = listening.getsockname()[1]
        assert port in _loopback().close()
        assert _device(listening) == b"lo"
        assert _device(idle) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            pass

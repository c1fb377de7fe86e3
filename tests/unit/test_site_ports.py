"""Whether the edge may listen where the site file wants it to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from orthweb.site import Site
from orthweb.sitefile.edge_ports import check_ports, first_unprivileged


def site(**edge: Any) -> Site:
    return Site.model_validate({"edge": edge})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_ports_when_free_then_no_problem() -> None:
    assert check_ports(site(https_port=free_port(), dicom_port=free_port())) == []


def test_ports_when_taken_then_key_port_address_and_holder(taken: int) -> None:
    (line,) = check_ports(site(https_port=free_port(), dicom_port=taken))
    assert line.startswith(f"edge.dicom_port: {taken}: taken on 127.0.0.1 by ")
    assert f"(process {os.getpid()})" in line


def test_ports_when_taken_by_the_site_itself_then_no_problem(taken: int) -> None:
    assert check_ports(site(https_port=free_port(), dicom_port=taken), {taken}) == []


def test_ports_when_one_address_of_all_is_taken_then_a_problem_everywhere(taken: int) -> None:
    (line,) = check_ports(site(listen=["0.0.0.0"], https_port=taken, dicom_port=free_port()))
    assert line.startswith(f"edge.https_port: {taken}: taken on 0.0.0.0 by ")


def test_ports_when_another_address_is_taken_then_no_problem(taken: int) -> None:
    assert check_ports(site(listen=["127.0.0.2"], https_port=taken, dicom_port=free_port())) == []


def test_ports_when_connections_of_a_stopped_server_linger_then_no_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: it is the one that stays in TIME_WAIT
        assert client.recv(1) == b""
        client.close()
    assert check_ports(site(https_port=port, dicom_port=free_port())) == []


def test_ports_when_address_is_of_no_interface_then_names_those_that_are() -> None:
    (line,) = check_ports(site(listen=["127.0.0.1", "203.0.113.77"], https_port=free_port(), dicom_port=free_port()))
    assert line.startswith("edge.listen: 203.0.113.77: is no address of this machine; it has ")
    assert "127.0.0.1" in line


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Give up root's rights, where the test has them, until it is over."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_ports_when_privileged_and_user_is_not_then_key_and_remedy(unprivileged: None) -> None:
    assert first_unprivileged() > 443, "this machine lets everybody listen on port 443"
    assert check_ports(site(https_port=443, dicom_port=free_port())) == [
        f"edge.https_port: 443: ports below {first_unprivileged()} are for root; choose 8443 or another, or run as root"
    ]

"""Who is called and how."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from orthweb.access import CertificatePair, Credentials, SiteAccess
from orthweb.dicom.errors import TlsError, UnreachableError
from orthweb.dicom.peer import Peer, Timeouts, TlsOptions, parse_address, tls_failure
from orthweb.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ORTHANC@pacs.example.org:11112", ("ORTHANC", "pacs.example.org", 11112)),
        ("MY PACS@10.0.0.1:104", ("MY PACS", "10.0.0.1", 104)),
        ("ORTHANC@[2001:db8::1]:11112", ("ORTHANC", "2001:db8::1", 11112)),
    ],
)
def test_parse_address_when_well_formed_then_title_host_and_port(text: str, expected: tuple[str, str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "ORTHANC", "ORTHANC@host", "host:104", "A@2001:db8::1:104", "A@host:port", "A@h:123456"]
)
def test_parse_address_when_malformed_then_usage_error_shows_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="AET@HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize("title", ["", " ", "A" * 17, "BACK\\SLASH", "UMLAUT-Ä", " LEADING"])
def test_peer_when_ae_title_is_not_one_then_usage_error(title: str) -> None:
    with pytest.raises(UsageError, match="AE title"):
        Peer(title, "localhost", 104)
    with pytest.raises(UsageError, match="AE title"):
        Peer("ORTHANC", "localhost", 104, calling_aet=title)


def test_peer_of_site_when_site_gives_client_certificate_then_it_is_used() -> None:
    pair = CertificatePair(Path("client.crt"), Path("client.key"))
    access = SiteAccess(
        "s", "localhost", 8443, 11112, "ORTHANC", Path("ca.crt"), Credentials("admin", "x"), client=pair
    )
    peer = Peer.of_site(access, "ME")
    assert peer.tls == TlsOptions(ca=Path("ca.crt"), certificate=pair)
    assert (peer.aet, peer.host, peer.port, peer.calling_aet) == ("ORTHANC", "localhost", 11112, "ME")


def test_tls_context_when_ca_is_missing_or_no_certificate_then_usage_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pem"):
        TlsOptions(ca=tmp_path / "nowhere.pem").context()
    (tmp_path / "text.pem").write_text("not a certificate")
    with pytest.raises(UsageError, match=r"text\.pem"):
        TlsOptions(ca=tmp_path / "text.pem").context()


def test_tls_context_when_default_then_verifies_certificate_and_name() -> None:
    context = TlsOptions().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_connect_when_nothing_listens_then_refused_with_next_step() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        peer = Peer("ORTHANC", "127.0.0.1", unused.getsockname()[1])
        with pytest.raises(UnreachableError, match="connection refused") as caught:
            peer.connect()
    assert str(peer) in caught.value.message
    assert caught.value.hint


def test_connect_when_host_is_unknown_then_said_so() -> None:
    with pytest.raises(UnreachableError, match=r"unknown host 'nowhere\.invalid'"):
        Peer("ORTHANC", "nowhere.invalid", 104).connect()


def test_connect_when_peer_accepts_and_is_silent_then_handshake_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer("A", "127.0.0.1", silent.getsockname()[1], TlsOptions(), timeouts=Timeouts(connect=0.2))
        with pytest.raises(TlsError, match=r"no answer to the TLS handshake within 0\.2 s"):
            peer.connect()


def test_connect_when_plain_then_nagle_is_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = Peer("A", "127.0.0.1", server.getsockname()[1]).connect()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()


def test_tls_failure_when_openssl_reason_is_unknown_then_still_one_line_with_peer() -> None:
    error = ssl.SSLError(1, "[SSL: SOMETHING_NEW] something new")
    found = tls_failure(Peer("A", "h", 104, TlsOptions()), error)
    assert "A@h:104" in found.message
    assert "\n" not in str(found)

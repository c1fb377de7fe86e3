"""DICOM client certificates: who they are for, how long, and where their secrets lie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from orthweb.errors import OrthwebError, UsageError
from orthweb.pki import ensure, inventory, issue_client
from orthweb.site import Site

NOW = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)
SITE = Site()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pki"
    ensure(folder, SITE, folder.parent, NOW)
    return folder


def test_client_when_issued_then_it_is_for_clients_alone_and_signed_by_the_site_ca(folder: Path) -> None:
    client = issue_client(folder, SITE, "ct.room-1", now=NOW)
    made = x509.load_pem_x509_certificate(client.certificate.read_bytes())
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "ct.room-1"
    ca = x509.load_pem_x509_certificate((folder / "site-ca.pem").read_bytes())
    made.verify_directly_issued_by(ca)
    server = PolicyBuilder().store(Store([ca])).time(NOW).build_server_verifier(x509.DNSName("localhost"))
    with pytest.raises(VerificationError):
        server.verify(made, [])


def test_client_when_issued_then_the_pkcs12_opens_with_the_password_of_its_file(folder: Path) -> None:
    client = issue_client(folder, SITE, "mr1", now=NOW)
    password = client.password.read_text().removesuffix("\n")
    assert len(password) >= 24
    content = load_pkcs12(client.container.read_bytes(), password.encode())
    assert content.cert is not None
    assert content.cert.certificate == x509.load_pem_x509_certificate(client.certificate.read_bytes())
    assert content.key is not None
    assert content.key.public_key() == content.cert.certificate.public_key()
    assert [one.certificate.subject for one in content.additional_certs] == [content.cert.certificate.issuer]


def test_client_when_issued_then_only_its_owner_can_read_what_is_secret(folder: Path) -> None:
    client = issue_client(folder, SITE, "us1", now=NOW)
    for secret in (client.key, client.container, client.password):
        assert secret.stat().st_mode & 0o777 == 0o600
    assert (folder / "clients").stat().st_mode & 0o777 == 0o700


def test_client_when_written_elsewhere_then_no_key_stays_in_the_site(folder: Path, tmp_path: Path) -> None:
    client = issue_client(folder, SITE, "xa1", out=tmp_path / "handout", now=NOW)
    assert sorted(path.name for path in (tmp_path / "handout").iterdir()) == [
        "xa1.key",
        "xa1.p12",
        "xa1.p12.password",
        "xa1.pem",
    ]
    assert client.key.parent == tmp_path / "handout"
    assert [path.name for path in (folder / "clients").glob("xa1*")] == ["xa1.pem"]
    assert "client/xa1" in [one.name for one in inventory(folder, SITE, folder.parent, NOW)]


def test_client_when_issued_again_then_the_files_are_replaced(folder: Path) -> None:
    first = issue_client(folder, SITE, "cr1", now=NOW)
    before = first.certificate.read_bytes()
    again = issue_client(folder, SITE, "cr1", now=NOW)
    assert again == first
    assert again.certificate.read_bytes() != before


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-rf", "two words", "n" * 64, "röntgen", "a\n", "a\0"])
def test_client_when_the_name_is_not_allowed_then_nothing_is_written(folder: Path, name: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError, match="NAME: "):
        issue_client(folder, SITE, name, now=NOW)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("days", [-1, 0, 398, 10**9])
def test_client_when_the_days_are_out_of_range_then_the_range_is_named(folder: Path, days: int) -> None:
    with pytest.raises(UsageError, match="should be 1 to 397"):
        issue_client(folder, SITE, "ct1", days, now=NOW)


@pytest.mark.parametrize("days", [1, 397])
def test_client_when_the_days_are_in_range_then_it_lasts_that_long(folder: Path, days: int) -> None:
    client = issue_client(folder, SITE, "pt1", days, now=NOW)
    made = x509.load_pem_x509_certificate(client.certificate.read_bytes())
    assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=days, seconds=-1)


def test_client_when_the_authority_ends_earlier_then_the_certificate_does_too(folder: Path) -> None:
    ca = x509.load_pem_x509_certificate((folder / "site-ca.pem").read_bytes())
    client = issue_client(folder, SITE, "nm1", now=ca.not_valid_after_utc - timedelta(days=10))
    assert client.not_after == ca.not_valid_after_utc


def test_client_when_there_is_no_authority_then_it_says_orthweb_up(tmp_path: Path) -> None:
    with pytest.raises(OrthwebError) as caught:
        issue_client(tmp_path / "pki", SITE, "ct1", now=NOW)
    assert caught.value.exit_code == 1
    assert "orthweb up" in (caught.value.hint or "")
    assert not (tmp_path / "pki").exists()


def test_client_when_the_folder_cannot_be_made_then_the_option_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out: "):
        issue_client(folder, SITE, "ct1", out=tmp_path / "file" / "sub", now=NOW)

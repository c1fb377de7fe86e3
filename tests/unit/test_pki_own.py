"""The site's own certificate: what is refused, in which words, and what is delivered when it is good."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orthweb.errors import SiteFileError
from orthweb.pki import ensure, inventory, paths, plan
from orthweb.pki.issue import certificate_pem, general_name
from orthweb.site import Site, Tls

NOW = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOST = "pacs.example.org"
SITE = Site(hostname=HOST, tls=Tls(certificate=Path("own.pem"), key=Path("own.key")))

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
Signed = tuple[x509.Certificate, Key]


def signed(
    common_name: str,
    issuer: Signed | None = None,
    names: Sequence[str] = (),
    ca: bool = False,
    key: Key | None = None,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + 200 * DAY,
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
) -> Signed:
    """Make a certificate as a hospital's CA would."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer_certificate, issuer_key = issuer or (None, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_certificate.subject if issuer_certificate else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    if not ca and usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    assert not isinstance(issuer_key, dsa.DSAPrivateKey)
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, digest), key


ROOT = signed("Hospital Root", ca=True, end=NOW + 3000 * DAY)
MIDDLE = signed("Hospital Issuing CA", ROOT, ca=True, end=NOW + 1000 * DAY)
LEAF = signed("pacs", MIDDLE, [HOST])


def pem_key(key: Key, passphrase: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def put(base: Path, *chain: Signed, key: bytes | None = None) -> None:
    (base / "own.pem").write_bytes(certificate_pem([certificate for certificate, _ in chain]))
    (base / "own.key").write_bytes(pem_key(chain[0][1]) if key is None else key)
    (base / "own.key").chmod(0o600)


def problems(base: Path, site: Site = SITE, now: datetime = NOW) -> list[str]:
    """Give the lines of complaint, and make sure that `ensure` gives the same and delivers nothing."""
    with pytest.raises(SiteFileError) as planned:
        plan(base / "pki", site, base, now)
    with pytest.raises(SiteFileError) as ensured:
        ensure(base / "pki", site, base, now)
    assert planned.value.problems == ensured.value.problems
    assert not (base / "pki/edge-own.key").exists()
    return planned.value.problems


def test_own_certificate_when_good_then_its_chain_without_root_is_delivered(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    changes = {change.name: change for change in ensure(tmp_path / "pki", SITE, tmp_path, NOW)}
    layout = paths(tmp_path / "pki", SITE, tmp_path)
    assert (changes["edge-own"].action, changes["edge-own"].not_after) == ("issue", LEAF[0].not_valid_after_utc)
    assert [pair.certificate.name for pair in layout.edge] == ["edge-own.pem"]
    assert layout.edge[0].certificate.read_bytes() == certificate_pem([LEAF[0], MIDDLE[0]])
    assert layout.edge[0].key.read_bytes() == pem_key(LEAF[1])
    assert layout.edge[0].key.stat().st_mode & 0o777 == 0o600
    assert layout.trusted_by_clients.read_bytes() == certificate_pem([ROOT[0]])
    assert not (tmp_path / "pki/edge-rsa.pem").exists()
    # DICOM client certificates come from the site CA in any case.
    assert layout.site_ca.certificate.exists()
    assert plan(tmp_path / "pki", SITE, tmp_path, NOW) == []


def test_own_certificate_when_paths_are_absolute_then_the_base_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    site = Site(hostname=HOST, tls=Tls(certificate=tmp_path / "own.pem", key=tmp_path / "own.key"))
    assert ensure(tmp_path / "pki", site, Path("/nowhere"), NOW)[2].name == "edge-own"


def test_own_certificate_when_self_signed_then_it_is_its_own_root(tmp_path: Path) -> None:
    alone = signed("pacs", names=[HOST])
    put(tmp_path, alone)
    ensure(tmp_path / "pki", SITE, tmp_path, NOW)
    layout = paths(tmp_path / "pki", SITE, tmp_path)
    assert layout.edge[0].certificate.read_bytes() == certificate_pem([alone[0]])
    assert layout.trusted_by_clients.read_bytes() == certificate_pem([alone[0]])


def test_own_certificate_when_this_machine_trusts_its_root_then_the_file_need_not_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = signed("Some other CA", ca=True)
    (tmp_path / "bundle.pem").write_bytes(certificate_pem([other[0], ROOT[0]]))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
    put(tmp_path, LEAF, MIDDLE)
    ensure(tmp_path / "pki", SITE, tmp_path, NOW)
    layout = paths(tmp_path / "pki", SITE, tmp_path)
    assert layout.edge[0].certificate.read_bytes() == certificate_pem([LEAF[0], MIDDLE[0]])
    assert layout.trusted_by_clients.read_bytes() == certificate_pem([ROOT[0]])


def test_own_certificate_when_its_root_is_unknown_then_it_asks_for_the_issuer(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE)
    (line,) = problems(tmp_path)
    assert line.startswith(f"tls.certificate: {tmp_path}/own.pem: ends with CN=Hospital Issuing CA, whose issuer")
    assert "append the issuer's certificate" in line


def test_own_certificate_when_replaced_then_the_new_one_is_delivered(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    ensure(tmp_path / "pki", SITE, tmp_path, NOW)
    newer = signed("pacs", MIDDLE, [HOST], end=NOW + 300 * DAY)
    put(tmp_path, newer, MIDDLE, ROOT)
    (change,) = ensure(tmp_path / "pki", SITE, tmp_path, NOW)
    assert (change.action, change.reason) == ("renew", "tls.certificate changed, 300 days left")
    assert (tmp_path / "pki/edge-own.key").read_bytes() == pem_key(newer[1])


def test_own_certificate_when_no_longer_wanted_then_its_key_leaves_the_state(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    ensure(tmp_path / "pki", SITE, tmp_path, NOW)
    changes = ensure(tmp_path / "pki", Site(hostname=HOST), tmp_path, NOW)
    assert {change.name: change.action for change in changes} == {"edge-ecdsa": "issue", "edge-rsa": "issue"}
    assert not list((tmp_path / "pki").glob("edge-own*"))


def test_own_certificate_when_it_ends_soon_then_plan_warns(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    ensure(tmp_path / "pki", SITE, tmp_path, NOW)
    late = NOW + 190 * DAY
    rows = [change for change in plan(tmp_path / "pki", SITE, tmp_path, late) if change.name == "edge-own"]
    assert [(row.action, row.reason) for row in rows] == [
        ("keep", "10 days left: replace tls.certificate before 2030-12-03")
    ]


def test_own_certificate_when_expired_then_both_dates_are_named(tmp_path: Path) -> None:
    put(tmp_path, signed("pacs", MIDDLE, [HOST], end=NOW - timedelta(hours=1)), MIDDLE, ROOT)
    (line,) = problems(tmp_path)
    assert "tls.certificate" in line
    assert "CN=pacs expired on 2030-05-17" in line
    assert "clock says 2030-05-17" in line


def test_own_certificate_when_an_intermediate_expired_then_it_is_named(tmp_path: Path) -> None:
    middle = signed("Hospital Issuing CA", ROOT, ca=True, end=NOW - DAY)
    put(tmp_path, signed("pacs", middle, [HOST]), middle, ROOT)
    (line,) = problems(tmp_path)
    assert "CN=Hospital Issuing CA expired on 2030-05-16" in line


def test_own_certificate_when_not_yet_valid_then_the_clock_is_named(tmp_path: Path) -> None:
    put(tmp_path, signed("pacs", MIDDLE, [HOST], begin=NOW + timedelta(hours=1)), MIDDLE, ROOT)
    (line,) = problems(tmp_path)
    assert "CN=pacs is valid from 2030-05-17 13:00 UTC" in line
    assert "clock says 2030-05-17 12:00 UTC" in line


@pytest.mark.parametrize(
    ("names", "hostname"),
    [
        (["other.example.org"], HOST),
        (["*.example.org"], "a.pacs.example.org"),
        (["*.example.org"], "example.org"),
        (["*.org"], "example.org"),
        (["p*.example.org"], HOST),
        ([HOST], "192.0.2.1"),
        (["192.0.2.2"], "192.0.2.1"),
        ([], HOST),
    ],
)
def test_own_certificate_when_it_is_for_other_names_then_both_are_named(
    tmp_path: Path, names: list[str], hostname: str
) -> None:
    # The common name is the host name: no client has looked there for years.
    put(tmp_path, signed(hostname, MIDDLE, names), MIDDLE, ROOT)
    (line,) = problems(tmp_path, Site(hostname=hostname, tls=SITE.tls))
    assert line.startswith(f"tls.certificate: {tmp_path}/own.pem: is for {', '.join(names) or 'no name at all'}")
    assert line.endswith(f"should cover the site's hostname {hostname}")


@pytest.mark.parametrize(
    ("names", "hostname"),
    [(["*.example.org"], HOST), (["PACS.Example.ORG"], HOST), (["a.test", "192.0.2.1"], "192.0.2.1")],
)
def test_own_certificate_when_it_covers_the_name_another_way_then_it_is_accepted(
    tmp_path: Path, names: list[str], hostname: str
) -> None:
    put(tmp_path, signed("pacs", MIDDLE, names), MIDDLE, ROOT)
    site = Site(hostname=hostname, tls=SITE.tls)
    assert "edge-own" in {change.name for change in plan(tmp_path / "pki", site, tmp_path, NOW)}


def test_own_certificate_when_the_key_is_anothers_then_it_says_whose_certificate_it_is(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT, key=pem_key(ROOT[1]))
    assert problems(tmp_path) == [
        f"tls.key: {tmp_path}/own.key: belongs to certificate 3 of tls.certificate; should be the server's own "
        "certificate first, then the one that signed it, and so on"
    ]
    put(tmp_path, LEAF, MIDDLE, ROOT, key=pem_key(ec.generate_private_key(ec.SECP256R1())))
    assert problems(tmp_path) == [f"tls.key: {tmp_path}/own.key: does not belong to tls.certificate (CN=pacs)"]


def test_own_certificate_when_the_chain_is_out_of_order_then_it_says_which_did_not_sign_which(tmp_path: Path) -> None:
    put(tmp_path, LEAF, ROOT, MIDDLE)
    (line,) = problems(tmp_path)
    assert "certificate 2 (CN=Hospital Root) did not sign certificate 1 (CN=pacs)" in line


def test_own_certificate_when_for_clients_only_then_it_is_refused(tmp_path: Path) -> None:
    put(tmp_path, signed("pacs", MIDDLE, [HOST], usages=[ExtendedKeyUsageOID.CLIENT_AUTH]), MIDDLE, ROOT)
    (line,) = problems(tmp_path)
    assert "should have serverAuth" in line


def test_own_key_when_protected_by_a_passphrase_then_it_says_how_to_take_it_off(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT, key=pem_key(LEAF[1], b"secret"))
    (line,) = problems(tmp_path)
    assert line.startswith(f"tls.key: {tmp_path}/own.key: is protected by a passphrase")
    assert f"openssl pkey -in {tmp_path}/own.key" in line


def test_own_key_when_in_the_old_encrypted_format_then_the_passphrase_is_named_too(tmp_path: Path) -> None:
    old = LEAF[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    put(tmp_path, LEAF, MIDDLE, ROOT, key=old)
    (line,) = problems(tmp_path)
    assert "is protected by a passphrase" in line


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA with 1024 bits; should have 2048 or more"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "EC on curve secp256k1; should be on P-256, P-384 or P-521"),
        (ed25519.Ed25519PrivateKey.generate, "is neither an RSA nor an EC key"),
    ],
    ids=["short RSA", "curve", "Ed25519"],
)
def test_own_key_when_of_a_kind_that_clients_refuse_then_it_is_refused(tmp_path: Path, make: object, said: str) -> None:
    assert callable(make)
    put(tmp_path, signed("pacs", MIDDLE, [HOST], key=make()), MIDDLE, ROOT)
    (line,) = problems(tmp_path)
    assert line.startswith("tls.key: ")
    assert said in line


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["RSA", "P-384"],
)
def test_own_key_when_of_another_good_kind_then_it_is_accepted(tmp_path: Path, key: Key) -> None:
    put(tmp_path, signed("pacs", MIDDLE, [HOST], key=key), MIDDLE, ROOT)
    assert "edge-own" in {change.name for change in plan(tmp_path / "pki", SITE, tmp_path, NOW)}


def test_own_key_when_everyone_may_read_it_then_it_says_chmod(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    (tmp_path / "own.key").chmod(0o644)
    (line,) = problems(tmp_path)
    assert line.startswith(f"tls.key: {tmp_path}/own.key: everyone on this machine")
    assert line.endswith(f"chmod 600 {tmp_path}/own.key")


def test_own_key_when_only_a_group_may_read_it_then_it_is_accepted(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    (tmp_path / "own.key").chmod(0o640)
    assert "edge-own" in {change.name for change in plan(tmp_path / "pki", SITE, tmp_path, NOW)}


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_own_files_when_garbage_then_each_has_its_line(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, LEAF, key=content)
    (tmp_path / "own.pem").write_bytes(content)
    assert problems(tmp_path) == [
        f"tls.certificate: {tmp_path}/own.pem: holds no readable certificate; should be PEM "
        "(-----BEGIN CERTIFICATE-----)",
        f"tls.key: {tmp_path}/own.key: holds no readable private key; should be PEM (-----BEGIN PRIVATE KEY-----)",
    ]


def test_own_files_when_missing_or_folders_then_each_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "own.key").mkdir()
    assert problems(tmp_path) == [
        f"tls.certificate: {tmp_path}/own.pem: no such file",
        f"tls.key: {tmp_path}/own.key: is a folder; should be a PEM file",
    ]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can pass, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_own_key_when_this_user_may_not_read_it_then_it_says_so(open_folder: Path) -> None:
    put(open_folder, LEAF, MIDDLE, ROOT)
    child = os.fork()
    if child == 0:
        # Root may read everything: look as somebody else.
        if os.geteuid() == 0:
            os.setuid(65534)
        else:
            (open_folder / "own.key").chmod(0)
        try:
            plan(Path("/nonexistent"), SITE, open_folder, NOW)
        except SiteFileError as error:
            wanted = f"tls.key: {open_folder}/own.key: may not be read by user id {os.geteuid()}"
            os._exit(0 if error.problems == [wanted] else 2)
        except BaseException:
            os._exit(3)
        os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_inventory_when_the_certificate_is_own_then_its_issuer_is_listed(tmp_path: Path) -> None:
    put(tmp_path, LEAF, MIDDLE, ROOT)
    ensure(tmp_path / "pki", SITE, tmp_path, NOW)
    (own,) = [one for one in inventory(tmp_path / "pki", SITE, tmp_path, NOW) if one.name == "edge-own"]
    assert (own.issuer, own.names, own.days_left) == ("Hospital Issuing CA", (HOST,), 200)

"""What `orthweb trust` and `orthweb certificates` export and print."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from typer.testing import CliRunner, Result

from orthweb import pki, trust
from orthweb.access import CertificatePair
from orthweb.cli import certificates, console
from orthweb.cli import trust as trust_command
from orthweb.errors import OrthwebError, UsageError
from orthweb.site import Site, Tls
from orthweb.trust import TOOLS, Connection

TO = Connection(
    name="clinic",
    host="pacs.example.org",
    https_port=443,
    dicom_port=2762,
    aet="ARCHIVE",
    ca=Path("/srv/trust/clinic-ca.pem"),
    trust_store=Path("/srv/trust/clinic-truststore.p12"),
    ca_subject="CN=clinic site CA 01234567,O=Orthweb",
    ca_sha256="AB:CD",
    ca_not_after=datetime(2040, 1, 2, tzinfo=UTC),
)
CT = CertificatePair(Path("/srv/ct1.pem"), Path("/srv/ct1.key"))
AWKWARD = "A 'B' \"C\" $HOME"

app = typer.Typer()
trust_command.register(app)
certificates.register(app)


@pytest.fixture
def site_file(tmp_path: Path) -> Iterator[Path]:
    """A site that has its certificates, and the command line told to use it."""
    path = tmp_path / "site.toml"
    path.write_text("")
    (tmp_path / ".orthweb").mkdir(mode=0o700)
    pki.ensure(tmp_path / ".orthweb/pki", Site(), tmp_path)
    before, console.settings.site_file = console.settings.site_file, path
    yield path
    console.settings.site_file = before


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def commands(to: Connection, tool: str) -> list[str]:
    return [step.command for step in trust.instructions(to, tool)[0].steps if step.command is not None]


def test_export_when_the_site_has_a_ca_then_pem_and_trust_store_hold_it_for_everyone(tmp_path: Path) -> None:
    pki.ensure(tmp_path / "pki", Site(), tmp_path)
    to = trust.export(tmp_path / "pki", Site(), tmp_path, tmp_path / "new/out")
    assert to.ca.read_bytes() == (tmp_path / "pki/site-ca.pem").read_bytes()
    content = load_pkcs12(to.trust_store.read_bytes(), trust.TRUST_STORE_PASSWORD.encode())
    assert content.key is None
    assert [one.certificate for one in content.additional_certs] == [x509.load_pem_x509_certificate(to.ca.read_bytes())]
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new/out").iterdir()} == {
        "orthweb-ca.pem": 0o644,
        "orthweb-truststore.p12": 0o644,
    }
    assert (to.host, to.https_port, to.dicom_port, to.aet) == ("localhost", 8443, 11112, "ORTHANC")


def test_export_when_there_is_no_ca_then_it_says_orthweb_up_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OrthwebError) as caught:
        trust.export(tmp_path / "pki", Site(), tmp_path, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert "orthweb up" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_export_when_the_folder_cannot_be_made_then_the_option_is_named(tmp_path: Path) -> None:
    pki.ensure(tmp_path / "pki", Site(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out: "):
        trust.export(tmp_path / "pki", Site(), tmp_path, tmp_path / "file/out")


def test_commands_when_names_are_awkward_then_the_shell_gives_them_back_whole() -> None:
    to = replace(TO, aet=AWKWARD, ca=Path("/a folder/it's.pem"))
    for command in commands(to, "dcmtk"):
        words = shlex.split(command)
        assert words[words.index("-aec") + 1] == AWKWARD
        assert words[words.index("+cf") + 1] == "/a folder/it's.pem"
        assert words[-2:] == ["pacs.example.org", "2762"] or words[-3:] == ["pacs.example.org", "2762", "*.dcm"]
    for command in commands(to, "dcm4che"):
        words = shlex.split(command)
        assert words[words.index("-c") + 1] == f"{AWKWARD}@pacs.example.org:2762"


@pytest.mark.parametrize(
    "to", [TO, replace(TO, client=CT), replace(TO, aet=AWKWARD)], ids=["plain", "client", "quotes"]
)
@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool not in ("pynetdicom", "java")])
def test_commands_when_read_by_a_shell_then_it_understands_them(to: Connection, tool: str) -> None:
    script = "\n".join(commands(to, tool))
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "to", [TO, replace(TO, client=CT), replace(TO, aet=AWKWARD)], ids=["plain", "client", "quotes"]
)
def test_pynetdicom_when_read_by_python_then_it_understands_it(to: Connection) -> None:
    (program,) = commands(to, "pynetdicom")
    compile(program, "echo.py", "exec")
    assert repr(to.aet) in program
    assert ("tls.load_cert_chain('/srv/ct1.pem', '/srv/ct1.key')" in program) == (to.client is not None)


def test_dcmtk_when_a_client_certificate_is_shown_then_key_comes_before_certificate() -> None:
    assert commands(replace(TO, client=CT), "dcmtk")[0].startswith("echoscu -v +tls /srv/ct1.key /srv/ct1.pem +cf ")
    assert commands(TO, "dcmtk")[0].startswith("echoscu -v +tla +cf ")


def test_dcm4che_when_a_client_certificate_is_shown_then_its_password_is_read_from_its_file() -> None:
    for command in commands(replace(TO, client=CT), "dcm4che"):
        assert (
            '--key-store /srv/ct1.p12 --key-store-type PKCS12 --key-store-pass "$(cat /srv/ct1.p12.password)"'
            in command
        )


def test_dcm4che_when_the_profile_is_modern_then_it_offers_tls13() -> None:
    assert (
        "--tls-protocol TLSv1.3 --tls-cipher TLS_AES_128_GCM_SHA256" in commands(replace(TO, modern=True), "dcm4che")[0]
    )


@pytest.mark.parametrize(
    ("policy", "name", "shown"),
    [
        ("off", None, None),
        ("optional", None, None),
        ("required", None, "NAME.key"),
        ("off", "ct1", "ct1.key"),
        ("required", "kept", "FOLDER/kept.key"),
    ],
)
def test_client_when_asked_for_or_required_then_the_commands_show_it(
    tmp_path: Path, policy: str, name: str | None, shown: str | None
) -> None:
    (tmp_path / "kept.key").write_text("")
    to = trust.with_client(replace(TO, client_certificates=policy), name, tmp_path)
    key = None if to.client is None else str(to.client.key).replace(str(tmp_path), "FOLDER")
    assert key == shown


@pytest.mark.parametrize(
    ("tool", "title"), [("dcmtk", "DCMTK"), ("OsiriX", "Horos and OsiriX (macOS)"), ("firefox", "Browsers")]
)
def test_instructions_when_one_client_is_asked_for_then_only_it_is_given(tool: str, title: str) -> None:
    assert [one.title for one in trust.instructions(TO, tool)] == [title]


def test_instructions_when_the_client_is_unknown_then_all_known_ones_are_named() -> None:
    with pytest.raises(UsageError) as caught:
        trust.instructions(TO, "telnet")
    for tool in TOOLS:
        assert tool in caught.value.message


@pytest.mark.parametrize("tool", TOOLS)
def test_instructions_when_given_then_they_name_where_the_site_is(tool: str) -> None:
    (one,) = trust.instructions(TO, tool)
    whole = " ".join(f"{step.text} {step.command}" for step in one.steps)
    if tool != "java":
        assert TO.host in whole
    assert "clinic-ca.pem" in whole or "clinic-truststore.p12" in whole


def test_trust_when_run_then_it_exports_into_the_state_folder_and_prints_every_client(site_file: Path) -> None:
    done = run("trust")
    assert done.exit_code == 0
    folder = site_file.parent / ".orthweb/trust"
    assert {path.name for path in folder.iterdir()} == {"orthweb-ca.pem", "orthweb-truststore.p12"}
    for one in trust.instructions(TO):
        assert f"== {one.title}\n" in done.stdout
    assert str(folder / "orthweb-ca.pem") in done.stdout


def test_trust_when_given_a_folder_and_a_client_then_only_that_is_printed(site_file: Path, tmp_path: Path) -> None:
    done = run("trust", "--out", str(tmp_path / "usb"), "curl")
    assert (tmp_path / "usb/orthweb-ca.pem").exists()
    assert done.stdout.count("\n== ") == 1
    assert not (site_file.parent / ".orthweb/trust").exists()


def test_trust_json_when_read_then_it_keeps_its_contract(site_file: Path) -> None:
    facts = json.loads(run("trust", "--json").stdout)
    certificate = x509.load_pem_x509_certificate((site_file.parent / ".orthweb/pki/site-ca.pem").read_bytes())
    assert set(facts) == {"site", "https", "dicom", "ca", "trust_store", "tools"}
    assert facts["https"] == {"url": "https://localhost:8443", "user": "admin"}
    assert facts["dicom"] == {"host": "localhost", "port": 11112, "aet": "ORTHANC", "client_certificates": "off"}
    assert set(facts["ca"]) == {"file", "subject", "sha256", "not_after"}
    assert datetime.fromisoformat(facts["ca"]["not_after"]) == certificate.not_valid_after_utc
    assert [one["tool"] for one in facts["tools"]] == list(TOOLS)
    assert set(facts["tools"][0]) == {"tool", "title", "steps"}
    assert set(facts["tools"][0]["steps"][0]) == {"text", "command"}


def test_certificates_list_when_the_site_is_new_then_each_has_a_line_with_its_days(site_file: Path) -> None:
    lines = run("certificates", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        *("site-ca", "internal-ca", "edge-ecdsa", "edge-rsa", "archive", "edge-internal", "index", "check")
    ]
    assert lines[3].split()[1:4] == ["localhost,", "127.0.0.1,", "::1"]
    assert lines[3].split()[-1] == "89"


def test_certificates_list_json_when_read_then_it_keeps_its_contract(site_file: Path) -> None:
    pki.issue_client(site_file.parent / ".orthweb/pki", Site(), "ct1", days=10)
    listed = json.loads(run("certificates", "list", "--json").stdout)
    keys = {"name", "subject", "names", "issuer", "not_before", "not_after", "days_left", "sha256", "file"}
    assert all(set(one) == keys for one in listed)
    assert (listed[-1]["name"], listed[-1]["subject"], listed[-1]["days_left"]) == ("client/ct1", "ct1", 9)


def test_certificates_list_when_there_are_none_then_it_says_how_to_get_them(tmp_path: Path, site_file: Path) -> None:
    for path in (site_file.parent / ".orthweb/pki").iterdir():
        path.unlink()
    done = run("certificates", "list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "orthweb up" in done.stderr


def test_certificates_client_when_run_then_files_and_a_command_are_printed_and_no_secret(
    site_file: Path, tmp_path: Path
) -> None:
    done = run("certificates", "client", "ct1", "--out", str(tmp_path / "usb"), "--days", "30")
    password = (tmp_path / "usb/ct1.p12.password").read_text().strip()
    assert password not in done.output
    assert f"echoscu -v +tls {tmp_path}/usb/ct1.key {tmp_path}/usb/ct1.pem +cf " in done.stdout
    assert 'client_certificates = "required"' in done.stderr


def test_certificates_client_json_when_read_then_it_names_files_and_no_secret(site_file: Path) -> None:
    facts = json.loads(run("certificates", "client", "ct1", "--json").stdout)
    assert set(facts) == {"name", "certificate", "key", "pkcs12", "pkcs12_password_file", "not_after"}
    assert all(Path(facts[name]).is_file() for name in ("certificate", "key", "pkcs12", "pkcs12_password_file"))


def test_trust_when_the_certificate_is_own_then_its_root_is_exported(tmp_path: Path) -> None:
    other = tmp_path / "other"
    pki.ensure(other, Site(hostname="pacs.example.org"), tmp_path)
    (tmp_path / "chain.pem").write_bytes((other / "edge-rsa.pem").read_bytes() + (other / "site-ca.pem").read_bytes())
    site = Site(hostname="pacs.example.org", tls=Tls(certificate=Path("chain.pem"), key=Path("other/edge-rsa.key")))
    pki.ensure(tmp_path / "pki", site, tmp_path)
    to = trust.export(tmp_path / "pki", site, tmp_path, tmp_path / "out")
    assert to.ca.read_bytes() == (other / "site-ca.pem").read_bytes()
    assert to.ca.read_bytes() != (tmp_path / "pki/site-ca.pem").read_bytes()

"""How a machine reaches its package mirrors, read from what its apt and pip print."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthweb.image import host
from orthweb.image.host import Mirror, Reach, Source

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

DEB822 = """\
# Debian's own, as its installer writes it
Types: deb deb-src
URIs: http://mirror.hospital.example/debian/
Suites: bookworm bookworm-updates
Components: main
 non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://mirror.hospital.example/security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://vendor.example/node
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://old.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_when_values_are_folded_and_a_stanza_is_disabled_then_each_suite_is_a_source() -> None:
    found = list(host.deb822(DEB822))
    assert [(each.uri, each.suite) for each in found] == [
        ("http://mirror.hospital.example/debian", "bookworm"),
        ("http://mirror.hospital.example/debian", "bookworm-updates"),
        ("https://mirror.hospital.example/security", "bookworm-security"),
        ("https://vendor.example/node", "nodistro"),
    ]
    assert found[0].components == ("main", "non-free-firmware")
    assert found[0].keyring == KEYRING


def test_one_line_when_there_are_options_and_comments_then_both_are_understood() -> None:
    text = """\
# deb http://commented.example/debian trixie main
deb-src http://a.example/debian trixie main
deb [ arch=amd64 signed-by=/etc/apt/keyrings/own.gpg ] http://a.example/debian trixie main contrib # ours
deb [trusted=yes] http://b.example/debian trixie-updates main
"""
    assert list(host.one_line(text)) == [
        Source("http://a.example/debian", "trixie", ("main", "contrib"), Path("/etc/apt/keyrings/own.gpg")),
        Source("http://b.example/debian", "trixie-updates", trusted=True),
    ]


def test_mirror_when_the_machine_runs_another_release_then_its_servers_are_asked_for_the_wanted_one() -> None:
    found = host.mirror("trixie", None, host.deb822(DEB822))
    assert [(each.uri, each.suite) for each in found.sources] == [
        ("http://mirror.hospital.example/debian", "trixie"),
        ("http://mirror.hospital.example/debian", "trixie-updates"),
        ("https://mirror.hospital.example/security", "trixie-security"),
    ]
    assert all(each.components == ("main",) for each in found.sources)


@pytest.mark.parametrize(
    "text",
    ["", "deb http://archive.ubuntu.example/ubuntu noble main\n", "deb cdrom:[Debian]/ trixie main\n"],
    ids=["none", "ubuntu", "a disc"],
)
def test_mirror_when_apt_has_no_mirror_of_debian_then_debians_own_servers_are_used(text: str) -> None:
    found = host.mirror("trixie", None, host.one_line(text))
    assert [each.uri for each in found.sources] == [host.ARCHIVE, host.ARCHIVE, host.SECURITY]
    assert [each.suite for each in found.sources] == ["trixie", "trixie-updates", "trixie-security"]


def test_mirror_when_a_person_names_one_then_only_security_updates_come_from_elsewhere() -> None:
    found = host.mirror("trixie", "http://named.example/debian/", host.deb822(DEB822))
    assert found.main.uri == "http://named.example/debian"
    assert found.main.keyring == KEYRING
    assert found.sources[-1] == Source("https://mirror.hospital.example/security", "trixie-security", keyring=KEYRING)


def test_mirror_when_a_person_names_one_and_apt_has_none_then_nothing_else_is_asked() -> None:
    assert {each.uri for each in host.mirror("trixie", "http://named.example/debian", []).sources} == {
        "http://named.example/debian"
    }


def test_apt_settings_when_dumped_then_those_that_reach_a_mirror_are_kept_and_files_of_this_machine_are_not() -> None:
    dump = """\
APT::Architecture "amd64";
Acquire "";
Acquire::Check-Valid-Until "false";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Proxy::mirror.example "DIRECT";
Acquire::https::CaInfo "/etc/ssl/hospital.pem";
Acquire::https::mirror.example::SslKey "/etc/ssl/client.key";
Acquire::http::Proxy-Auto-Detect "/usr/local/bin/detect";
Acquire::http::User-Agent "";
Dir::Cache::pkgcache "";
"""
    settings = host.apt_settings(dump)
    assert settings == {
        "Acquire::Check-Valid-Until": "false",
        "Acquire::http::Proxy": "http://proxy.example:3128",
        "Acquire::https::Proxy::mirror.example": "DIRECT",
    }
    reach = Reach(apt=settings)
    assert host.proxy(reach, "http://mirror.example/debian") == "http://proxy.example:3128"
    assert host.proxy(reach, "https://mirror.example/debian") is None


def test_pip_settings_when_listed_then_indexes_are_kept_and_folders_of_this_machine_are_not() -> None:
    listing = """\
:env:.find-links='/opt/wheels'
global.cert='/etc/ssl/certs/ca-certificates.crt'
global.extra-index-url='file:///opt/simple https://second.example/simple'
global.index-url='https://user:p%40ss@pypi.example/simple'
install.no-cache-dir='true'
"""
    assert host.pip_settings(listing) == {
        "extra-index-url": "https://second.example/simple",
        "index-url": "https://user:p%40ss@pypi.example/simple",
    }


def test_files_when_the_machine_has_a_ca_and_a_key_of_its_own_then_builder_stages_get_both(tmp_path: Path) -> None:
    ca, keyring = tmp_path / "ca.pem", tmp_path / "own.gpg"
    ca.write_text("a certificate")
    keyring.write_bytes(b"a key")
    mirror = Mirror("trixie", (Source("https://a.example/debian", "trixie", keyring=keyring),))
    files = host.files(mirror, Reach({"Acquire::Retries": "5"}, {"index-url": "https://b.example/%40"}, ca))
    assert files == {
        "apt-sources.list": b"deb [signed-by=/orthweb/host/keyrings/0-own.gpg] https://a.example/debian trixie main\n",
        "keyrings/0-own.gpg": b"a key",
        "ca.pem": b"a certificate",
        "apt.conf": b'Acquire::Retries "5";\nAcquire::https::CaInfo "/orthweb/host/ca.pem";\n',
        "pip.conf": b"[global]\nindex-url = https://b.example/%40\ncert = /orthweb/host/ca.pem\n",
    }

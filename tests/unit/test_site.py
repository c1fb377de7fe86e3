"""The site model: what it accepts, decides and refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ByteSize, ValidationError

from orthweb.contradictions import contradictions
from orthweb.site import Modality, Site


def site(**tables: Any) -> Site:
    return Site.model_validate(tables)


def test_site_without_values_is_valid() -> None:
    assert site() == Site()
    assert (Site().edge.https_port, Site().edge.dicom_port, Site().dicom.aet) == (8443, 11112, "ORTHANC")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("https_port", True),
        ("https_port", "8443"),
        ("https_port", 8443.0),
        ("https_port", 0),
        ("https_port", 65536),
        ("max_body", True),
        ("max_body", 3e9),
        ("max_body", "3"),
        ("max_body", "3 gigs"),
        ("max_body", "-3GiB"),
        ("max_body", "3GiB and more"),
        ("max_body", "3Gbit"),
        ("max_body", "9" * 400 + "GiB"),
        ("max_body", "1KiB"),
        ("max_connections", False),
        ("max_associations", "64"),
        ("listen", "127.0.0.1"),
        ("listen", []),
        ("listen", [2130706433]),
        ("listen", [True]),
        ("listen", ["localhost"]),
        ("listen", ["127.0.0.1/8"]),
        ("listen", ["224.0.0.1"]),
        ("listen", ["255.255.255.255"]),
    ],
)
def test_edge_value_when_of_another_type_or_out_of_range_then_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        site(edge={key: value})


@pytest.mark.parametrize(
    ("written", "size"),
    [("3GiB", 3 * 2**30), ("3 GiB", 3 * 2**30), ("1.5gib", 3 * 2**29), ("2GB", 2 * 10**9), (5_000_000, 5_000_000)],
)
def test_max_body_when_text_or_number_of_bytes_then_bytes(written: str | int, size: int) -> None:
    assert site(edge={"max_body": written}).edge.max_body == ByteSize(size)


@pytest.mark.parametrize("value", [1, 0, "true", "yes"])
def test_truth_value_when_written_otherwise_then_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        site(archive={"overwrite": value})


@pytest.mark.parametrize("aet", ["A", "ORTHANC", "CT 1", "a" * 16, "~!#"])
def test_ae_title_when_of_vr_ae_then_accepted(aet: str) -> None:
    assert site(dicom={"aet": aet}).dicom.aet == aet


@pytest.mark.parametrize("aet", ["", " ", " CT", "CT ", "a" * 17, "A\\B", "CT\n", "CÄ", "A\tB"])
def test_ae_title_when_not_of_vr_ae_then_refused(aet: str) -> None:
    with pytest.raises(ValidationError):
        site(dicom={"aet": aet})


@pytest.mark.parametrize(
    ("written", "hostname"),
    [
        ("localhost", "localhost"),
        ("PACS.Example.org", "pacs.example.org"),
        ("192.0.2.10", "192.0.2.10"),
        ("a" * 63, "a" * 63),
    ],
)
def test_hostname_when_dns_name_or_address_then_lower_case(written: str, hostname: str) -> None:
    assert site(hostname=written).hostname == hostname


@pytest.mark.parametrize(
    "hostname",
    [
        "",
        "https://a.org",
        "a.org:443",
        "a..b",
        "-a",
        "a_b",
        "a.org.",
        "300.1.1.1",
        "a.12",
        "a" * 64,
        "müller.de",
        "a\n",
    ],
)
def test_hostname_when_no_dns_name_then_refused(hostname: str) -> None:
    with pytest.raises(ValidationError):
        site(hostname=hostname)


@pytest.mark.parametrize("host", ["2001:db8::1", "192.0.2.1", "ct1", "ct1.example.org"])
def test_modality_host_when_name_or_address_then_accepted(host: str) -> None:
    assert Modality(aet="CT1", host=host, port=104).host == host


@pytest.mark.parametrize("host", ["", "ct1:104", "[2001:db8::1]", "192.0.2.256", "a b"])
def test_modality_host_when_neither_name_nor_address_then_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        Modality(aet="CT1", host=host, port=104)


@pytest.mark.parametrize("name", ["", "a b", "a" * 33, "a.b", "orthweb-check", "ORTHWEB-x"])
def test_modality_name_when_reserved_or_odd_then_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        site(modalities={name: {"aet": "CT1", "host": "ct1", "port": 104}})


def test_unknown_peers_when_auto_then_follows_who_can_reach_the_edge() -> None:
    assert site().unknown_peers == "all"
    assert site(edge={"listen": ["127.0.0.2", "::1"]}).unknown_peers == "all"
    assert site(edge={"listen": ["0.0.0.0"]}).unknown_peers == "store"
    assert site(edge={"listen": ["127.0.0.1", "192.0.2.1"]}).unknown_peers == "store"
    assert site(edge={"listen": ["0.0.0.0"]}, tls={"client_certificates": "optional"}).unknown_peers == "store"
    assert site(edge={"listen": ["0.0.0.0"]}, tls={"client_certificates": "required"}).unknown_peers == "all"


def test_unknown_peers_when_given_then_kept() -> None:
    assert site(dicom={"unknown_peers": "none"}).unknown_peers == "none"
    assert site(edge={"listen": ["0.0.0.0"]}, dicom={"unknown_peers": "all"}).unknown_peers == "all"


def test_names_when_listening_on_addresses_then_hostname_first_and_each_once() -> None:
    found = site(hostname="pacs.example.org", edge={"listen": ["192.0.2.1", "::1"]})
    assert found.names == ("pacs.example.org", "localhost", "127.0.0.1", "::1", "192.0.2.1")


def test_names_when_listening_everywhere_then_unspecified_address_is_no_name() -> None:
    assert site(edge={"listen": ["0.0.0.0", "::"]}).names == ("localhost", "127.0.0.1", "::1")


def peer(**values: Any) -> dict[str, Any]:
    return {"aet": "CT1", "host": "ct1", "port": 104} | values


@pytest.mark.parametrize(
    ("tables", "place", "part"),
    [
        ({"edge": {"https_port": 11112}}, ("edge", "https_port"), "edge.dicom_port as well"),
        ({"edge": {"dicom_port": 8443}}, ("edge", "dicom_port"), "edge.https_port as well"),
        ({"edge": {"listen": ["127.0.0.1", "127.0.0.1"]}}, ("edge", "listen"), "127.0.0.1 once"),
        ({"edge": {"listen": ["127.0.0.1", "0.0.0.0"]}}, ("edge", "listen"), "0.0.0.0 includes it"),
        ({"edge": {"listen": ["::", "::1"]}}, ("edge", "listen"), ":: includes it"),
        ({"tls": {"certificate": "a.pem"}}, ("tls", "certificate"), "needs tls.key"),
        ({"tls": {"key": "a.key"}}, ("tls", "key"), "needs tls.certificate"),
        ({"modalities": {"a": peer(), "b": peer(aet="ct1")}}, ("modalities", "b", "aet"), "modalities.a.aet as well"),
        ({"modalities": {"a": peer(aet="ORTHANC")}}, ("modalities", "a", "aet"), "dicom.aet as well"),
        ({"modalities": {"a": peer(tls=False, ca="a.pem")}}, ("modalities", "a", "ca"), "while tls = false"),
    ],
)
def test_combination_when_impossible_then_named_with_its_key(
    tables: dict[str, Any], place: tuple[str, ...], part: str
) -> None:
    with pytest.raises(ValidationError, match="[.]".join(place)) as caught:
        site(**tables)
    assert part in str(caught.value)


def test_two_families_when_both_everywhere_then_no_contradiction() -> None:
    assert list(contradictions(site(edge={"listen": ["0.0.0.0", "::"]}))) == []


def test_two_modalities_when_on_one_host_and_port_then_no_contradiction() -> None:
    assert list(contradictions(site(modalities={"a": peer(), "b": peer(aet="CT2")}))) == []

"""Internal ports: kept while they can be, chosen anew when a stranger has one, low where that protects."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orthweb.errors import OrthwebError
from orthweb.render.endpoints import Role
from orthweb.site import Modality, Site
from orthweb.targets.local import ports
from orthweb.targets.local.ports import FIRST, LAST, LOW_FIRST, LOW_LAST

SITE = Site(modalities={"ct": Modality(aet="CT", host="ct.example.org", port=2762)})
ARCHIVES: list[tuple[str, Role]] = [("archive", "both")]
NAMES = {"archive_http", "archive_dicom", "index", "check", "egress:orthweb-check", "egress:ct"}


@pytest.fixture(params=[False, True], ids=["ordinary user", "root"])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(ports, "may_use_low_ports", lambda: request.param)
    monkeypatch.setattr(ports, "is_free", lambda _port: True)
    return bool(request.param)


@contextmanager
def held(host: str = "127.0.0.1") -> Iterator[int]:
    # Not the system's choice: another program's connection could get that one as soon as it is free again.
    port = next(each for each in iter(lambda: random.randint(FIRST, LAST), 0) if ports.is_free(each))
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        yield server.getsockname()[1]


def test_choose_for_a_new_site_then_all_differ_and_the_archives_http_alone_is_low(root: bool) -> None:
    chosen = ports.as_facts(ports.choose(SITE, ARCHIVES, {}, ours=()))
    assert set(chosen) == NAMES
    assert len(set(chosen.values())) == len(chosen)
    low = {name for name, port in chosen.items() if LOW_FIRST <= port <= LOW_LAST}
    assert low == ({"archive_http"} if root else set())
    assert all(FIRST <= port <= LAST for name, port in chosen.items() if name not in low)


@pytest.mark.parametrize("ours", [False, True])
def test_choose_when_the_kept_ports_are_free_or_ours_then_keeps_them(root: bool, ours: bool) -> None:
    kept = ports.as_facts(ports.choose(SITE, ARCHIVES, {}, ours=()))
    assert ports.as_facts(ports.choose(SITE, ARCHIVES, kept, ours=kept.values() if ours else ())) == kept


def test_choose_when_a_stranger_has_a_kept_port_then_that_one_alone_is_new(
    root: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ports.as_facts(ports.choose(SITE, ARCHIVES, {}, ours=()))
    monkeypatch.setattr(ports, "is_free", lambda port: port != kept["index"])
    chosen = ports.as_facts(ports.choose(SITE, ARCHIVES, kept, ours=()))
    assert {name for name in kept if kept[name] != chosen[name]} == {"index"}
    assert ports.as_facts(ports.choose(SITE, ARCHIVES, kept, ours=kept.values())) == kept


def test_choose_when_the_archives_port_is_of_a_site_from_before_then_it_moves_below_1024_at_the_next_start(
    root: bool,
) -> None:
    kept = ports.as_facts(ports.choose(SITE, ARCHIVES, {}, ours=())) | {"archive_http": 20001 if root else 700}
    chosen = ports.as_facts(ports.choose(SITE, ARCHIVES, kept, ours=()))
    assert (chosen["archive_http"] <= LOW_LAST) == root
    assert ports.as_facts(ports.choose(SITE, ARCHIVES, kept, ours=kept.values())) == kept


def test_choose_when_the_edge_now_wants_a_kept_port_then_another_is_chosen(root: bool) -> None:
    kept = ports.as_facts(ports.choose(SITE, ARCHIVES, {}, ours=()))
    edge = SITE.edge.model_copy(update={"https_port": kept["index"]})
    chosen = ports.as_facts(ports.choose(SITE.model_copy(update={"edge": edge}), ARCHIVES, kept, ours=kept.values()))
    assert chosen["index"] != kept["index"]


def test_choose_when_two_kept_ports_are_the_same_then_one_is_chosen_anew(root: bool) -> None:
    chosen = ports.as_facts(ports.choose(SITE, ARCHIVES, {"archive_dicom": 20007, "index": 20007}, ours=()))
    assert chosen["archive_dicom"] == 20007
    assert chosen["index"] != 20007


def test_choose_when_no_low_port_can_be_had_then_takes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "may_use_low_ports", lambda: True)
    monkeypatch.setattr(ports, "is_free", lambda port: port > LOW_LAST)
    assert FIRST <= ports.choose(SITE, ARCHIVES, {}, ours=()).http["archive"] <= LAST


def test_choose_when_nothing_is_free_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    with pytest.raises(OrthwebError, match="no free TCP port"):
        ports.choose(SITE, ARCHIVES, {}, ours=())


@pytest.mark.parametrize(
    ("root", "first", "expected"), [(True, 1024, True), (True, 0, False), (True, 700, False), (False, 1024, False)]
)
def test_may_use_low_ports_when_the_machine_keeps_them_for_root_and_root_calls_then_only(
    monkeypatch: pytest.MonkeyPatch, root: bool, first: int, expected: bool
) -> None:
    monkeypatch.setattr(ports, "is_root", lambda: root)
    monkeypatch.setattr(ports, "first_unprivileged", lambda: first)
    assert ports.may_use_low_ports() is expected


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "0.0.0.0", "::1"])
def test_is_free_when_somebody_listens_on_any_address_then_false(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    with held(host) as port:
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_listening_then_names_the_ports_where_somebody_is() -> None:
    with held() as port:
        assert ports.listening([port]) == [port]
    assert ports.listening([port]) == []

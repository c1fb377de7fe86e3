"""The containers' addresses: free, and the same at every start."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

import pytest

from orthweb.errors import OrthwebError
from orthweb.targets.docker.network import POOLS, Addresses, _of_routes, choose, is_free, taken

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000000A\t0102A8C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0
old0\t000010AC\t0102A8C0\t0002\t0\t0\t0\t0000F0FF\t0\t0\t0
"""


def test_routes_when_read_then_networks_without_the_default_route_and_what_is_down() -> None:
    assert list(_of_routes(ROUTES)) == [ip_network("192.168.2.0/24"), ip_network("10.0.0.0/8")]


def test_network_when_a_hospital_routes_all_of_ten_then_is_chosen_elsewhere() -> None:
    for _ in range(20):
        found = choose([IPv4Network("10.0.0.0/8")])
        assert found.prefixlen == 24
        assert found.subnet_of(POOLS[1])
        assert not found.overlaps(IPv4Network("172.17.0.0/16"))


def test_network_when_every_private_one_is_routed_then_says_what_to_set() -> None:
    with pytest.raises(OrthwebError, match="no private IPv4 network is free") as error:
        choose([IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")])
    assert "docker.subnet" in str(error.value.hint)


def test_network_when_chosen_on_this_machine_then_is_free_here() -> None:
    assert is_free(choose(taken()), taken())


def test_addresses_when_a_replica_is_added_then_nobody_elses_changes() -> None:
    addresses = Addresses(IPv4Network("10.83.44.0/24"))
    assert (addresses.gateway, addresses.in_front("edge")) == ("10.83.44.1", "10.83.44.2")
    assert addresses.in_middle("edge") == "10.83.44.66"
    names = ["archive", *(f"archive-{number}" for number in range(2, 9))]
    names += ["reader", *(f"reader-{number}" for number in range(2, 17))]
    assert addresses.in_middle("archive") == "10.83.44.75"
    assert addresses.in_back("index") == "10.83.44.131"
    found = {addresses.in_middle(name) for name in [*names, "edge"]}
    assert len(found) == len(names) + 1
    assert {addresses.in_back(name) for name in names}.isdisjoint(found)

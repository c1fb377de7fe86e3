"""Nothing is reachable but what was asked for, from where it was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from aws import plots
from aws.lifecycle import Lifecycle
from aws.resources import of_type, resources

pytestmark = pytest.mark.timeout(900)

every = pytest.mark.parametrize("life", ["stranger", "single", "ha"], indirect=True)

planned = pytest.mark.parametrize("life", ["single", "ha"], indirect=True)

WORLD = {"0.0.0.0/0", "::/0"}
HTTPS, DICOM, SSH, POSTGRESQL = 443, 11112, 22, 5432


def ingress(found: dict[str, Any]) -> set[tuple[int, str]]:
    """Give every address range that may come in: port and range."""
    rules = of_type(found, "aws_vpc_security_group_ingress_rule")
    ranges = [
        (rule.values["from_port"], rule.values.get("cidr_ipv4") or rule.values.get("cidr_ipv6")) for rule in rules
    ]
    return {(port, cidr) for port, cidr in ranges if cidr}


def words(value: object) -> set[str]:
    """Give every text in nested values."""
    if isinstance(value, dict):
        return set().union(*(words(each) for each in value.values()))
    if isinstance(value, list):
        return set().union(*(words(each) for each in value))
    return {value} if isinstance(value, str) else set()


@every
def test_ingress_when_ranges_are_asked_for_then_is_open_to_them_alone(life: Lifecycle) -> None:
    https, dicom = (life.plot.variables.get(f"{name}_cidr_blocks", [plots.CLINIC]) for name in ("https", "dicom"))
    asked = {*((HTTPS, cidr) for cidr in https), *((DICOM, cidr) for cidr in dicom)}
    if "cli_cidr_block" in life.plot.variables:
        asked.add((SSH, plots.OFFICE))
    inside = {str(found.values["cidr_block"]) for found in of_type(life.state, "aws_vpc", "aws_subnet")}
    assert {(port, cidr) for port, cidr in ingress(life.state) if cidr not in inside} == asked


@planned
def test_ingress_when_made_then_is_in_rules_of_their_own(life: Lifecycle) -> None:
    names = {"aws_security_group_rule", "aws_network_acl_rule"}
    assert not [found.address for found in resources(life.planned) if found.type in names]
    for group in of_type(life.planned, "aws_security_group", "aws_default_security_group"):
        assert not group.values.get("ingress"), group.address
        assert not group.values.get("egress"), group.address


@every
def test_rules_when_made_then_each_says_what_it_is_for(life: Lifecycle) -> None:
    for rule in of_type(life.state, "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"):
        assert rule.values["description"], rule.address


def database_groups(life: Lifecycle) -> set[str]:
    (database,) = of_type(life.state, "aws_db_instance")
    return set(database.values["vpc_security_group_ids"])


@every
def test_database_when_made_then_has_no_public_address_and_no_way_out(life: Lifecycle) -> None:
    (database,) = of_type(life.state, "aws_db_instance")
    assert database.values["publicly_accessible"] is False
    (group,) = of_type(life.state, "aws_db_subnet_group")
    tables = {
        found.values["subnet_id"]: found.values["route_table_id"]
        for found in of_type(life.state, "aws_route_table_association")
    }
    routes: dict[str, set[str]] = {}
    for route in of_type(life.state, "aws_route"):
        routes.setdefault(route.values["route_table_id"], set()).add(route.values["destination_cidr_block"])
    for table in of_type(life.state, "aws_route_table"):
        routes.setdefault(table.values["id"], set()).update(words(table.values["route"]))
    for subnet in group.values["subnet_ids"]:
        assert not routes[tables[subnet]] & WORLD, f"{subnet} leads to the internet"


@every
def test_database_when_made_then_only_hosts_reach_it_and_it_reaches_nothing(life: Lifecycle) -> None:
    groups = database_groups(life)
    rules = [
        rule
        for rule in of_type(life.state, "aws_vpc_security_group_ingress_rule")
        if rule.values["security_group_id"] in groups
    ]
    assert [(rule.values["from_port"], rule.values["to_port"]) for rule in rules] == [(POSTGRESQL, POSTGRESQL)]
    assert all(rule.values["referenced_security_group_id"] for rule in rules)
    out = of_type(life.state, "aws_vpc_security_group_egress_rule")
    assert not [rule.address for rule in out if rule.values["security_group_id"] in groups]


@every
def test_default_security_group_when_the_vpc_is_made_then_lets_nothing_through(life: Lifecycle) -> None:
    (group,) = of_type(life.state, "aws_default_security_group")
    assert not group.values["ingress"]
    assert not group.values["egress"]


@every
def test_buckets_when_made_then_are_closed_to_the_public(life: Lifecycle) -> None:
    closed = {found.values["bucket"]: found for found in of_type(life.state, "aws_s3_bucket_public_access_block")}
    for bucket in of_type(life.state, "aws_s3_bucket"):
        block = closed[bucket.values["bucket"]].values
        for way in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"):
            assert block[way] is True, (bucket.address, way)


@every
def test_hosts_when_made_then_give_their_metadata_to_tokens_alone_and_to_containers(life: Lifecycle) -> None:
    hosts = of_type(life.state, "aws_instance", "aws_launch_template")
    assert hosts
    for host in hosts:
        (options,) = host.values["metadata_options"]
        assert options["http_tokens"] == "required", host.address
        assert options["http_put_response_hop_limit"] == 2, host.address


def test_hosts_when_there_are_many_then_have_no_public_address(ha: Lifecycle) -> None:
    (group,) = of_type(ha.state, "aws_autoscaling_group")
    public = {
        found.values["id"] for found in of_type(ha.state, "aws_subnet") if found.values["map_public_ip_on_launch"]
    }
    (balancer,) = of_type(ha.state, "aws_lb")
    assert not set(group.values["vpc_zone_identifier"]) & (public | set(balancer.values["subnets"]))
    for template in of_type(ha.state, "aws_launch_template"):
        for interface in template.values["network_interfaces"]:
            assert str(interface["associate_public_ip_address"]).lower() != "true"

"""Each topology from the first plan to nothing left: Terraform and its AWS provider are real, AWS is the emulator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aws import plots
from aws.emulator.inventory import CONTAINED, LISTED
from aws.lifecycle import Lifecycle
from aws.resources import of_type, resources

pytestmark = pytest.mark.timeout(900)

every = pytest.mark.parametrize("life", ["stranger", "single", "ha"], indirect=True)
changed = pytest.mark.parametrize("life", ["single", "ha"], indirect=True)

KEPT = {
    "aws_backup_vault",
    "aws_cloudwatch_log_group",
    "aws_db_instance",
    "aws_db_snapshot",
    "aws_ecr_repository",
    "aws_eip",
    "aws_kms_key",
    "aws_lb",
    "aws_network_interface",
    "aws_s3_bucket",
    "aws_secretsmanager_secret",
    "aws_vpc",
}
"""What holds data, keys or the site's address: no change of size, version or range may replace or delete it."""

BUILT_IN = {"terraform_data"}
"""Types of Terraform itself: they are nothing in an account."""


def identities(state: object, *types: str) -> dict[str, str]:
    assert isinstance(state, dict)
    return {found.address: str(found.values["id"]) for found in of_type(state, *types)}


@changed
def test_first_plan_when_nothing_is_there_then_only_creates(life: Lifecycle) -> None:
    actions = {tuple(each["change"]["actions"]) for each in life.planned["resource_changes"]}
    assert actions <= {("create",), ("read",)}


@changed
def test_apply_when_the_account_is_empty_then_makes_all_of_the_plan(
    life: Lifecycle, record_property: Callable[[str, object], None]
) -> None:
    planned = {found.address for found in resources(life.planned)}
    assert {found.address for found in resources(life.state)} == planned
    record_property("resources", len(planned))


@every
def test_database_when_it_is_made_then_is_made_in_one_go(life: Lifecycle) -> None:
    """A change right after its making would be minutes more on the longest way of an apply."""
    assert life.calls["CreateDBInstance"] == 1
    assert life.calls["ModifyDBInstance"] == 0


def test_readme_when_its_commands_are_typed_in_then_they_say_what_comes_next(stranger: Lifecycle) -> None:
    assert stranger.state
    steps = next(said for said in stranger.terraform.output if "docker push" in said)
    assert "orthweb" in steps
    assert set(stranger.seconds) >= {"init", "plan", "apply"}


@every
def test_second_plan_when_nothing_was_changed_then_is_empty(life: Lifecycle) -> None:
    assert life.again == {}


@every
def test_providers_when_installed_then_only_the_one_of_aws(life: Lifecycle) -> None:
    installed = {address.rsplit("/", 1)[-1] for address in providers(life)}
    assert installed == {"aws"}


def providers(life: Lifecycle) -> set[str]:
    named = {each["provider"].split('"')[1] for each in life.state["resources"]}
    return {provider for provider in named if not provider.startswith("terraform.io/builtin/")}


@changed
def test_change_of_size_version_and_range_when_planned_then_deletes_nothing_that_holds_data(life: Lifecycle) -> None:
    types = {address: found.type for found in resources(life.state) for address in [found.address]}
    lost = {address for address, action in life.change.items() if action in ("delete", "replace")}
    assert not {address for address in lost if types[address] in KEPT}
    assert life.change, "the change changes something"


def test_change_of_size_when_there_is_one_host_then_keeps_the_instance_and_its_address(single: Lifecycle) -> None:
    kept = "aws_instance", "aws_eip", "aws_network_interface"
    assert identities(single.changed, *kept) == identities(single.state, *kept)
    assert {found.values["instance_type"] for found in of_type(single.changed, "aws_instance")} == {"t3.xlarge"}


@changed
def test_change_of_size_version_and_range_when_applied_then_database_bucket_and_keys_are_the_same(
    life: Lifecycle,
) -> None:
    assert identities(life.changed, *KEPT) == identities(life.state, *KEPT)


@changed
def test_change_of_version_when_applied_then_is_a_parameter_that_hosts_read(life: Lifecycle) -> None:
    (images,) = [
        found.values["value"]
        for found in of_type(life.changed, "aws_ssm_parameter")
        if found.values["name"].endswith("/images")
    ]
    assert ":1.1.0" in images
    assert ":1.0.0" not in images


@changed
def test_change_of_range_when_applied_then_it_may_come_in(life: Lifecycle) -> None:
    before = {found.values["cidr_ipv4"] for found in of_type(life.state, "aws_vpc_security_group_ingress_rule")}
    after = {found.values["cidr_ipv4"] for found in of_type(life.changed, "aws_vpc_security_group_ingress_rule")}
    assert after - before == {plots.BRANCH}


@changed
def test_plan_when_the_change_was_applied_then_is_empty(life: Lifecycle) -> None:
    assert life.settled == {}


def test_destroy_when_the_site_is_in_production_then_refuses_and_nothing_is_touched(single: Lifecycle) -> None:
    said, before, after = single.refused
    assert "production = false" in said
    assert "aws_" not in said, "nothing but the guard said no"
    assert after == before


@every
def test_destroy_when_done_then_leaves_the_final_snapshot_alone(
    life: Lifecycle, record_property: Callable[[str, object], None]
) -> None:
    name = of_type(life.state, "aws_db_instance")[0].values["final_snapshot_identifier"]
    assert name.startswith(f"{life.plot.variables.get('name', 'orthweb')}-final-")
    assert life.left == {f"aws_db_snapshot {name}"}
    record_property("seconds", {command: round(seconds, 1) for command, seconds in life.seconds.items()})


@every
def test_inventory_when_compared_with_the_state_then_lists_every_type_in_it(life: Lifecycle) -> None:
    types = {found.type for found in resources(life.state)} - BUILT_IN
    assert types <= set(LISTED) | set(CONTAINED), "a type that nobody would miss when it is left behind"
    listed = {line.split()[0] for line in life.resources}
    assert types & set(LISTED) <= listed, "a type that is there and was not found"


@every
def test_emulator_when_all_is_over_then_had_an_answer_for_every_call(life: Lifecycle) -> None:
    assert life.left is not None
    assert life.aws is not None
    assert life.aws.failures() == []
    assert "NotImplementedError" not in life.aws.log.read_text()
    assert len(life.aws.calls()) > 1000

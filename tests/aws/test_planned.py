"""What other choices would make: plans alone, without an apply. (What is refused: terraform/tests/refusals.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from aws import plots
from aws.emulator import Emulator
from aws.lifecycle import Json, Plot
from aws.resources import of_type
from aws.terraform import SOURCE, Terraform, TerraformError

pytestmark = pytest.mark.timeout(300)

ASKED = {"https_cidr_blocks": [plots.CLINIC], "dicom_cidr_blocks": [plots.SCANNERS]}
WORLD = "0.0.0.0/0"
NUMBERS = count()

Planner = Callable[..., Json]


@pytest.fixture(scope="module")
def terraform(
    aws: Emulator,
    terraform_environment: dict[str, str],
    terraform_program: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Terraform:
    """Give an installed copy of the configuration."""
    environment = {**terraform_environment, **aws.environment(plots.HA_REGION)}
    made = Terraform.of(SOURCE, tmp_path_factory.mktemp("planned") / "terraform", environment, terraform_program)
    made.init()
    return made


@pytest.fixture
def plan(terraform: Terraform) -> Iterator[Planner]:
    """Give a function that plans a deployment with some variables."""

    def planned(**variables: object) -> Json:
        terraform.variables(**{**ASKED, **variables})
        return terraform.plan(f"plan{next(NUMBERS)}")

    yield planned
    (terraform.folder / "terraform.tfvars.json").unlink(missing_ok=True)


def test_configuration_when_validated_then_is_right(terraform: Terraform) -> None:
    terraform.validate()


def test_configuration_when_formatted_then_stays_the_same(terraform: Terraform) -> None:
    terraform.run("fmt", "fmt", "-check", "-recursive", "-diff")


def test_plan_when_no_range_is_given_then_asks_for_it(terraform: Terraform) -> None:
    with pytest.raises(TerraformError, match="https_cidr_blocks"):
        terraform.run("plan", "plan", "-input=false", "-no-color")


def test_plan_when_everybody_may_come_then_only_the_asked_ports_are_open_and_it_warns(
    plan: Planner, terraform: Terraform
) -> None:
    planned = plan(https_cidr_blocks=[WORLD], dicom_cidr_blocks=[WORLD])
    rules = of_type(planned, "aws_vpc_security_group_ingress_rule")
    assert {rule.values["from_port"] for rule in rules if rule.values.get("cidr_ipv4") == WORLD} == {443, 11112}
    said = terraform.output[-2]
    assert "https_cidr_blocks" in said
    assert "dicom_cidr_blocks" in said


def test_plan_when_in_production_then_nothing_that_holds_data_can_be_deleted_by_accident(plan: Planner) -> None:
    planned = plan(topology="ha", production=True, backup=True, audit=True)
    (database,) = of_type(planned, "aws_db_instance")
    assert database.values["deletion_protection"] is True
    assert database.values["multi_az"] is True
    assert database.values["skip_final_snapshot"] is False
    assert database.values["backup_retention_period"] >= 14
    for bucket in of_type(planned, "aws_s3_bucket"):
        assert bucket.values["force_destroy"] is False, bucket.address
    for secret in of_type(planned, "aws_secretsmanager_secret"):
        assert secret.values["recovery_window_in_days"] == 30, secret.address
    for balancer in of_type(planned, "aws_lb"):
        assert balancer.values["enable_deletion_protection"] is True
    for repository in of_type(planned, "aws_ecr_repository"):
        assert not repository.values["force_delete"], repository.address
    assert of_type(planned, "aws_backup_vault_lock_configuration"), "a locked vault"


def test_plan_when_with_a_vpn_then_certificates_let_in_to_the_vpc_alone(plan: Planner) -> None:
    """Judged here: Terraform's provider would wait eight minutes for one that is made and deleted."""
    planned = plan(**plots.vpn())
    (vpn,) = of_type(planned, "aws_ec2_client_vpn_endpoint")
    assert [each["type"] for each in vpn.values["authentication_options"]] == ["certificate-authentication"]
    (log,) = vpn.values["connection_log_options"]
    assert log["enabled"] is True
    for rule in of_type(planned, "aws_ec2_client_vpn_authorization_rule"):
        assert rule.values["target_network_cidr"] != WORLD


@pytest.mark.parametrize("plot", [plots.single, plots.ha], ids=["single", "ha"])
def test_network_when_taken_over_into_an_empty_state_then_every_key_is_known(
    plot: Callable[[], Plot], terraform: Terraform, aws: Emulator, tmp_path: Path
) -> None:
    """An import knows of no resource but those in the state: keys that come from another one would stop it."""
    wanted = plot()
    own = Terraform.of(SOURCE, tmp_path / "terraform", terraform.environment, terraform.program)
    own.init()
    own.variables(**wanted.variables, **wanted.secrets)
    network = aws.client("ec2", plots.HA_REGION).create_vpc(CidrBlock="10.83.0.0/16")["Vpc"]["VpcId"]
    own.run("import", "import", "-input=false", "-no-color", "module.network.aws_vpc.this", network)
    [taken] = [each for each in own.state()["resources"] if each["type"] == "aws_vpc"]
    assert taken["instances"][0]["attributes"]["id"] == network

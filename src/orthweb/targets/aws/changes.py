"""What a plan of Terraform's does, for a person; and what of it orthweb refuses to do.

https://developer.hashicorp.com/terraform/internals/json-format#change-representation
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from orthweb.errors import UsageError
from orthweb.targets.aws.words import counted, kind, named
from orthweb.targets.base import PlanItem

Action = Literal["create", "change", "replace", "delete"]

ORDER: Final[tuple[Action, ...]] = ("create", "change", "replace", "delete")
VERBS: Final[Mapping[Action, str]] = {
    "create": "create",
    "change": "change",
    "replace": "replace",
    "delete": "remove",
}

KEPT: Final = {
    "aws_db_instance": "the index would be lost",
    "aws_s3_bucket": "what is in it would be lost",
    "aws_kms_key": "what is encrypted with it could never be read again",
    "aws_secretsmanager_secret": "the site's passwords and certificates would be lost",
}
"""What holds data or keys: replaced or removed by `destroy` alone; and why."""

TAINTED: Final = "replace_because_tainted"

KEYS: Final[Mapping[str, str]] = {
    "ami": "aws.ami",
    "allocated_storage": "aws.database.storage",
    "availability_zone": "aws.zones",
    "backup_retention_period": "aws.database.backup_days",
    "bucket": "name or aws.region",
    "cidr_block": "aws.network",
    "cidr_ipv4": "aws.https_from, aws.dicom_from, aws.management_from or modalities",
    "db_subnet_group_name": "aws.network",
    "deletion_protection": "aws.production",
    "desired_capacity": "aws.hosts",
    "disable_api_termination": "aws.production",
    "enable_deletion_protection": "aws.production",
    "engine_version": "aws.database.version",
    "force_destroy": "aws.production",
    "force_delete": "aws.production",
    "identifier": "name",
    "identifier_prefix": "name",
    "instance_class": "aws.database.instance_class",
    "instance_type": "aws.instance_type",
    "max_allocated_storage": "aws.database.max_storage",
    "min_size": "aws.hosts",
    "max_size": "aws.hosts",
    "multi_az": "aws.topology",
    "name": "name",
    "object_lock_enabled": "aws.object_lock_days",
    "recovery_window_in_days": "aws.production",
    "retention_in_days": "aws.log_retention",
    "snapshot_identifier": "aws.database.snapshot",
    "tags": "aws.tags",
    "tags_all": "aws.tags",
}
"""The keys of the site file that arguments of resources come from."""

BEHIND: Final[Mapping[str, str]] = {"aws_lb": "aws.topology"}
"""The keys that decide whether something is there at all."""

PAUSES: Final[Mapping[tuple[str, str], str]] = {
    ("aws_instance", "instance_type"): "the host is stopped for it: the site is away for some minutes",
    ("aws_db_instance", "instance_class"): "the database restarts for it: the site is away for some minutes",
    ("aws_db_instance", "engine_version"): "the database restarts for it: the site is away for some minutes",
}
"""Changes that a person who plans them should know the price of, by the resource's type and the argument.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/change-instance-type-of-ebs-backed-instance.html
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.DBInstance.Modifying.html
"""

_PARAMETERS: Final = {
    "site": "the site file; running hosts take it up, one after the other",
    "images": "container images; running hosts take them up, one after the other",
    "deployment": "what the hosts know of the account; running hosts take it up, one after the other",
}


@dataclass(frozen=True)
class Change:
    """What a plan does with one resource.

    Parameters
    ----------
    arguments : the top-level arguments that change (of a change or replacement).
    forcing : those of them that make it a replacement.
    reason : Terraform's own word for a replacement or removal, such as ``replace_because_tainted``.
    protected : AWS refuses to delete it, as it is now.
    """

    action: Action
    address: str
    type: str
    arguments: tuple[str, ...] = ()
    forcing: tuple[str, ...] = ()
    reason: str = ""
    protected: bool = False

    @property
    def keys(self) -> list[str]:
        """The keys of the site file that this comes from, as far as they are known."""
        found = [KEYS[each] for each in (self.forcing or self.arguments) if each in KEYS]
        return list(dict.fromkeys(found))


def changes(plan: Mapping[str, Any]) -> list[Change]:
    """Read a plan's JSON; notes of Terraform itself and data sources are left out."""
    found = []
    for each in plan.get("resource_changes", ()):
        action = _action(each["change"]["actions"])
        if each.get("mode") != "managed" or action is None or each["type"] == "terraform_data":
            continue
        found.append(
            Change(
                action,
                each["address"],
                each["type"],
                tuple(_arguments(each["change"])) if action in ("change", "replace") else (),
                tuple(dict.fromkeys(str(path[0]) for path in each["change"].get("replace_paths") or () if path)),
                str(each.get("action_reason") or ""),
                is_protected(each["change"].get("before") or {}),
            )
        )
    return found


def is_protected(values: Mapping[str, Any]) -> bool:
    """Tell whether AWS refuses to delete a resource, by its arguments: a database, a load balancer."""
    return bool(values.get("deletion_protection") or values.get("enable_deletion_protection"))


def gone(plan: Mapping[str, Any]) -> list[str]:
    """Name what holds data or keys and is in the state, but was deleted from the account by hand."""
    return [
        named(each["type"], each["address"])
        for each in plan.get("resource_drift", ())
        if each.get("mode") == "managed" and each["type"] in KEPT and _action(each["change"]["actions"]) == "delete"
    ]


def _action(actions: Sequence[str]) -> Action | None:
    if "delete" in actions and "create" in actions:
        return "replace"
    for name, action in (("create", "create"), ("update", "change"), ("delete", "delete")):
        if name in actions:
            return action  # type: ignore[return-value]
    return None


def _arguments(change: Mapping[str, Any]) -> Iterator[str]:
    before, after = change.get("before") or {}, change.get("after") or {}
    unknown = {name for name, value in (change.get("after_unknown") or {}).items() if value}
    differing = [
        name
        for name in sorted({*before, *after, *unknown})
        if before.get(name) != after.get(name) and name != "tags_all"
    ]
    # What only AWS knows, such as the next address, follows from what is changed.
    yield from [name for name in differing if name not in unknown] or differing


def items(found: Sequence[Change]) -> list[PlanItem]:
    """Give the lines of a plan: equal things together, single ones with what about them changes."""
    result = []
    for action in ORDER:
        of_action = [each for each in found if each.action == action]
        groups: dict[tuple[str, str], list[Change]] = {}
        for each in of_action:
            # Of what changes it matters what about it does: only what changes in the same way is one line.
            groups.setdefault((kind(each.type), _why(each) if action == "change" else ""), []).append(each)
        for (words, why), members in groups.items():
            one = members[0]
            what = named(one.type, one.address) if len(members) == 1 else counted(len(members), words)
            result.append(PlanItem(action, what, why or (_why(one) if len(members) == 1 else _list(members))))
    return result


def _why(change: Change) -> str:
    if change.type == "aws_ssm_parameter" and change.action == "change":
        inner = re.search(r'\["(.+)"]$', change.address)
        if inner is not None:
            return _PARAMETERS.get(inner[1], f"{inner[1]}; running hosts take it up, one after the other")
    if change.action in ("create", "delete"):
        return change.address.removeprefix("module.")
    if change.reason == TAINTED:
        return "its making was interrupted"
    arguments = ", ".join(change.forcing or change.arguments) or "its settings"
    why = f"{arguments} ({', '.join(change.keys)})" if change.keys else arguments
    pauses = (PAUSES.get((change.type, each)) for each in change.arguments if change.action == "change")
    return "; ".join(dict.fromkeys([why, *filter(None, pauses)]))


def _list(members: Sequence[Change]) -> str:
    modules = dict.fromkeys(re.sub(r"^module\.([\w-]+).*", r"\1", each.address) for each in members)
    return ", ".join(modules)


def tally(found: Sequence[Change]) -> str:
    """Sum a plan up in one line."""
    counts = Counter(each.action for each in found)
    if not counts:
        return "nothing to change"
    first, *others = [(counts[action], VERBS[action]) for action in ORDER if counts[action]]
    noun = "resource" if first[0] == 1 else "resources"
    return ", ".join([f"{first[0]} {noun} to {first[1]}", *(f"{number} to {verb}" for number, verb in others)])


def interrupted(found: Sequence[Change]) -> list[str]:
    """Name what would be replaced only because its making was interrupted, and holds data: it is kept instead."""
    return [each.address for each in found if each.type in KEPT and each.reason == TAINTED]


def refuse(found: Sequence[Change], moved: Sequence[str] = ()) -> None:
    """Refuse a plan that would replace or remove what holds data or keys.

    Parameters
    ----------
    moved : keys of the site file that differ from what the site was made with, and that everything hangs on.

    Raises
    ------
    UsageError : a line for each, with the key that causes it and what would be lost.
    """
    going = [each for each in found if each.action in ("replace", "delete")]
    lost = [each for each in going if each.type in KEPT]
    if not lost:
        _refuse_protected([each for each in going if each.protected])
        return
    lines = []
    for each in lost:
        keys = list(moved) or each.keys
        what = f"{named(each.type, each.address)} ({each.address})"
        cause = f"{', '.join(keys)}: " if keys else ""
        because = f" because of {', '.join(each.forcing)}" if each.forcing else ""
        lines.append(f"{cause}would {VERBS[each.action]} the {what}{because}: {KEPT[each.type]}")
    raise UsageError(
        "\n".join(lines),
        "put the key back as it was; for another site use another folder, to remove this one `orthweb destroy --data`",
    )


def _refuse_protected(found: Sequence[Change]) -> None:
    """Refuse what AWS would refuse half way, when other things are gone already."""
    if not found:
        return
    lines = []
    for each in found:
        keys = ", ".join(each.keys) or BEHIND.get(each.type, "")
        what = f"would {VERBS[each.action]} the {named(each.type, each.address)}, which is protected in production"
        lines.append(f"{keys}: {what}" if keys else what)
    raise UsageError(
        "\n".join(lines),
        "set aws.production = false and leave the rest as it was, orthweb up; then make this change, orthweb up; then "
        "set aws.production = true again",
    )

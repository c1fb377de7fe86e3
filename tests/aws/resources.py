"""Resources out of a plan or a state alike, for the tests that judge them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resource:
    """A managed resource: its address, type, and values (of a plan: those that are known)."""

    address: str
    type: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """A statement of a policy document: where it stands, and its parts, each a list."""

    address: str
    argument: str
    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    document: dict[str, Any]


def resources(found: dict[str, Any]) -> list[Resource]:
    """List what is managed in a plan (``terraform show -json``) or in a state (its file)."""
    if "planned_values" in found:
        return list(_planned(found["planned_values"]["root_module"]))
    return list(_kept(found))


def of_type(found: dict[str, Any], *types: str) -> list[Resource]:
    """List the managed resources of some types."""
    return [each for each in resources(found) if each.type in types]


def _planned(module: dict[str, Any]) -> Iterator[Resource]:
    for found in module.get("resources", []):
        if found["mode"] == "managed":
            yield Resource(found["address"], found["type"], found.get("values", {}))
    for child in module.get("child_modules", []):
        yield from _planned(child)


def _kept(state: dict[str, Any]) -> Iterator[Resource]:
    for found in state["resources"]:
        if found["mode"] == "managed":
            module = f"{found['module']}." if "module" in found else ""
            for instance in found["instances"]:
                index = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
                yield Resource(f"{module}{found['type']}.{found['name']}{index}", found["type"], instance["attributes"])


def statements(found: Resource) -> Iterator[Statement]:
    """List the statements of every policy document that a resource holds, whichever argument it is in."""
    for argument, value in found.values.items():
        if not isinstance(value, str) or '"Statement"' not in value:
            continue
        document = json.loads(value)
        for each in _listed(document["Statement"]):
            yield Statement(
                address=found.address,
                argument=argument,
                sid=each.get("Sid", ""),
                effect=each["Effect"],
                actions=tuple(_listed(each.get("Action", []))),
                resources=tuple(_listed(each.get("Resource", []))),
                document=each,
            )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]

"""What a Terraform plan says there will be (the JSON of ``terraform show -json``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthweb.errors import UsageError


@dataclass(frozen=True)
class Resource:
    """A resource as it will be after the plan.

    Parameters
    ----------
    address : ``module.network.aws_vpc.this``.
    values : its arguments, as far as they are known before it exists.
    """

    address: str
    type: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """All managed resources after a plan, and the region they are for (None when the plan does not say)."""

    resources: tuple[Resource, ...]
    region: str | None

    def of(self, *types: str) -> tuple[Resource, ...]:
        """Give the resources of some types."""
        return tuple(resource for resource in self.resources if resource.type in types)

    @property
    def zones(self) -> int:
        """In how many availability zones there are subnets, one at least."""
        names = {resource.values.get("availability_zone") for resource in self.of("aws_subnet")}
        return max(1, len(names - {None}))


def parse(document: object) -> Plan:
    """Take from a plan's, or a state's, JSON what is needed here.

    Raises
    ------
    UsageError : the document is neither.
    """
    after = (document.get("planned_values") or document.get("values")) if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(after, Mapping) or "root_module" not in after:
        raise UsageError("not a Terraform plan: it has no planned_values", "make one: terraform show -json PLANFILE")
    resources = tuple(_resources(after["root_module"]))
    return Plan(resources, _region(document, resources))


def read(path: Path) -> Plan:
    """Read a plan's JSON from a file.

    Raises
    ------
    UsageError : there is no such file, or it is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", "`orthweb plan` makes a plan; or name one with --plan") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}", "make it: terraform show -json PLANFILE") from error
    return parse(document)


def _resources(module: Mapping[str, Any]) -> Iterator[Resource]:
    for resource in module.get("resources", ()):
        if resource.get("mode", "managed") == "managed":
            yield Resource(resource["address"], resource["type"], resource.get("values") or {})
    for child in module.get("child_modules", ()):
        yield from _resources(child)


def _region(document: Mapping[str, Any], resources: tuple[Resource, ...]) -> str | None:
    given = document.get("variables", {}).get("region", {}).get("value")
    if given:
        return str(given)
    for resource in resources:
        zone = resource.values.get("availability_zone")
        if isinstance(zone, str) and zone[-1:].isalpha():
            return zone[:-1]
    return None

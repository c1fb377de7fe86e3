"""How IAM judges a request by policy documents: as much of it as the deployer's policy uses.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

Statement = Mapping[str, Any]
Context = Mapping[str, str]


def allows(statements: Iterable[Statement], action: str, resource: str, context: Context | None = None) -> bool:
    """Tell whether any statement allows an action on a resource (its ARN, or ``*``: all of the action's resources).

    Parameters
    ----------
    context : condition keys that the request has, with their values (``aws:ResourceTag/orthweb:site``).
    """
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
        and holds(statement.get("Condition", {}), context or {})
        for statement in statements
    )


def holds(condition: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Tell whether every test of a condition holds; one about a key that the request does not have fails."""
    return all(
        _test(operator, context.get(key), listed(value))
        for operator, tests in condition.items()
        for key, value in tests.items()
    )


def _test(operator: str, found: str | None, wanted: list[str]) -> bool:
    if operator == "Null":
        return (found is None) == (wanted == ["true"])
    if operator not in ("StringEquals", "ArnEquals"):
        raise NotImplementedError(operator)
    return found in wanted


def listed(value: str | list[str]) -> list[str]:
    """Give what may stand alone or in a list."""
    return value if isinstance(value, list) else [value]

"""What moto 5.2 lacks of the operations that Orthweb and Terraform's AWS provider call, one module a service.

Each says why it is there. The rest of the project knows nothing of them: nothing is bent for the emulator's sake.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

MODULES = (
    "autoscaling",
    "backup",
    "cloudtrail",
    "ec2",
    "ecr",
    "elbv2",
    "kms",
    "rds",
    "route53",
    "s3",
    "secretsmanager",
)

told: dict[str, Callable[..., None]] = {}
"""What the tests may say to the server (``POST /_emulator/<name>``), by name."""


def apply() -> None:
    """Change moto in this process."""
    for module in MODULES:
        importlib.import_module(f"aws.emulator.patches.{module}")


def order(function: Callable[..., None]) -> Callable[..., None]:
    """Let the tests call a function of the server's process."""
    told[function.__name__] = function
    return function


refusals: dict[str, tuple[str, str, int]] = {}
"""Operations (``ec2:CreateVpc``) that are refused instead of done: code, words and HTTP status of the answer."""


@order
def refuse(operation: str, code: str, message: str, status: int) -> None:
    """See `Emulator.refuse`."""
    if code:
        refusals[operation] = code, message, status
    else:
        refusals.pop(operation, None)


def adds(owner: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a class of moto's a method that it lacks; once moto has it, the patch is to go."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        assert not hasattr(owner, name), f"moto has {owner.__name__}.{name} by now: remove the patch"
        setattr(owner, name, function)
        return function

    return add


def replaces(owner: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function in the place of a method of moto's; it is called with the former one first."""

    def replace(function: Callable[..., Any]) -> Callable[..., Any]:
        former = getattr(owner, function.__name__)

        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            return function(former, self, *arguments, **named)

        call.__name__ = function.__name__
        setattr(owner, function.__name__, call)
        return function

    return replace

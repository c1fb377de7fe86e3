"""Elastic Load Balancing: to delete a target group that is gone already is no error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.elbv2.models import ELBv2Backend

from aws.emulator.patches import replaces


# DeleteTargetGroup has no such error; a client that repeats a call whose answer it did not get counts on that.
@replaces(ELBv2Backend)
def delete_target_group(former: Callable[..., Any], self: Any, target_group_arn: str) -> Any:
    """Delete it, if it is there."""
    return former(self, target_group_arn) if target_group_arn in self.target_groups else None

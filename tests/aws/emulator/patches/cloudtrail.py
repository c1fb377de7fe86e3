"""AWS CloudTrail: a trail is deleted by its ARN as well as by its name; moto ignores the ARN."""

from __future__ import annotations

from typing import Any

from moto.cloudtrail.models import CloudTrailBackend

from aws.emulator.patches import replaces


@replaces(CloudTrailBackend)
def delete_trail(former: Any, self: Any, name: str) -> Any:
    return former(self, self.get_trail(name).trail_name)

"""Amazon Route 53: ids of hosted zones, which begin with a Z; those of moto do not."""

from __future__ import annotations

from typing import Any

from moto.route53.models import HostedZoneIdentifier

from aws.emulator.patches import replaces


@replaces(HostedZoneIdentifier)
def generate(former: Any, self: Any, **named: Any) -> str:
    return f"Z{former(self, **named)[1:]}"

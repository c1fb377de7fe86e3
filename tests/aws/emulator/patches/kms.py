"""AWS KMS: the period of a key's rotation, which the provider reads back."""

from __future__ import annotations

import json
from typing import Any

from moto.kms.responses import KmsResponse

from aws.emulator.patches import replaces

DAYS = 365


def _key(self: Any) -> Any:
    backend = self.kms_backend
    return backend.keys[backend.get_key_id(self._get_param("KeyId"))]


@replaces(KmsResponse)
def enable_key_rotation(former: Any, self: Any) -> Any:
    answer = former(self)
    _key(self).rotation_days = self._get_param("RotationPeriodInDays") or DAYS
    return answer


@replaces(KmsResponse)
def get_key_rotation_status(former: Any, self: Any) -> Any:
    status = json.loads(former(self))
    if status["KeyRotationEnabled"]:
        status["RotationPeriodInDays"] = getattr(_key(self), "rotation_days", DAYS)
    return json.dumps(status)

"""EC2 Auto Scaling: instance refresh, completion of lifecycle actions, and the warm-up that a group was given."""

from __future__ import annotations

import uuid
from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow

from aws.emulator.patches import adds, replaces


def _group(self: Any) -> Any:
    name = self._get_param("AutoScalingGroupName")
    groups = self.autoscaling_backend.describe_auto_scaling_groups([name], filters=[])
    if not groups:
        raise AutoscalingClientError("ValidationError", f"AutoScalingGroup name not found - no such group: {name}")
    return groups[0]


def _keep_warmup(former: Any, self: Any) -> Any:
    answer = former(self)
    warmup = self._get_int_param("DefaultInstanceWarmup")
    if warmup is not None:
        _group(self).default_instance_warmup = warmup
    return answer


# Without it the provider sees another warm-up than it asked for, in every plan.
@replaces(AutoScalingResponse)
def create_auto_scaling_group(former: Any, self: Any) -> Any:
    return _keep_warmup(former, self)


@replaces(AutoScalingResponse)
def update_auto_scaling_group(former: Any, self: Any) -> Any:
    return _keep_warmup(former, self)


# A host says that it is ready; moto's instances are in service at once, so that there is nothing to change.
@adds(AutoScalingResponse)
def complete_lifecycle_action(self: Any) -> ActionResult:
    group, hook = _group(self), self._get_param("LifecycleHookName")
    if not self.autoscaling_backend.describe_lifecycle_hooks(group.name, [hook]):
        raise AutoscalingClientError("ValidationError", f"No Lifecycle Hook found for hook {hook}")
    if self._get_param("LifecycleActionResult") not in ("CONTINUE", "ABANDON"):
        raise AutoscalingClientError("ValidationError", "LifecycleActionResult must be CONTINUE or ABANDON")
    return EmptyResult()


@adds(AutoScalingResponse)
def record_lifecycle_action_heartbeat(self: Any) -> ActionResult:
    _group(self)
    return EmptyResult()


# A new launch template rolls the group: one that is over at once.
@adds(AutoScalingResponse)
def start_instance_refresh(self: Any) -> ActionResult:
    group = _group(self)
    refresh = {
        "InstanceRefreshId": str(uuid.uuid4()),
        "AutoScalingGroupName": group.name,
        "Status": "Successful",
        "StartTime": utcnow(),
        "EndTime": utcnow(),
        "PercentageComplete": 100,
        "InstancesToUpdate": 0,
    }
    group.__dict__.setdefault("refreshes", []).insert(0, refresh)
    return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})


@adds(AutoScalingResponse)
def describe_instance_refreshes(self: Any) -> ActionResult:
    return ActionResult({"InstanceRefreshes": _group(self).__dict__.get("refreshes", [])})

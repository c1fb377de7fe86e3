"""Tell the auto scaling group that waits for this instance that it serves."""

from __future__ import annotations

from orthweb.host.account import AwsAccount, AwsError, told
from orthweb.host.parameters import Deployment


def complete(account: AwsAccount, deployment: Deployment, instance: str) -> bool:
    """Complete the launching hook of this instance; tell whether somebody waited for it.

    Raises
    ------
    AwsError : AWS does not take it.
    """
    if not deployment.autoscaling_group or not deployment.lifecycle_hook:
        return False
    try:
        with told(f"auto scaling group {deployment.autoscaling_group}"):
            account.client("autoscaling").complete_lifecycle_action(
                AutoScalingGroupName=deployment.autoscaling_group,
                LifecycleHookName=deployment.lifecycle_hook,
                LifecycleActionResult="CONTINUE",
                InstanceId=instance,
            )
    except AwsError as error:
        # An instance that is in service already, as after a restart of the agent; or one that is not waited for yet.
        if error.code.startswith("ValidationError"):
            return False
        raise
    return True


def beat(account: AwsAccount, deployment: Deployment, instance: str) -> None:
    """Say that this instance still waits for something that others make, so that it is not given up.

    Raises
    ------
    AwsError : AWS does not take it.
    """
    if not deployment.autoscaling_group or not deployment.lifecycle_hook:
        return
    with told(f"auto scaling group {deployment.autoscaling_group}"):
        account.client("autoscaling").record_lifecycle_action_heartbeat(
            AutoScalingGroupName=deployment.autoscaling_group,
            LifecycleHookName=deployment.lifecycle_hook,
            InstanceId=instance,
        )

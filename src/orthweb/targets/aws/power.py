"""Stop what costs by the hour, and start it again: hosts and database. Nothing is removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError
from orthweb.targets.aws import hosts
from orthweb.targets.base import Done, PlanItem, Report

START_SECONDS: Final = 30 * 60.0
"""RDS takes some minutes to start an instance, and more to make one."""

BUSY: Final = ("creating", "starting", "stopping", "rebooting")
"""States in which RDS changes nothing."""


def index_of(name: str) -> str:
    """Give the identifier of a site's database."""
    return f"{name}-index"


def database(session: Session, identifier: str) -> dict[str, Any] | None:
    """Look at the database; None when there is none.

    Raises
    ------
    AwsError : AWS does not say.
    """
    try:
        with told(f"database {identifier}"):
            found = session.client("rds").describe_db_instances(DBInstanceIdentifier=identifier)
    except AwsError as error:
        if hosts.is_missing(error):
            return None
        raise
    return dict(found["DBInstances"][0])


def start(session: Session, name: str, report: Report, sleep: Callable[[float], None] = time.sleep) -> list[PlanItem]:
    """Start what `stop` stopped; see `start_database`. Say what was started."""
    items = start_database(session, name, report, sleep)
    stopped = [each.identity for each in hosts.instances(session, name) if each.state == "stopped"]
    if stopped:
        # What they said before they were stopped would be taken for what they say now.
        hosts.forget(session, name, stopped)
        with told("hosts"):
            session.client("ec2").start_instances(InstanceIds=stopped)
        items += [PlanItem("start", f"host {identity}", "was stopped") for identity in stopped]
    changed = arm(session, name, report, on=True)
    if changed:
        items.append(PlanItem("start", f"alarms ({changed})", "were silent while the site was stopped"))
    return items


def start_database(
    session: Session, name: str, report: Report, sleep: Callable[[float], None] = time.sleep
) -> list[PlanItem]:
    """Start the database, and wait for one that an interrupted call began to make: Terraform could change neither."""
    items = []
    waited = 0.0
    identifier = index_of(name)
    while (found := database(session, identifier)) is not None:
        status = str(found["DBInstanceStatus"])
        if status == "stopped":
            with told(f"database {identifier}"):
                session.client("rds").start_db_instance(DBInstanceIdentifier=identifier)
            items.append(PlanItem("start", "database", "was stopped"))
            status = "starting"
        elif status not in BUSY:
            break
        if waited > START_SECONDS:
            raise OrthwebError(
                f"database {identifier}: {status} for {waited / 60:.0f} minutes", "repeat orthweb up later"
            )
        report(f"database {identifier}: {status} (usually a few minutes)")
        sleep(10.0)
        waited += 10.0
    return items


def arm(session: Session, name: str, report: Report, *, on: bool) -> int:
    """Let the alarms be mailed, or not while the site is stopped; give how many that changes. Nothing hangs on it."""
    try:
        chosen = [alarm for alarm, armed in alarms(session, name).items() if armed != on]
        client = session.client("cloudwatch")
        with told("alarms"):
            if chosen:
                (client.enable_alarm_actions if on else client.disable_alarm_actions)(AlarmNames=chosen)
    except AwsError as error:
        report(Done(f"! the alarms stay {'silent' if on else 'armed'}: {error.message}"))
        return 0
    return len(chosen)


def alarms(session: Session, name: str) -> dict[str, bool]:
    """List the alarms that are mailed to a site's people, and whether they are armed."""
    found = {}
    # The prefix finds those of a site NAME-2 as well; the topic is the site's own.
    topic = f":{name}-alarms"
    with told("alarms"):
        pages = session.client("cloudwatch").get_paginator("describe_alarms")
        for page in pages.paginate(AlarmNamePrefix=f"{name}-", AlarmTypes=["MetricAlarm"]):
            for each in page["MetricAlarms"]:
                if any(action.endswith(topic) for action in each.get("AlarmActions", ())):
                    found[str(each["AlarmName"])] = bool(each["ActionsEnabled"])
    return found


def stop(session: Session, name: str, report: Report) -> bool:
    """Stop hosts and database; tell whether any of them ran.

    Raises
    ------
    AwsError : AWS refuses.
    """
    ran = False
    # A group of hosts has the site's name. It is asked for, and not remembered: an interrupted `up` may have made it.
    size = hosts.group_size(session, name)
    running = [each.identity for each in hosts.instances(session, name) if each.state in hosts.COMING]
    if (size or running) and (changed := arm(session, name, report, on=False)):
        report(Done(f"alarms ({changed}): silent until orthweb up"))
    if size:
        with told(f"group of hosts {name}"):
            session.client("autoscaling").update_auto_scaling_group(
                AutoScalingGroupName=name, MinSize=0, DesiredCapacity=0
            )
        report(Done(f"group of hosts {name}: ends its hosts"))
        ran = True
    if running and size is None:
        with told("hosts"):
            session.client("ec2").stop_instances(InstanceIds=running)
        report(Done(f"host {', '.join(running)}: stops"))
        ran = True
    identifier = index_of(name)
    found = database(session, identifier)
    if found is not None and found["DBInstanceStatus"] == "available":
        with told(f"database {identifier}"):
            session.client("rds").stop_db_instance(DBInstanceIdentifier=identifier)
        report(Done(f"database {identifier}: stops (AWS starts it again after 7 days; orthweb down stops it again)"))
        ran = True
    return ran

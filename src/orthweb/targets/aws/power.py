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
    """Start what `stop` stopped, and wait for a database that an interrupted call began to make: Terraform could
    change neither. Say what was started.
    """
    items = []
    waited = 0.0
    identifier = index_of(name)
    while (found := database(session, identifier)) is not None:
        status = str(found["DBInstanceStatus"])
        if status == "stopped":
            with told(f"database {identifier}"):
                session.client("rds").start_db_instance(DBInstanceIdentifier=identifier)
            items.append(PlanItem("start", "database", "was stopped"))
        elif status not in BUSY:
            break
        if waited > START_SECONDS:
            raise OrthwebError(
                f"database {identifier}: {status} for {waited / 60:.0f} minutes", "repeat orthweb up later"
            )
        report(f"database {identifier}: {status} (usually a few minutes)")
        sleep(10.0)
        waited += 10.0
    stopped = [each.identity for each in hosts.instances(session, name) if each.state == "stopped"]
    if stopped:
        with told("hosts"):
            session.client("ec2").start_instances(InstanceIds=stopped)
        items += [PlanItem("start", f"host {identity}", "was stopped") for identity in stopped]
    return items


def stop(session: Session, name: str, group: str, report: Report) -> bool:
    """Stop hosts and database; tell whether any of them ran.

    Raises
    ------
    AwsError : AWS refuses.
    """
    ran = False
    if group and hosts.group_size(session, group):
        with told(f"group of hosts {group}"):
            session.client("autoscaling").update_auto_scaling_group(
                AutoScalingGroupName=group, MinSize=0, DesiredCapacity=0
            )
        report(Done(f"group of hosts {group}: ends its hosts"))
        ran = True
    running = [each.identity for each in hosts.instances(session, name) if each.state in hosts.COMING]
    if running and not group:
        with told("hosts"):
            session.client("ec2").stop_instances(InstanceIds=running)
        report(Done(f"host {', '.join(running)}: stops"))
        ran = True
    identifier = index_of(name)
    found = database(session, identifier)
    if found is not None and found["DBInstanceStatus"] == "available":
        with told(f"database {identifier}"):
            session.client("rds").stop_db_instance(DBInstanceIdentifier=identifier)
        report(Done(f"database {identifier}: stops (AWS starts it again after 7 days)"))
        ran = True
    return ran

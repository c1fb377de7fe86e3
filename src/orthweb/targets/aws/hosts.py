"""The hosts of a site, as they say of themselves and as EC2 says of them; and waiting until they serve."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError
from orthweb.host.status import STALE
from orthweb.targets.base import Done, Report

READY_SECONDS: Final = 15 * 60.0
"""So long hosts may take once everything else is there."""

FAILED_SECONDS: Final = 90.0
"""A host tries again by itself; when it says for so long that it failed, a person is told."""

POLL: Final = 5.0

COMING: Final = frozenset({"pending", "running"})


@dataclass(frozen=True)
class Instance:
    """An instance of the site.

    Parameters
    ----------
    state : EC2's word: pending, running, stopping, stopped.
    launched : when it was started last (aware).
    """

    identity: str
    state: str
    zone: str
    launched: datetime


@dataclass(frozen=True)
class HostReport:
    """What a host said last.

    Parameters
    ----------
    at : when (aware); None when that cannot be read.
    site : SHA-256 of the site file that it applied.
    images : references that it runs, by role.
    lines : the end of its log, when it failed.
    """

    state: str
    at: datetime | None
    message: str
    site: str
    images: Mapping[str, str]
    lines: tuple[str, ...]

    def stale(self, now: datetime) -> bool:
        """Tell whether it said nothing for so long that it is no longer true."""
        return self.at is None or now - self.at > STALE

    def of_this_start(self, instance: Instance) -> bool:
        """Tell whether it was said after the instance was started last: what was said before is over."""
        return self.at is not None and self.at >= instance.launched


@dataclass(frozen=True)
class Wanted:
    """What hosts should have applied.

    Parameters
    ----------
    site : SHA-256 of the site parameter.
    images : references by role.
    """

    site: str
    images: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """All that the parameters say: what is wanted, and what each host said."""

    wanted: Wanted
    reports: Mapping[str, HostReport]


def read(session: Session, prefix: str) -> Found:
    """Read the site's parameters.

    Raises
    ------
    AwsError : AWS does not give them.
    """
    found: dict[str, str] = {}
    with told(f"parameters {prefix}"):
        for page in session.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=prefix, Recursive=True):
            found |= {str(each["Name"]).removeprefix(f"{prefix}/"): str(each["Value"]) for each in page["Parameters"]}
    site = found.get("site", "")
    digest = hashlib.sha256(site.encode() if site.strip() else b"").hexdigest()
    reports = {name.removeprefix("hosts/"): _report(text) for name, text in found.items() if name.startswith("hosts/")}
    return Found(Wanted(digest, _object(found.get("images", ""))), reports)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _report(text: str) -> HostReport:
    found = _object(text)
    try:
        at: datetime | None = datetime.fromisoformat(str(found.get("at", ""))).astimezone(UTC)
    except ValueError:
        at = None
    images = found.get("images")
    lines = found.get("lines")
    return HostReport(
        str(found.get("state", "")),
        at,
        str(found.get("message", "")),
        str(found.get("site", "")),
        images if isinstance(images, dict) else {},
        tuple(str(line) for line in lines) if isinstance(lines, list) else (),
    )


def instances(session: Session, name: str) -> list[Instance]:
    """List the site's instances that are there or coming.

    Raises
    ------
    AwsError : AWS does not say.
    """
    filters = [
        {"Name": "tag:orthweb:site", "Values": [name]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    found = []
    with told("hosts"):
        for page in session.client("ec2").get_paginator("describe_instances").paginate(Filters=filters):
            for reservation in page["Reservations"]:
                found += [
                    Instance(
                        each["InstanceId"],
                        each["State"]["Name"],
                        each["Placement"]["AvailabilityZone"],
                        each["LaunchTime"],
                    )
                    for each in reservation["Instances"]
                ]
    return sorted(found, key=lambda each: each.identity)


def group_size(session: Session, group: str) -> int | None:
    """Ask how many hosts an Auto Scaling group should have; None when there is no such group."""
    with told(f"group of hosts {group}"):
        found = session.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
    groups = found["AutoScalingGroups"]
    return int(groups[0]["DesiredCapacity"]) if groups else None


def refreshing(session: Session, group: str) -> bool:
    """Tell whether the hosts of a group are being replaced, one after the other."""
    with told(f"group of hosts {group}"):
        found = session.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=group, MaxRecords=1)
    refreshes = found.get("InstanceRefreshes", ())
    return bool(refreshes) and refreshes[0]["Status"] in ("Pending", "InProgress", "Baking")


def applied(report: HostReport, wanted: Wanted) -> bool:
    """Tell whether a host serves what it should."""
    return report.state == "ready" and report.site == wanted.site and report.images == wanted.images


class Waiting:
    """Waits until every host serves what it should, and says what they are at.

    Parameters
    ----------
    group : name of the Auto Scaling group; empty for a single host.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        group: str,
        report: Report,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = FAILED_SECONDS,
        deadline: float = READY_SECONDS,
    ) -> None:
        self._session = session
        self._name = name
        self._group = group
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._deadline = deadline
        self._said: dict[str, tuple[str, str]] = {}
        self._failing: dict[str, float] = {}

    def run(self) -> list[str]:
        """Wait; give the ids of the hosts.

        Raises
        ------
        OrthwebError : one failed, or they took too long; has its last lines.
        AwsError : AWS does not say.
        """
        started = self._clock()
        while True:
            ready, missing = self._look()
            if not missing:
                return ready
            if self._clock() - started > self._deadline:
                raise OrthwebError(
                    f"not ready after {self._deadline / 60:.0f} minutes: {'; '.join(missing)}",
                    "orthweb status, orthweb logs host; orthweb up can be repeated",
                )
            self._sleep(POLL)

    def _look(self) -> tuple[list[str], list[str]]:
        """Give the hosts that serve what they should, and what there is still to wait for."""
        found = read(self._session, f"/orthweb/{self._name}")
        there = [each for each in instances(self._session, self._name) if each.state in COMING]
        now = datetime.now(UTC)
        ready, missing = [], []
        for each in there:
            said = found.reports.get(each.identity)
            if said is None or not said.of_this_start(each):
                missing.append(f"{each.identity}: booting")
                continue
            self._tell(each.identity, said)
            if said.stale(now):
                missing.append(f"{each.identity}: says nothing any more (last: {_state(said)})")
            elif applied(said, found.wanted):
                ready.append(each.identity)
            else:
                self._judge(each.identity, said)
                missing.append(f"{each.identity}: {_state(said)}")
        wanted = (group_size(self._session, self._group) or 0) if self._group else 1
        if len(ready) < wanted and not missing:
            missing.append(f"{wanted - len(there)} more of {wanted} hosts have to start")
        if self._group and not missing and refreshing(self._session, self._group):
            missing.append("hosts are being replaced, one after the other")
        if missing:
            self._report(f"waiting for {'; '.join(missing)}")
        return ready, missing

    def _tell(self, identity: str, said: HostReport) -> None:
        now = (said.state, said.message)
        if self._said.get(identity) != now:
            self._said[identity] = now
            self._report(Done(f"host {identity}: {_state(said)}"))

    def _judge(self, identity: str, said: HostReport) -> None:
        if said.state != "failed":
            self._failing.pop(identity, None)
            return
        since = self._failing.setdefault(identity, self._clock())
        if self._clock() - since >= self._patience:
            raise OrthwebError(
                "\n".join([f"host {identity} failed: {said.message}", *(f"  {line}" for line in said.lines)]),
                "orthweb logs host; the host goes on trying, and orthweb up can be repeated",
            )


def _state(said: HostReport) -> str:
    return f"{said.state}, {said.message}" if said.message else said.state


def forget(session: Session, name: str, identities: Collection[str] | None = None) -> None:
    """Delete what hosts said of themselves; None: all of them."""
    prefix = f"/orthweb/{name}"
    said = read(session, prefix).reports
    names = [f"{prefix}/hosts/{each}" for each in said if identities is None or each in identities]
    with told(f"parameters {prefix}/hosts"):
        for start in range(0, len(names), 10):
            session.client("ssm").delete_parameters(Names=names[start : start + 10])


def forget_gone(session: Session, name: str) -> None:
    """Delete what hosts said that are no more."""
    there = {each.identity for each in instances(session, name)}
    forget(session, name, read(session, f"/orthweb/{name}").reports.keys() - there)


def is_missing(error: AwsError) -> bool:
    """Tell whether AWS said that there is no such thing."""
    return "NotFound" in error.code or error.code.startswith("NoSuch")

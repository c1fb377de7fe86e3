"""What still carries a site's tag once the site is gone from AWS."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.errors import UsageError
from orthweb.targets.base import Report, quiet

SECRETS: Final = ("admin", "certificate", "index", "site", "tls")
"""The site's secrets (terraform/modules/secrets)."""

PATIENCE: Final = 120.0
"""Seconds until what AWS still lists is told to a person: it lists removed things for a while, some for an hour."""


def check_name(session: Session, name: str) -> None:
    """Refuse the name of a site that was removed in production, as long as AWS keeps its secrets.

    Raises
    ------
    UsageError : names the day, and how to have the name before.
    AwsError : AWS does not say.
    """
    waiting = {}
    for which in SECRETS:
        try:
            with told(f"secret orthweb/{name}/{which}"):
                found = session.client("secretsmanager").describe_secret(SecretId=f"orthweb/{name}/{which}")
        except AwsError as error:
            if error.code != "ResourceNotFound":
                raise
            continue
        if "DeletedDate" in found:
            waiting[which] = found["DeletedDate"]
    if waiting:
        raise UsageError(
            f"name: {name}: a site of this name was removed; AWS keeps its secrets until "
            f"{max(waiting.values()):%Y-%m-%d}, and the name is not free before",
            "choose another name; or, when nobody needs these passwords and keys any more: "
            f"`for each in {' '.join(waiting)}; do aws secretsmanager delete-secret --force-delete-without-recovery "
            f"--region {session.region} --secret-id orthweb/{name}/$each; done`",
        )


def lasting(
    session: Session,
    name: str,
    removed: Collection[str],
    report: Report = quiet,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Wait for what is still listed to go, as long as that is worth it; give the ARNs of what does not."""
    started = clock()
    while left := list(leftovers(session, name, removed)):
        if clock() - started >= PATIENCE:
            break
        report(f"waiting for AWS to forget {left[0]}" + (f" and {len(left) - 1} more" if len(left) > 1 else ""))
        sleep(10.0)
    return left


def leftovers(session: Session, name: str, removed: Collection[str] = ()) -> Iterator[str]:
    """List what carries the site's tag and is not on its way out: ARNs.

    The final snapshot, and keys and secrets that AWS deletes after their waiting period, are meant to be there.
    https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html

    Parameters
    ----------
    removed : ARNs and ids of what Terraform removed: AWS lists what was tagged as well as what is.
    """
    with told("resources of the site"):
        pages = session.client("resourcegroupstaggingapi").get_paginator("get_resources")
        found = [
            str(each["ResourceARN"])
            for page in pages.paginate(TagFilters=[{"Key": "orthweb:site", "Values": [name]}])
            for each in page["ResourceTagMappingList"]
        ]
    for arn in sorted(found):
        service, resource = arn.split(":", 5)[2], arn.split(":", 5)[5]
        if service == "rds" and resource.startswith("snapshot:"):
            continue
        if {arn, resource.rpartition("/")[2], resource.partition(":")[2]} & set(removed) - {""}:
            continue
        if not _gone(session, service, resource, arn):
            yield arn


def _gone(session: Session, service: str, resource: str, arn: str) -> bool:
    """Tell whether something that is still listed is over: AWS lists it for an hour or longer."""
    kind, _, identity = resource.partition("/")
    asks: dict[tuple[str, str], Any] = {
        ("ec2", "instance"): lambda client: _state(
            client.describe_instances(InstanceIds=[identity]), "Reservations", "Instances", "State", "Name"
        ),
        ("ec2", "natgateway"): lambda client: _state(
            client.describe_nat_gateways(NatGatewayIds=[identity]), "NatGateways", "State"
        ),
        ("ec2", "vpc-endpoint"): lambda client: _state(
            client.describe_vpc_endpoints(VpcEndpointIds=[identity]), "VpcEndpoints", "State"
        ),
        ("ec2", "volume"): lambda client: _state(client.describe_volumes(VolumeIds=[identity]), "Volumes", "State"),
        ("ec2", "network-interface"): lambda client: _state(
            client.describe_network_interfaces(NetworkInterfaceIds=[identity]), "NetworkInterfaces", "Status"
        ),
        ("kms", "key"): lambda client: client.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"],
        ("secretsmanager", "secret"): lambda client: (
            "deleted" if "DeletedDate" in client.describe_secret(SecretId=arn) else "there"
        ),
    }
    ask = asks.get((service, kind)) or asks.get((service, resource.partition(":")[0]))
    if ask is None:
        return False
    try:
        with told(arn):
            state = str(ask(session.client(service))).lower()
    except AwsError as error:
        return "NotFound" in error.code
    return state in ("terminated", "shutting-down", "deleted", "deleting", "pendingdeletion", "")


def _state(answer: Any, *path: str) -> str:
    """Follow lists and dictionaries to a state; empty when there is nothing."""
    for key in path:
        if isinstance(answer, list):
            if not answer:
                return ""
            answer = answer[0]
        answer = answer.get(key, "")
    return answer if isinstance(answer, str) else ""

"""Remove a site from AWS: what is lost, in numbers; then everything but the final snapshot of the index."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.aws import hosts, planning, power, reaching, work
from orthweb.targets.aws.changes import changes
from orthweb.targets.aws.place import Memory, Place
from orthweb.targets.aws.progress import Progress
from orthweb.targets.aws.terraform import Terraform, find
from orthweb.targets.base import Done, Report, quiet
from orthweb.targets.host import folder

COUNTED: Final = 100_000
"""So many objects of the bucket are counted; more are many."""

UNPROTECTED: Final = "-var=production=false"


def is_production(place: Place) -> bool:
    """Tell whether the site is protected as it is in the account now."""
    return bool(work.known_variables(place.work).get("production", place.site.aws.production))


def losses(place: Place) -> Iterator[str]:
    """Say what would be deleted, as far as it can be counted.

    Raises
    ------
    AwsError : AWS does not take the credentials.
    """
    memory = place.memory()
    if not memory.known:
        yield f"{place.folder}: what is noted of a site on AWS (there is none in the account)"
        return
    session = _session(memory)
    yield f"the site {memory.name} in account {memory.account}, {memory.region}: hosts, network, secrets, certificates"
    yield f"images: {_images(session, place, memory)}"
    identifier = power.index_of(memory.name)
    found = power.database(session, identifier)
    if found is not None:
        yield (
            f"the index: database {identifier} ({found['AllocatedStorage']} GiB) and its automatic backups; a final "
            f"snapshot stays: {memory.output('final_snapshot')}"
        )
    yield "the KMS keys: AWS deletes them after their waiting period, and then nobody can read the snapshot any more"


def _session(memory: Memory) -> Session:
    session = Session(memory.region)
    account = session.identity().account
    if account != memory.account:
        raise UsageError(
            f"these are credentials for account {account}, and the site is in {memory.account}",
            "choose the other profile (AWS_PROFILE)",
        )
    return session


def _images(session: Session, place: Place, memory: Memory) -> str:
    counted = []
    with contextlib.suppress(OrthwebError):
        said = reaching.statistics(reaching.access(place))
        if said:
            counted.append(f"{said['studies']:,} studies, {said['instances']:,} instances")
    bucket = memory.output("bucket")
    if bucket and memory.store == "s3":
        counted.append(f"bucket {bucket}: {_objects(session, bucket)}")
    return "; ".join(counted) or "all of them"


def _objects(session: Session, bucket: str) -> str:
    number = size = 0
    try:
        with told(f"bucket {bucket}"):
            pages = session.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for page in pages:
                found = page.get("Contents", ())
                number += len(found)
                size += sum(int(each["Size"]) for each in found)
                if number >= COUNTED:
                    return f"more than {number:,} objects"
    except AwsError as error:
        if "NoSuchBucket" in error.code:
            return "no objects"
        return f"objects not counted ({error.message})"
    return f"{number:,} objects, {_bytes(size)}"


def _bytes(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def destroy(place: Place, report: Report = quiet, *, unguarded: bool = False) -> None:
    """Remove everything of the site from its account; to be called with the lock held.

    Parameters
    ----------
    unguarded : lift the protection of a site in production first.

    Raises
    ------
    UsageError : the site is in production; nothing was changed.
    OrthwebError : something could not be removed; the call can be repeated.
    """
    memory = place.memory()
    if not memory.known:
        return
    production = is_production(place)
    if production and not unguarded:
        raise UsageError(
            "aws.production: true: this site is protected against its removal",
            "orthweb destroy --data --even-production, when it is really to go",
        )
    session = _session(memory)
    terraform = _terraform(place, session, memory, report)
    power.start(session, memory.name, report)
    given, _ = planning.own_certificate(place) if memory.given else ({}, "")
    if production:
        _lift(terraform, given, report)
    report("Terraform: planning the removal")
    terraform.plan(Progress(report).message, given, ["-destroy", UNPROTECTED])
    terraform.apply(Progress(report).message, given)
    hosts.forget(session, memory.name)
    left = list(leftovers(session, memory.name))
    if left:
        raise OrthwebError(
            "these are left in the account:\n" + "\n".join(f"  {each}" for each in left),
            "repeat orthweb destroy --data in some minutes, or remove them in the AWS console",
        )
    if memory.output("final_snapshot"):
        report(Done(f"the index's final snapshot stays: {memory.output('final_snapshot')}"))


def _lift(terraform: Terraform, given: Mapping[str, str], report: Report) -> None:
    """Take the protection from what there is; make nothing that a call that was interrupted left unmade."""
    report("lifting the protection of database, load balancer, secrets and bucket")
    found = changes(terraform.plan(Progress(report).message, given, [UNPROTECTED]))
    there = [f"-target={each.address}" for each in found if each.action == "change"]
    if there and len(there) < len(found):
        terraform.plan(Progress(report).message, given, [UNPROTECTED, *there])
    if there:
        terraform.apply(Progress(report).message, given)


def _terraform(place: Place, session: Session, memory: Memory, report: Report) -> Terraform:
    """Get Terraform ready with what the site was made with, whatever its file says by now."""
    place.make()
    known = work.known_variables(place.work)
    if not known:
        # On another machine than before: the state is in the bucket, and the variables only have to be right.
        ready = planning.prepare(place, report)
        return ready.terraform
    work.write(place.work, None, planning.backend(session, memory.name, place.site.aws.state_bucket))
    terraform = Terraform(find(), place.work, place.log, report)
    terraform.init()
    return terraform


def leftovers(session: Session, name: str) -> Iterator[str]:
    """List what carries the site's tag and is not on its way out: ARNs.

    The final snapshot, and keys that AWS deletes after their waiting period, are meant to be there.
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


def remove_folder(place: Place) -> None:
    """Take away what this machine has of the site; to be called with the lock held."""
    folder.discard(place.state)
    folder.delete_discarded(place.state)

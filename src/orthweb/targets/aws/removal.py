"""Remove a site from AWS: what is lost, in numbers; then everything but the final snapshot of the index."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.aws import hosts, leftovers, planning, power, reaching
from orthweb.targets.aws.changes import KEPT, changes, is_protected
from orthweb.targets.aws.place import Memory, Place
from orthweb.targets.aws.progress import Progress
from orthweb.targets.aws.terraform import Terraform
from orthweb.targets.base import Done, Report, quiet
from orthweb.targets.host import folder

COUNTED: Final = 100_000
"""So many objects of the bucket are counted; more are many."""

UNPROTECTED: Final = "-var=production=false"

LIFTED: Final = frozenset(
    {
        "aws_backup_vault",
        "aws_db_instance",
        "aws_ecr_repository",
        "aws_lb",
        "aws_s3_bucket",
        "aws_s3_bucket_policy",
    }
)
"""What production protects so that it cannot be deleted. Keys and secrets have waiting times instead, and keep them."""

GUARD: Final = "terraform_data.guard"
"""Depends on everything, and refuses to be destroyed in production (terraform/main.tf)."""

KEY_DAYS: Final = 30
"""So long AWS keeps a site's keys after their deletion was asked for (terraform/modules/keys)."""


def is_production(place: Place) -> bool:
    """Tell whether the site is protected as it is in the account now, whatever its file says or was planned since.

    Raises
    ------
    AwsError : AWS does not say.
    """
    if planning.applied_variables(place).get("production", place.site.aws.production):
        return True
    memory = place.memory()
    found = power.database(_session(memory), power.index_of(memory.name))
    return found is not None and bool(found.get("DeletionProtection"))


def guarded(state: Mapping[str, Any]) -> bool:
    """Tell whether anything in Terraform's state is protected as in production."""
    return any(_is_guarded(each) for each in _resources(state))


def _is_guarded(resource: Mapping[str, Any]) -> bool:
    values = resource["values"]
    if resource.get("address") == GUARD:
        return values.get("output") is True
    kept = is_protected(values) or values.get("force_destroy") is False or values.get("force_delete") is False
    return resource["type"] in LIFTED and kept


def _resources(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the resources of a state, as JSON; those of all modules."""
    modules = [(state.get("values") or {}).get("root_module") or {}]
    while modules:
        module = modules.pop()
        yield from (each for each in module.get("resources", ()) if each["mode"] == "managed")
        modules += module.get("child_modules", ())


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
            f"the index: database {identifier} ({found['AllocatedStorage']} GiB) and its automatic backups; "
            f"a final snapshot stays: {memory.output('final_snapshot') or f'{memory.name}-final-...'}"
        )
    yield "the KMS keys, 30 days later; until then they can be called back"
    if is_production(place):
        yield "the secrets, 30 days later; until then no other site in this region can have this name"
    snapshot = memory.output("final_snapshot")
    if found is not None and snapshot:
        key = str(found.get("KmsKeyId", ""))
        yield from kept(session, memory.name, snapshot, key, datetime.now(UTC) + timedelta(days=KEY_DAYS))
    if is_production(place):
        yield "to empty a bucket in production you need to be allowed what `orthweb policy --no-production` prints"


def kept(session: Session, name: str, snapshot: str, key: str, until: datetime) -> Iterator[str]:
    """Say how the final snapshot can be kept for longer than the key that it is encrypted with.

    Parameters
    ----------
    snapshot : its name.
    key : the ARN of the key that it is, or will be, encrypted with.
    until : when AWS deletes the site's key, where AWS does not say so itself yet.
    """
    found, own = _key(session, key), _key(session, f"alias/{name}-data")
    region = session.region
    day = (found or {}).get("DeletionDate")
    if day is None and found is not None and (own is None or own["Arn"] != key):
        yield f"the snapshot is encrypted with {key}, which is not the site's and stays"
        return
    day = day or until
    yield f"to read the snapshot after {day:%Y-%m-%d}, copy it to another key before that day:"
    yield f"  aws kms cancel-key-deletion --region {region} --key-id {key}"
    yield f"  aws kms enable-key --region {region} --key-id {key}"
    yield (
        f"  aws rds copy-db-snapshot --region {region} --kms-key-id alias/aws/rds "
        f"--source-db-snapshot-identifier {snapshot} --target-db-snapshot-identifier {snapshot}-kept"
    )


def _key(session: Session, key: str) -> dict[str, Any] | None:
    """Look at a key, by its ARN or alias; None when AWS does not show it."""
    try:
        with told(f"key {key}"):
            return dict(session.client("kms").describe_key(KeyId=key)["KeyMetadata"])
    except AwsError:
        return None


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


def protected() -> UsageError:
    """Refuse the removal of a site in production."""
    return UsageError(
        "aws.production: true: this site is protected against its removal",
        "orthweb destroy --data --even-production, when it is really to go",
    )


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
    session = _session(memory)
    terraform = _terraform(place, session, memory, report)
    state = terraform.shown()
    if (guarded(state) or is_production(place)) and not unguarded:
        raise protected()
    database = power.database(session, power.index_of(memory.name))
    if is_half_known(state, database):
        raise OrthwebError(
            f"database {power.index_of(memory.name)}: a call that was interrupted made it, and Terraform's state does "
            "not have it as it should be: it would stay, or go without a final snapshot",
            "orthweb up takes it over; then repeat this",
        )
    power.start_database(session, memory.name, report)
    if unguarded:
        _lift(terraform, report)
        if any(each.get("address") == GUARD for each in _resources(state)):
            # To be changed it would take all others along, also what is not as the site file says.
            terraform.drop(GUARD)
    report("Terraform: planning the removal")
    # Nothing secret is handed over: to remove it nobody has to have it.
    going = changes(terraform.plan(Progress(report).message, {}, ["-destroy", UNPROTECTED]))
    terraform.apply(Progress(report, len(going)).message)
    hosts.forget(session, memory.name)
    left = leftovers.lasting(session, memory.name, identities(state), report)
    for arn in left:
        report(Done(f"! AWS still lists {arn}"))
    if left:
        report(Done("! look in an hour: what is listed then has to be removed in the AWS console"))
    snapshot = _snapshot_of(state) or memory.output("final_snapshot")
    key = _key_of(session, snapshot)
    if key is not None:
        report(Done(f"the index's final snapshot stays: {snapshot}"))
        for line in kept(session, memory.name, snapshot, key, datetime.now(UTC) + timedelta(days=KEY_DAYS)):
            report(Done(line))


def is_half_known(state: Mapping[str, Any], database: Mapping[str, Any] | None) -> bool:
    """Tell whether the site's database is in the account, and not in the state as it was to be made."""
    known = [each["values"] for each in _resources(state) if each["type"] == "aws_db_instance"]
    if known or database is None:
        return any(each.get("skip_final_snapshot") for each in known)
    return (database.get("DBSubnetGroup") or {}).get("VpcId") in identities(state)


def _snapshot_of(state: Mapping[str, Any]) -> str:
    """Name the final snapshot that the database will leave; empty when there is no database."""
    found = [each["values"] for each in _resources(state) if each["type"] == "aws_db_instance"]
    return str(found[0].get("final_snapshot_identifier") or "") if found else ""


def _key_of(session: Session, snapshot: str) -> str | None:
    """Give the ARN of the key that a snapshot is encrypted with; None when there is no such snapshot."""
    if not snapshot:
        return None
    try:
        with told(f"snapshot {snapshot}"):
            found = session.client("rds").describe_db_snapshots(DBSnapshotIdentifier=snapshot)["DBSnapshots"]
    except AwsError as error:
        if hosts.is_missing(error):
            return None
        raise
    return str(found[0].get("KmsKeyId", "")) if found else None


def _lift(terraform: Terraform, report: Report) -> None:
    """Take the protection from what there is; make nothing that a call that was interrupted left unmade, and leave the
    waiting times of keys and secrets as they are.
    """
    report("lifting the protection of database, load balancer and buckets")
    found = changes(terraform.plan(Progress(report).message, {}, [UNPROTECTED]))
    there = [f"-target={each.address}" for each in found if each.action == "change" and each.type in LIFTED]
    if not there:
        return
    if len(there) < len(found):
        found = changes(terraform.plan(Progress(report).message, {}, [UNPROTECTED, *there]))
        beside = [each.address for each in found if each.type in KEPT and each.type not in LIFTED]
        if beside or any(each.action in ("replace", "delete") for each in found):
            raise OrthwebError(
                f"the protection cannot be lifted alone: {', '.join(beside) or 'something'} would be changed with it",
                "orthweb up first, so that the site is as its file says; then repeat this",
            )
    terraform.apply(Progress(report).message)


def _terraform(place: Place, session: Session, memory: Memory, report: Report) -> Terraform:
    """Get Terraform ready with what the site was made with, whatever its file says by now."""
    place.make()
    known = planning.applied_variables(place)
    if not known:
        # On another machine than before: the state is in the bucket, and the variables only have to be right.
        ready = planning.prepare(place, report)
        return ready.terraform
    return planning.at_work(place, session, memory.name, known, report)


def identities(state: Mapping[str, Any]) -> frozenset[str]:
    """Give the ARNs and ids of what is in Terraform's state."""
    return frozenset(
        str(each["values"][key]) for each in _resources(state) for key in ("arn", "id") if each["values"].get(key)
    )


def remove_folder(place: Place) -> None:
    """Take away what this machine has of the site; to be called with the lock held."""
    folder.discard(place.state)
    folder.delete_discarded(place.state)

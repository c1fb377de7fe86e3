"""What `up` would change on AWS: preflight, variables, Terraform's plan, and what of it is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.cost import Volumes, estimate
from orthweb.cost.plan import parse
from orthweb.cost.prices import known
from orthweb.errors import OrthwebError, SiteFileError, UsageError
from orthweb.files import write_whole
from orthweb.pki import own
from orthweb.pki.issue import certificate_pem, key_pem
from orthweb.render import terraform as render
from orthweb.site import Site
from orthweb.targets.aws import adoption, changes, images, leftovers, process, tfstate, work
from orthweb.targets.aws.changes import Change
from orthweb.targets.aws.place import Memory, Place
from orthweb.targets.aws.progress import Progress
from orthweb.targets.aws.terraform import Program, Terraform, find
from orthweb.targets.aws.words import named
from orthweb.targets.base import Done, Report, quiet
from orthweb.targets.host import folder
from orthweb.targets.host.rendering import modality_authorities

if TYPE_CHECKING:
    pass


_VARIABLES: Final = "applied.tfvars.json"
_PLAN: Final = "applied.plan.json"


_PASSES: Final = 3
"""What lies in something that an interrupted call made is found after that."""


@dataclass(frozen=True)
class Ready:
    """What is needed to plan and to apply.

    Parameters
    ----------
    memory : as it is to be once this was applied.
    given : secret variables for Terraform; ``repr`` does not show them.
    image_tag : of the images in the site's own repositories.
    """

    session: Session
    terraform: Terraform
    memory: Memory
    image_tag: str
    given: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Planned:
    """A plan that may be applied.

    Parameters
    ----------
    gone : what held data and is not in the account any more.
    """

    changes: Sequence[Change]
    cost: str
    gone: Sequence[str] = ()

    @property
    def summary(self) -> list[str]:
        """Sum it up for a person."""
        return [f"Plan: {changes.tally(self.changes)}.", *([f"Cost: {self.cost}."] if self.cost else [])]


def check_target(place: Place) -> None:
    """Refuse a site that is on this machine, or whose file does not say that it is on AWS.

    Raises
    ------
    UsageError : says which.
    """
    folder.inspect(place.state.root)
    facts = folder.read_facts(place.state)
    if facts.target != "aws" and facts.site:
        raise UsageError(
            f"target: aws: this site runs on this machine ({facts.target or 'local'}) and its images are here",
            "make a site on AWS from another folder, and send the images there (orthweb dicom send)",
        )
    if place.site.target != "aws":
        raise UsageError(
            "target: this site runs on AWS, and its file does not say so any more",
            'write target = "aws"; to remove it from there: orthweb destroy --data',
        )


def check_same(site: Site, memory: Memory, region: str, account: str) -> None:
    """Refuse what would make another site of one that is there.

    Raises
    ------
    UsageError : names the keys; nothing was changed.
    """
    if not memory.known:
        return
    differing = [
        (key, old, new)
        for key, old, new in (
            ("name", memory.name, site.name),
            ("aws.region", memory.region, region),
            ("aws.network", memory.network, str(site.aws.network)),
        )
        if old != new
    ]
    if memory.account != account:
        raise UsageError(
            f"these are credentials for account {account}, and the site is in {memory.account}",
            "choose the other profile (AWS_PROFILE)",
        )
    if differing:
        raise UsageError(
            "\n".join(
                f"{key}: {new}: the site on AWS has {old}: its database, bucket and keys would be replaced, and all "
                "images lost"
                for key, old, new in differing
            ),
            "put it back; for another site use another folder, to remove this one `orthweb destroy --data` first",
        )
    if memory.store != site.store.kind:
        raise UsageError(
            f"store.kind: {site.store.kind}: the images of this site are in {memory.store}, and would not be found",
            f'put store.kind = "{memory.store}" back; to move them make another site and send them there',
        )


def prepare(place: Place, report: Report = quiet, *, applying: bool = False) -> Ready:
    """Do what comes before a plan, and write the folder that Terraform works in; to be called with the lock held.

    Parameters
    ----------
    applying : the plan is to be applied; then the state moves to where the site file says.

    Raises
    ------
    UsageError, SiteFileError : the call, the site file or this machine is not right for it; nothing was changed.
    AwsError : AWS does not take the credentials or the region.
    """
    check_target(place)
    site, program = place.site, find()
    report("AWS: looking whose account this is")
    session = Session(site.aws.region)
    identity = session.identity()
    check_region(session)
    memory = place.memory()
    check_same(site, memory, session.region, identity.account)
    if not memory.known:
        leftovers.check_name(session, site.name)
    given, digest = own_certificate(place)
    version = version_of(digest)
    tag = images.tag(session, site)
    variables = render.variables(
        site,
        region=session.region,
        account=identity.account,
        image_tag=tag,
        public_key=_public_key(place),
        authorities=modality_authorities(site),
        given=("certificate",) if given else (),
        secrets_version=version,
    )
    _check_size(variables)
    place.make()
    terraform = at_work(place, session, site.name, variables, report, applying=applying, program=program)
    future = replace(
        memory,
        name=site.name,
        region=session.region,
        account=identity.account,
        network=str(site.aws.network),
        store=site.store.kind,
        given=digest,
        secrets_version=version,
    )
    return Ready(session, terraform, future, tag, given)


def at_work(
    place: Place,
    session: Session,
    name: str,
    variables: Mapping[str, Any] | None,
    report: Report,
    *,
    applying: bool = False,
    program: Program | None = None,
) -> Terraform:
    """Write the folder that Terraform works in, and get Terraform ready there; to be called with the lock held.

    Parameters
    ----------
    variables : None leaves those of the last call.
    applying : see `prepare`.

    Raises
    ------
    UsageError : the state is not where the site file says.
    """
    process.wait_for_earlier(place.log, report)
    wanted = backend(session, name, place.site.aws.state_bucket)
    where, move = tfstate.settle(session, place.work, wanted, applying=applying)
    if where != wanted:
        report(Done("Terraform's state stays on this machine until orthweb up moves it to aws.state_bucket"))
    work.write(place.work, variables, where)
    terraform = Terraform(program or find(), place.work, place.log, report)
    terraform.init(move=move)
    return terraform


def check_region(session: Session) -> None:
    """Refuse a region that there is not, or that the account may not use.

    Raises
    ------
    AwsError : AWS's answer.
    """
    with told(f"aws.region: {session.region}"):
        session.client("ec2").describe_availability_zones()


def own_certificate(place: Place) -> tuple[dict[str, str], str]:
    """Read and judge the person's own certificate; give the variables for it and a digest of it.

    Raises
    ------
    SiteFileError : it is not right.
    """
    if place.site.tls.certificate is None:
        return {}, ""
    found = own.load(place.site, place.base, datetime.now(UTC))
    chain = certificate_pem(found.identity.chain)
    key = key_pem(found.identity.key)
    return {"tls_certificate": chain.decode(), "tls_key": key.decode()}, hashlib.sha256(chain).hexdigest()


def version_of(digest: str) -> int:
    """Give the version that a certificate is handed over under: another one is sent, from whichever machine."""
    return 1 + int(digest[:8], 16) % (2**31 - 1) if digest else 1


def _public_key(place: Place) -> str | None:
    path = place.site.aws.ssh_public_key
    if path is None:
        return None
    text = path.read_text(errors="replace").strip()
    if not text.startswith(("ssh-ed25519 ", "ssh-rsa ")) or "\n" in text:
        raise SiteFileError([f"aws.ssh_public_key: {path}: should be one line that begins with ssh-ed25519 or ssh-rsa"])
    return text


def _check_size(variables: Mapping[str, Any]) -> None:
    for name, text in {"the site file": variables["site_file"], **variables["site_files"]}.items():
        if len(text.encode()) > render.LARGEST:
            raise SiteFileError(
                [f"{name}: has {len(text.encode())} bytes; hosts on AWS take {render.LARGEST} (a parameter's limit)"]
            )


def backend(session: Session, name: str, bucket: str | None) -> dict[str, Any]:
    """Say where Terraform's state is kept, for `work.write`.

    Raises
    ------
    UsageError : the bucket is not there.
    AwsError : it may not be used.
    """
    if bucket is None:
        return work.backend(name, session.region, None)
    try:
        with told(f"aws.state_bucket: {bucket}"):
            found = session.client("s3").head_bucket(Bucket=bucket)
    except AwsError as error:
        if error.code not in ("404", "NoSuchBucket", "NotFound"):
            raise
        raise UsageError(
            f"aws.state_bucket: {bucket}: there is no such bucket",
            f"make it, with versioning: aws s3 mb s3://{bucket}; aws s3api put-bucket-versioning --bucket {bucket} "
            "--versioning-configuration Status=Enabled",
        ) from error
    return work.backend(name, session.region, bucket, found.get("BucketRegion"))


def plan(place: Place, ready: Ready, report: Report = quiet) -> Planned:
    """Plan; keep the plan for an apply, and its JSON for what it costs.

    Raises
    ------
    UsageError : it would replace or remove what holds data.
    TerraformError : what is wrong.
    """
    report("Terraform: planning")
    progress = Progress(report)
    document = ready.terraform.plan(progress.message, ready.given)
    found = changes.changes(document)
    kept = changes.interrupted(found)
    if kept:
        # A call was interrupted while AWS made these: they are whole, or AWS says at the next change that they are not.
        for address in kept:
            ready.terraform.untaint(address)
        document = ready.terraform.plan(progress.message, ready.given)
        found = changes.changes(document)
    for _ in range(_PASSES if place.memory().known else 0):
        ours = list(adoption.lost(ready.session, place.site.name, document))
        if not ours:
            break
        for each in ours:
            report(Done(f"{named(each.type, each.address)}: an interrupted call made it; it is taken over"))
            ready.terraform.adopt(each.address, each.identity, ready.given)
        document = ready.terraform.plan(progress.message, ready.given)
        found = changes.changes(document)
    write_whole(place.plan_json, _json(document))
    changes.refuse(found)
    return Planned(found, cost_of(place, document), changes.gone(document))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def note_applied(place: Place) -> None:
    """Keep what is applied now, apart from what is planned later: its variables, and the plan for what it costs."""
    for source, kept in ((place.work / work.VARIABLES, _VARIABLES), (place.plan_json, _PLAN)):
        write_whole(place.folder / kept, source.read_bytes())


def applied_variables(place: Place) -> dict[str, Any]:
    """Give the variables that were applied last, or where that is not known were planned last; none without either."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((place.folder / _VARIABLES).read_text())
        if isinstance(found, dict):
            return found
    return work.known_variables(place.work)


def applied_cost(place: Place) -> str:
    """Say what the site as it was applied last costs a month; empty when that cannot be told."""
    for path in (place.folder / _PLAN, place.plan_json):
        with contextlib.suppress(OSError, ValueError):
            return cost_of(place, json.loads(path.read_text()))
    return ""


def cost_of(place: Place, document: Mapping[str, Any]) -> str:
    """Say what a site costs a month; empty when that cannot be told."""
    stated = place.site.aws.volumes
    volumes = Volumes(
        studies_per_day=stated.studies_per_day,
        study_size=int(stated.study_size),
        instance_size=int(stated.instance_size),
        retention_years=stated.retention_years,
        retrievals=stated.retrievals,
    )
    try:
        return estimate(parse(document), volumes, known(place.prices)).headline
    except OrthwebError:
        return ""

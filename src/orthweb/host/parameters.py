"""What the site is, from Systems Manager: its file, the files that this names, the images, the deployment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from orthweb.errors import OrthwebError
from orthweb.host.account import AwsAccount, told


@dataclass(frozen=True)
class Ports:
    """TCP ports of the hosts: HTTPS, DICOM TLS, and the load balancer's question whether a host is well (HTTPS)."""

    https: int = 443
    dicom: int = 11112
    health: int = 8444


@dataclass(frozen=True)
class Deployment:
    """What was made for the site in the account.

    Parameters
    ----------
    region : AWS region.
    topology : ``single`` or ``ha``.
    public_name : the name under which the site is reached, when its file names none.
    store : ``s3`` or ``database``.
    bucket : of the images; empty when they are in the database.
    kms_key_arn : the key that the bucket's objects are encrypted with.
    database_identifier : name of the RDS instance.
    log_group : of the containers' logs in CloudWatch; empty for the engine's own.
    autoscaling_group, lifecycle_hook : of the group that this host is in; empty when it is in none.
    rotation_days : after so many days the password of the index is changed; 0 for never.
    rds_ca : name of the file, among the site's files, with the CA of the database; empty for AWS's own.
    """

    region: str = ""
    topology: str = "single"
    public_name: str = ""
    store: str = "s3"
    bucket: str = ""
    kms_key_arn: str = ""
    database_identifier: str = ""
    log_group: str = ""
    autoscaling_group: str = ""
    lifecycle_hook: str = ""
    rotation_days: int = 30
    rds_ca: str = ""
    ports: Ports = Ports()

    @property
    def highly_available(self) -> bool:
        """Whether another host serves while this one does not."""
        return self.topology == "ha"


@dataclass(frozen=True)
class Parameters:
    """All that the parameters say.

    Parameters
    ----------
    site : the site file's text; empty for all defaults.
    files : what it names, such as CA certificates: name -> text.
    images : references by role: archive, edge, ops.
    """

    site: str
    files: Mapping[str, str]
    images: Mapping[str, str]
    deployment: Deployment
    others: Mapping[str, HostReport] = field(default_factory=dict)

    @property
    def site_digest(self) -> str:
        """SHA-256 of the site file's text."""
        return hashlib.sha256(self.site.encode()).hexdigest()

    @property
    def digest(self) -> str:
        """A name made from all that a host has to apply; what other hosts report is no part of it."""
        parts = [self.site, dict(self.files), dict(self.images), asdict(self.deployment)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class HostReport:
    """What a host of the site said last.

    Parameters
    ----------
    applied : digest of what it is about.
    at : when, as ISO 8601.
    agent : reference of the image that its agent runs in.
    """

    state: str
    at: str
    message: str = ""
    applied: str = ""
    agent: str = ""


def read(account: AwsAccount) -> Parameters:
    """Read all parameters of the site.

    Raises
    ------
    AwsError : AWS does not give them.
    OrthwebError : one is missing or is no JSON.
    """
    prefix = account.settings.parameter("").rstrip("/")
    found: dict[str, str] = {}
    with told(f"parameters {prefix}"):
        pages = account.client("ssm").get_paginator("get_parameters_by_path")
        for page in pages.paginate(Path=prefix, Recursive=True):
            found |= {str(each["Name"]).removeprefix(f"{prefix}/"): str(each["Value"]) for each in page["Parameters"]}
    return parse(found, prefix)


def parse(found: Mapping[str, str], prefix: str) -> Parameters:
    """Make sense of the parameters' texts, by name below the prefix.

    Raises
    ------
    OrthwebError : one is missing or is no JSON.
    """
    missing = [name for name in ("images", "deployment") if name not in found]
    if missing:
        raise OrthwebError(
            f"{prefix}/{missing[0]}: there is no such parameter", "orthweb up (or terraform apply) makes it"
        )
    images, deployment = (_json(f"{prefix}/{name}", found[name]) for name in ("images", "deployment"))
    return Parameters(
        # A parameter cannot be empty: a space, or a comment, stands for a site file with all defaults.
        site="" if not found.get("site", "").strip() else found["site"],
        files=_below(found, "files/"),
        images={str(role): str(reference) for role, reference in images.items()},
        deployment=_deployment(deployment, f"{prefix}/deployment"),
        others={name: _report(text) for name, text in _below(found, "hosts/").items()},
    )


def _deployment(found: Mapping[str, Any], name: str) -> Deployment:
    texts = {each.name for each in fields(Deployment) if each.type == "str" and each.name != "log_group"}
    given: dict[str, Any] = {key: str(found[key]) for key in texts if found.get(key) is not None}
    try:
        ports = Ports(**{key: int(number) for key, number in (found.get("ports") or {}).items()})
        days = int(found.get("rotation_days", Deployment.rotation_days))
        group = str((found.get("log_groups") or {}).get("containers", ""))
    except (ValueError, TypeError, AttributeError) as error:
        raise OrthwebError(f"{name}: ports, rotation_days or log_groups are wrong", "orthweb up") from error
    return replace(Deployment(rotation_days=days, ports=ports), log_group=group, **given)


def _below(found: Mapping[str, str], start: str) -> dict[str, str]:
    return {name.removeprefix(start): text for name, text in sorted(found.items()) if name.startswith(start)}


def _json(name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OrthwebError(f"{name}: should be a JSON object", "orthweb up (or terraform apply) puts it back")
    return found


def _report(text: str) -> HostReport:
    """Read what another host said; nonsense of a host must not keep this one from working."""
    try:
        found = json.loads(text)
        said = {each.name: str(found.get(each.name, "")) for each in fields(HostReport)}
        return HostReport(**said)
    except (ValueError, AttributeError):
        return HostReport("", "")

"""The site's secrets in Secrets Manager: read, filled while they are empty, and their versions for a rotation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from orthweb.errors import OrthwebError
from orthweb.host.account import AwsAccount, AwsError, told

Stage = Literal["AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"]

ADMIN, TLS, INDEX, SITE, CERTIFICATE = "admin", "tls", "index", "site", "certificate"
"""The site's secrets; the last one is empty unless the owner gave a certificate of their own."""


@dataclass(frozen=True)
class Version:
    """One version of a secret.

    Parameters
    ----------
    identity : Secrets Manager's name of it.
    values : JSON object of texts; ``repr`` does not show it.
    made : when (aware).
    """

    identity: str
    values: Mapping[str, str] = field(repr=False)
    made: datetime


class Vault:
    """The secrets of one site.

    Parameters
    ----------
    account : whose role may read them, and put values into them.
    """

    def __init__(self, account: AwsAccount) -> None:
        self._account = account
        self._known: dict[str, dict[str, Version]] = {}

    @property
    def _client(self) -> Any:
        return self._account.client("secretsmanager")

    def _name(self, which: str) -> str:
        return self._account.settings.secret(which)

    def read(self, which: str, stage: Stage = "AWSCURRENT") -> Version | None:
        """Read a secret; None while it is empty or has nothing at this stage.

        Raises
        ------
        AwsError : it cannot be read.
        OrthwebError : it is no JSON object of texts.
        """
        return self.read_named(self._name(which), stage)

    def read_named(self, name: str, stage: Stage = "AWSCURRENT") -> Version | None:
        """Read a secret by its full name or ARN, such as the database's own."""
        try:
            with told(f"secret {name}"):
                found = self._client.get_secret_value(SecretId=name, VersionStage=stage)
        except AwsError as error:
            if error.code == "ResourceNotFound":  # what a secret without a value answers as well
                return None
            raise
        values = _values(name, found.get("SecretString", ""))
        # Terraform writes an empty object where a person did not give what they said they would.
        return Version(str(found["VersionId"]), values, found["CreatedDate"]) if values else None

    def poll(self, which: str, *stages: Stage) -> list[Version | None]:
        """Give what a secret has at these stages, with its values asked for when a version is a new one alone.

        Raises
        ------
        AwsError : it cannot be read.
        OrthwebError : it is no JSON object of texts.
        """
        name = self._name(which)
        with told(f"secret {name}"):
            found = self._client.describe_secret(SecretId=name).get("VersionIdsToStages") or {}
        identities = {stage: identity for identity, at in found.items() for stage in at}
        versions = [self._version(which, stage, identities[stage]) if stage in identities else None for stage in stages]
        self._known[which] = {version.identity: version for version in versions if version is not None}
        return versions

    def _version(self, which: str, stage: Stage, identity: str) -> Version | None:
        known = self._known.get(which, {}).get(identity)
        return known if known is not None else self.read(which, stage)

    def fill(self, which: str, values: Mapping[str, str]) -> Version:
        """Put values into a secret that is empty; give what it holds afterwards, whoever put it there.

        One that was emptied gets back what it had before. To be called with the site's lock held.
        """
        known = self.read(which)
        if known is not None:
            return known
        before = self.read(which, "AWSPREVIOUS")
        self.put(which, values if before is None else before.values)
        made = self.read(which)
        if made is None:
            raise OrthwebError(
                f"secret {self._name(which)}: holds nothing after it was written", "tried again by itself"
            )
        return made

    def put(self, which: str, values: Mapping[str, str], stage: Stage = "AWSCURRENT") -> None:
        """Put a new version into a secret."""
        with told(f"secret {self._name(which)}"):
            self._client.put_secret_value(
                SecretId=self._name(which), SecretString=json.dumps(dict(values)), VersionStages=[stage]
            )

    def promote(self, which: str, version: Version) -> None:
        """Make a pending version the current one; the one before becomes AWSPREVIOUS. Can be repeated."""
        current = self.read(which)
        with told(f"secret {self._name(which)}"):
            if current is None or current.identity != version.identity:
                self._client.update_secret_version_stage(
                    SecretId=self._name(which),
                    VersionStage="AWSCURRENT",
                    MoveToVersionId=version.identity,
                    **({"RemoveFromVersionId": current.identity} if current is not None else {}),
                )
            pending = self.read(which, "AWSPENDING")
            if pending is not None and pending.identity == version.identity:
                self._client.update_secret_version_stage(
                    SecretId=self._name(which), VersionStage="AWSPENDING", RemoveFromVersionId=version.identity
                )


def _values(name: str, text: str) -> dict[str, str]:
    """Read a secret's text; the error says nothing of what stands in it."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OrthwebError(f"secret {name}: should be a JSON object", "put one, or {} to have it filled again")
    return {str(key): str(value) for key, value in found.items()}

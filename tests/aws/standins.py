"""What stands in for a site's hosts: it says in the account what they would say, as the account is just now."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from aws.emulator import Emulator
from orthweb.pki.issue import certificate_pem, key_pem, new_authority

HURRY = 0.5


class Hosts:
    """All hosts of one site: they wait for the database, fill the secrets and apply what the parameters say.

    failing : what they say instead of being ready, while it is not empty.
    """

    def __init__(self, aws: Emulator, name: str, region: str) -> None:
        self.aws = aws
        self.name = name
        self.region = region
        self.failing = ""
        self.password = f"admin-{secrets.token_hex(12)}"
        self.applied: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Hosts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _client(self, service: str) -> Any:
        return self.aws.client(service, self.region)

    def _run(self) -> None:
        while not self._stop.wait(HURRY):
            with contextlib.suppress(ClientError, KeyError, IndexError):  # not made yet, or gone already
                for identity in self._instances():
                    self._round(identity)

    def _instances(self) -> list[str]:
        filters = [
            {"Name": "tag:orthweb:site", "Values": [self.name]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
        found = self._client("ec2").describe_instances(Filters=filters)["Reservations"]
        return [each["InstanceId"] for reservation in found for each in reservation["Instances"]]

    def _parameter(self, name: str) -> str:
        found = self._client("ssm").get_parameter(Name=f"/orthweb/{self.name}/{name}")
        return str(found["Parameter"]["Value"])

    def _round(self, identity: str) -> None:
        rds = self._client("rds")
        try:
            rds.describe_db_instances(DBInstanceIdentifier=f"{self.name}-index")
        except ClientError:
            self._say(identity, "waiting-for-database", f"database {self.name}-index: is not there yet")
            return
        self._fill()
        site, images = self._parameter("site"), json.loads(self._parameter("images"))
        if self.failing:
            self._say(identity, "failed", self.failing, lines=["pulling images", self.failing])
            return
        if not self.applied or (self.applied[-1]["site"], self.applied[-1]["images"]) != (site, images):
            self.applied.append({"site": site, "images": images})
        self._say(identity, "ready", "serving", site=hashlib.sha256(site.encode()).hexdigest(), images=images)

    def _say(self, identity: str, state: str, message: str, **more: object) -> None:
        document = {"state": state, "at": datetime.now(UTC).isoformat(), "message": message, **more}
        self._client("ssm").put_parameter(
            Name=f"/orthweb/{self.name}/hosts/{identity}", Value=json.dumps(document), Type="String", Overwrite=True
        )

    def _fill(self) -> None:
        client = self._client("secretsmanager")
        for which in ("admin", "tls", "site"):
            try:
                client.get_secret_value(SecretId=f"orthweb/{self.name}/{which}")
            except ClientError:
                client.put_secret_value(
                    SecretId=f"orthweb/{self.name}/{which}", SecretString=json.dumps(self._values(which))
                )

    def _values(self, which: str) -> dict[str, str]:
        if which == "admin":
            return {"username": "admin", "password": self.password}
        if which == "site":
            return {"check_aet": "OWCHECK123456789"}
        authority = new_authority("site CA", datetime.now(UTC) - timedelta(hours=1))
        pem, key = certificate_pem(authority.chain).decode(), key_pem(authority.key).decode()
        return {"site-ca.pem": pem, "site-ca.key": key, "check.pem": pem, "check.key": key}


def secret_of(folder: Path) -> str:
    """Read the password that was fetched into a state folder."""
    return (folder / "secrets" / "admin-password").read_text().strip()

"""The life of a site in production with a group of hosts, whose index is made from a snapshot that another left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aws.driven_life import IMAGES, REGION, Driven

NAME = "second"
SNAPSHOT = "first-final-20261101-080000"
SITE = f"""\
name = "{NAME}"
target = "aws"

[aws]
region = "{REGION}"
topology = "ha"
https_from = ["203.0.113.0/24"]
dicom_from = ["203.0.113.0/24"]

[aws.database]
snapshot = "{SNAPSHOT}"
{IMAGES}"""


class Restored(Driven):
    """See `steps`: what each command said, or what lies in the account then."""

    name = NAME
    steps = (
        *("key", "up", "database", "again", "single", "disarmed", "guarded", "untouched"),
        *("stopped", "silent", "started", "destroyed", "waiting", "left"),
    )

    def _steps(self) -> Iterator[tuple[str, Any]]:
        assert self.aws is not None
        assert self.hosts is not None
        aws = self.aws
        self.site.mkdir()
        self._write(SITE)
        key = self._snapshot()
        before = aws.resources(REGION)
        yield "key", key
        yield "up", self.orthweb("up")
        yield "database", self._database()
        yield "again", self.orthweb("plan")
        self._write(SITE.replace('topology = "ha"', 'topology = "single"'))
        yield "single", self.orthweb("up")
        self._write(SITE.replace("[aws]\n", "[aws]\nproduction = false\n"))
        yield "disarmed", self.orthweb("plan")
        made = aws.resources(REGION)
        yield "guarded", self.orthweb("destroy", "--data", "--yes")
        yield "untouched", (made, aws.resources(REGION))
        yield "stopped", self.orthweb("down")
        alarms = aws.client("cloudwatch", REGION).describe_alarms()["MetricAlarms"]
        yield "silent", [each["ActionsEnabled"] for each in alarms]
        self._write(SITE)
        yield "started", self.orthweb("up")
        keys = [aws.client("kms", REGION).describe_key(KeyId=f"alias/{NAME}-{which}") for which in ("data", "logs")]
        yield "destroyed", self.orthweb("destroy", "--data", "--even-production", "--yes")
        yield "waiting", self._waiting([each["KeyMetadata"]["KeyId"] for each in keys])
        yield "left", aws.resources(REGION) - before

    def _snapshot(self) -> str:
        """Leave a snapshot as a site that is gone does; give the key that it is encrypted with."""
        assert self.aws is not None
        key = str(self.aws.client("kms", REGION).create_key()["KeyMetadata"]["Arn"])
        rds = self.aws.client("rds", REGION)
        rds.create_db_instance(
            DBInstanceIdentifier="first-index",
            DBInstanceClass="db.t4g.medium",
            Engine="postgres",
            EngineVersion="17",
            DBName="orthanc",
            MasterUsername="orthweb_master",
            ManageMasterUserPassword=True,
            AllocatedStorage=50,
            StorageType="gp3",
            StorageEncrypted=True,
            KmsKeyId=key,
        )
        rds.delete_db_instance(DBInstanceIdentifier="first-index", FinalDBSnapshotIdentifier=SNAPSHOT)
        return key

    def _database(self) -> dict[str, Any]:
        assert self.aws is not None
        found = self.aws.client("rds", REGION).describe_db_instances(DBInstanceIdentifier=f"{NAME}-index")
        return dict(found["DBInstances"][0])

    def _waiting(self, keys: list[str]) -> dict[str, Any]:
        """Give when AWS deletes the site's keys, and its secrets."""
        assert self.aws is not None
        kms, vault = self.aws.client("kms", REGION), self.aws.client("secretsmanager", REGION)
        secrets = vault.list_secrets(IncludePlannedDeletion=True, MaxResults=100)["SecretList"]
        mine = [each for each in secrets if each["Name"].startswith(f"orthweb/{NAME}/")]
        return {
            "keys": [kms.describe_key(KeyId=key)["KeyMetadata"].get("DeletionDate") for key in keys],
            "secrets": {each["Name"]: each.get("DeletedDate") for each in mine},
        }

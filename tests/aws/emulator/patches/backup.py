"""AWS Backup: what a plan selects, tags by the path that the provider asks, and an empty list of recovery points."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any
from urllib.parse import unquote

from moto.backup import urls
from moto.backup.exceptions import ResourceNotFoundException
from moto.backup.responses import BackupResponse

from aws.emulator.patches import adds, replaces


def _selections(self: Any) -> dict[str, dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = self.backup_backend.__dict__.setdefault("selections", {})
    return kept


def _named(self: Any) -> str:
    return str(self.path).rstrip("/").rsplit("/", 1)[-1]


@adds(BackupResponse)
def create_backup_selection(self: Any) -> str:
    wanted, identifier = json.loads(self.body), str(uuid.uuid4())
    plan = str(self.path).split("/plans/")[1].split("/")[0]
    made = {"BackupPlanId": plan, "SelectionId": identifier, "CreationDate": time.time()}
    _selections(self)[identifier] = {**made, "BackupSelection": wanted["BackupSelection"]}
    return json.dumps(made)


@adds(BackupResponse)
def get_backup_selection(self: Any) -> str:
    if _named(self) not in _selections(self):
        raise ResourceNotFoundException(_named(self))
    return json.dumps(_selections(self)[_named(self)])


@adds(BackupResponse)
def list_backup_selections(self: Any) -> str:
    plan = str(self.path).split("/plans/")[1].split("/")[0]
    found = [each for each in _selections(self).values() if each["BackupPlanId"] == plan]
    names = [{**each, "SelectionName": each["BackupSelection"]["SelectionName"]} for each in found]
    return json.dumps({"BackupSelectionsList": names}, default=str)


@adds(BackupResponse)
def delete_backup_selection(self: Any) -> str:
    _selections(self).pop(_named(self), None)
    return "{}"


# A vault is emptied before it is deleted (force_destroy).
@adds(BackupResponse)
def list_recovery_points_by_backup_vault(self: Any) -> str:
    return json.dumps({"RecoveryPoints": []})


urls.url_paths["{0}/backup-vaults/(?P<name>[^/]+)/recovery-points/?$"] = urls.response.dispatch


# The Go SDK asks for the ARN as one escaped part of the path without a slash at its end; moto takes the last part.
@replaces(BackupResponse)
def list_tags(_: Any, self: Any) -> str:
    arn = unquote(str(self.path).split("/tags/", 1)[1].rstrip("/"))
    return json.dumps({"Tags": self.backup_backend.list_tags(resource_arn=arn)})

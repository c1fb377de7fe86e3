"""Amazon RDS: where a database is and how it is, as the tests say; its master's secret; what moto forgets."""

from __future__ import annotations

import json
import secrets
from typing import Any

from moto.rds.models import DBInstance, DBParameterGroup, MasterUserSecret, RDSBackend

from aws.emulator.patches import order, replaces

AUTHORITY = "rds-ca-rsa2048-g1"
PASSWORD_BYTES = 21

_said: dict[str, dict[str, Any]] = {}


@order
def database(identifier: str, **facts: str | int | None) -> None:
    """See `Emulator.database`."""
    _said.setdefault(identifier, {}).update({name: fact for name, fact in facts.items() if fact is not None})


def _fact(self: Any, name: str) -> Any:
    return _said.get(getattr(self, "db_instance_identifier", ""), {}).get(name)


def _status(self: Any) -> str:
    own: str = self.__dict__["status"]
    return _fact(self, "status") or own


def _set_status(self: Any, status: str) -> None:
    self.__dict__["status"] = status


_own_address: Any = DBInstance.__dict__["address"]


def _address(self: Any) -> str:
    return str(_fact(self, "address") or _own_address.fget(self))


def _endpoint(self: Any) -> dict[str, Any] | None:
    if self.status == "creating":
        return None  # AWS names no endpoint before there is one
    return {"Address": self.address, "Port": _fact(self, "port") or self.port, "HostedZoneId": "Z2R2ITUGPM61AM"}


for _name, _property in {
    "status": property(_status, _set_status),
    "address": property(_address),
    "endpoint": property(_endpoint),
}.items():
    setattr(DBInstance, _name, _property)


# The secret that RDS keeps holds the master's own name and a password nobody chose; moto's is the same for all.
@replaces(MasterUserSecret)
def _generate_secret_string(_: Any, self: Any) -> str:
    return json.dumps({"username": self.resource.master_username, "password": secrets.token_urlsafe(PASSWORD_BYTES)})


# moto drops Performance Insights.
def _keep_insights(database: Any, wanted: dict[str, Any]) -> Any:
    if "enable_performance_insights" in wanted:
        on = str(wanted["enable_performance_insights"]).lower() == "true"
        database.performance_insights_enabled = on
        if on:
            database.performance_insights_kms_key_id = wanted.get("performance_insights_kms_key_id")
            days = int(wanted.get("performance_insights_retention_period") or 7)
            database.performance_insights_retention_period = days
    return database


# A database gets AWS's present certificate authority by itself. With moto's invented one the provider would change it
# after the database is made, and wait once more.
@replaces(RDSBackend)
def create_db_instance(former: Any, self: Any, wanted: dict[str, Any]) -> Any:
    wanted.setdefault("ca_certificate_identifier", AUTHORITY)
    return _keep_insights(former(self, wanted), wanted)


# A database that has a secret for its master keeps it when it is asked to have one, as it is after a restore; moto
# makes another one and forgets the first.
@replaces(DBInstance)
def update(former: Any, self: Any, **wanted: Any) -> None:
    if wanted.get("manage_master_user_password") is True and hasattr(self, "master_user_secret"):
        for name in ("manage_master_user_password", "master_user_secret_kms_key_id"):
            wanted.pop(name, None)
    former(self, **wanted)


@replaces(RDSBackend)
def modify_db_instance(former: Any, self: Any, identifier: str, wanted: dict[str, Any]) -> Any:
    return _keep_insights(former(self, identifier, wanted), wanted)


# The provider reads back the parameters that a user has set; moto does not say who set one.
@replaces(DBParameterGroup)
def update_parameters(former: Any, self: Any, parameters: list[dict[str, Any]]) -> Any:
    return former(self, [{**parameter, "Source": "user", "IsModifiable": True} for parameter in parameters])

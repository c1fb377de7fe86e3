"""Amazon ECR: repositories and logins name a registry that the test runs, and a login is good for twelve hours."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ecr.models import Repository
from moto.ecr.responses import ECRResponse

from aws.emulator.patches import order, replaces

LIFETIME = timedelta(hours=12)

_registry = {"address": ""}


@order
def registry(address: str) -> None:
    """See `Emulator.registry`."""
    _registry["address"] = address


def _uri(self: Any) -> str:
    own: str = self.__dict__["uri"]
    return f"{_registry['address']}/{self.name}" if _registry["address"] else own


def _set_uri(self: Any, uri: str) -> None:
    self.__dict__["uri"] = uri


setattr(Repository, "uri", property(_uri, _set_uri))  # noqa: B010  (mypy: it is an attribute)


# moto's logins have expired in 2015, which clients that look (credential helpers) do not accept.
@replaces(ECRResponse)
def get_authorization_token(_: Any, self: Any) -> ActionResult:
    account = self.current_account
    address = _registry["address"] or f"{account}.dkr.ecr.{self.region}.amazonaws.com"
    token = {
        "authorizationToken": b64encode(f"AWS:{account}-auth-token".encode()).decode(),
        "expiresAt": utcnow() + LIFETIME,
        "proxyEndpoint": f"https://{address}",
    }
    return ActionResult({"authorizationData": [token]})

"""The AWS account as an instance sees it: clients with the instance's own role, and errors said in one line."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from orthweb.aws import errors
from orthweb.aws.errors import AwsError
from orthweb.host.settings import HostSettings

__all__ = ["AwsAccount", "AwsError", "told"]

_HINTS = {
    "AccessDenied": "the role of the instance lacks this permission: terraform apply puts it back",
    "ExpiredToken": "the clock of the instance, or its metadata service, is wrong",
    "RequestExpired": "the clock of the instance is wrong",
    "NoCredentials": "the instance has no role: terraform apply puts it back",
    "Throttling": "tried again by itself",
    "ResourceNotFound": "terraform apply puts it back",
    "ParameterNotFound": "terraform apply puts it back",
}


def _hint(code: str) -> str | None:
    return next((hint for name, hint in _HINTS.items() if code.startswith(name)), None)


def told(what: str) -> AbstractContextManager[None]:
    """Turn an error of AWS into one line; the next step is for whoever looks after the host.

    Parameters
    ----------
    what : what was wanted, such as ``secret orthweb/pacs/index``.

    Raises
    ------
    AwsError : names what was wanted, AWS's reason, and the next step.
    """
    return errors.told(what, _hint)


class AwsAccount:
    """Clients for the services that a host talks to.

    The credentials come from boto3's default chain (on an instance: its role), other addresses of the services and
    another CA from AWS's own environment variables (``AWS_ENDPOINT_URL``, ``AWS_CA_BUNDLE``).

    Parameters
    ----------
    settings : whose host this is.
    """

    def __init__(self, settings: HostSettings) -> None:
        self.settings = settings
        self._client = cache(self._make)

    def _make(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        # Short, because a round of the agent is repeated anyway and must not hang in one call.
        config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
        with told(f"AWS in {self.settings.region}"):
            return boto3.session.Session(region_name=self.settings.region).client(service, config=config)

    def client(self, service: str) -> Any:
        """Give the client of a service, such as ``ssm``; the same one each time.

        Raises
        ------
        AwsError : there is no such service or region.
        """
        return self._client(service)

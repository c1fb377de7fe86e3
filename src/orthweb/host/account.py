"""The AWS account as an instance sees it: clients with the instance's own role, and errors said in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from orthweb.errors import OrthwebError
from orthweb.host.settings import HostSettings

_HINTS = {
    "AccessDenied": "the role of the instance lacks this permission: terraform apply puts it back",
    "ExpiredToken": "the clock of the instance, or its metadata service, is wrong",
    "RequestExpired": "the clock of the instance is wrong",
    "NoCredentials": "the instance has no role: terraform apply puts it back",
    "Throttling": "tried again by itself",
    "ResourceNotFound": "terraform apply puts it back",
    "ParameterNotFound": "terraform apply puts it back",
}


class AwsError(OrthwebError):
    """AWS refused a call, or did not answer.

    Parameters
    ----------
    code : AWS's own name of the error, without its ending ``Exception``.
    """

    def __init__(self, message: str, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = code


def short_code(code: str) -> str:
    """Give AWS's name of an error without the endings that differ from service to service."""
    for ending in ("Exception", "Fault"):
        code = code.removesuffix(ending)
    return code


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an error of AWS into one line.

    Parameters
    ----------
    what : what was wanted, such as ``secret orthweb/pacs/index``.

    Raises
    ------
    AwsError : names what was wanted, AWS's reason, and the next step.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        found = error.response.get("Error", {})
        code = short_code(str(found.get("Code", "Unknown")))
        words = " ".join(str(found.get("Message", "")).split())
        hint = next((hint for name, hint in _HINTS.items() if code.startswith(name)), None)
        raise AwsError(f"{what}: AWS says {code}: {words[:200]}", code, hint) from error
    except BotoCoreError as error:
        code = short_code(type(error).__name__.removesuffix("Error"))
        hint = next((hint for name, hint in _HINTS.items() if code.startswith(name)), None)
        raise AwsError(f"{what}: {' '.join(str(error).split())[:200]}", code, hint) from error


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

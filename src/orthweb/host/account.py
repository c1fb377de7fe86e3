"""The AWS account as an instance sees it: clients with the instance's own role, and errors said in one line."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final

from orthweb.aws import errors
from orthweb.aws.errors import AwsError
from orthweb.host.settings import HostSettings

__all__ = ["AwsAccount", "AwsError", "told"]

_HINTS = {
    "AccessDenied": "the role of the instance lacks this permission: orthweb up (or terraform apply) puts it back",
    "ExpiredToken": "the clock of the instance, or its metadata service, is wrong",
    "RequestExpired": "the clock of the instance is wrong",
    "NoCredentials": "the instance's metadata service gives no role; tried again by itself. If it stays so, the "
    "instance has none: orthweb up (or terraform apply) puts it back",
    "Throttling": "tried again by itself",
    "ResourceNotFound": "orthweb up (or terraform apply) puts it back",
    "ParameterNotFound": "orthweb up (or terraform apply) puts it back",
}

_METADATA: Final = {"metadata_service_num_attempts": 5, "metadata_service_timeout": 3}
"""botocore asks the metadata service once, for a second, which is too little while a host is busy starting."""


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
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def _signed_in(self) -> Any:
        """Give a session with credentials: a client that is made without any never gets some."""
        import boto3
        import botocore.session
        from botocore.exceptions import NoCredentialsError

        if self._session is None:
            source = botocore.session.get_session()
            for name, value in _METADATA.items():
                source.set_config_variable(name, value)
            session = boto3.session.Session(botocore_session=source, region_name=self.settings.region)
            if session.get_credentials() is None:
                raise NoCredentialsError
            self._session = session
        return self._session

    def client(self, service: str) -> Any:
        """Give the client of a service, such as ``ssm``; the same one each time.

        Raises
        ------
        AwsError : there is no such service or region, or there are no credentials at the moment.
        """
        from botocore.config import Config

        if service not in self._clients:
            # Short, because a round of the agent is repeated anyway and must not hang in one call.
            config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
            with told(f"AWS in {self.settings.region}"):
                self._clients[service] = self._signed_in().client(service, config=config)
        return self._clients[service]

"""The AWS account as a person's machine sees it, with the person's own credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from orthweb.aws.errors import MFA, AwsError, told
from orthweb.errors import UsageError


@dataclass(frozen=True)
class Identity:
    """Whose credentials these are.

    Parameters
    ----------
    account : 12 digits.
    arn : of the user or the assumed role.
    """

    account: str
    arn: str


class Session:
    """Clients for AWS's services. Credentials and other addresses come from boto3's default chain and AWS's variables.

    Parameters
    ----------
    region : the one that the site file names; None takes the one of the AWS configuration.

    Raises
    ------
    UsageError : neither says a region; or the credentials need a code at each use.
    AwsError : the configuration is damaged, or its profile is not there.
    """

    def __init__(self, region: str | None = None) -> None:
        import boto3
        import botocore.session

        with told("AWS configuration"):
            configuration = botocore.session.Session()
            _check_code(configuration)
            # boto3 knows AWS_DEFAULT_REGION alone; Terraform, and AWS's other tools, AWS_REGION.
            self._session = boto3.session.Session(
                region_name=region or os.environ.get("AWS_REGION") or None, botocore_session=configuration
            )
        chosen = self._session.region_name
        if not chosen:
            raise UsageError(
                "aws.region: there is none, and your AWS configuration names none",
                'give it in the site file: region = "eu-central-1" in [aws], or set AWS_REGION',
            )
        self.region: str = chosen
        self._client = cache(self._make)

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
        with told(f"AWS in {self.region}"):
            return self._session.client(service, config=config)

    def client(self, service: str) -> Any:
        """Give the client of a service, such as ``ssm``; the same one each time."""
        return self._client(service)

    def identity(self) -> Identity:
        """Ask AWS whose credentials these are.

        Raises
        ------
        AwsError : there are none, or they are not valid any more.
        """
        try:
            with told("AWS"):
                found = self.client("sts").get_caller_identity()
        except AwsError as error:
            if error.code in _UNREACHED and self.region not in self._regions():
                # The names of the endpoints are made from the region's.
                raise AwsError(
                    f"aws.region: {self.region}: there may be no such region: {error.message}",
                    error.code,
                    "aws.region is a code such as eu-central-1 (AWS_REGION, where the site file says none); if it is "
                    "right, check this machine's way to AWS",
                ) from error
            raise
        return Identity(str(found["Account"]), str(found["Arn"]))

    def _regions(self) -> list[str]:
        """List the regions that this version of boto3 knows, of all partitions."""
        known = self._session
        return [each for name in known.get_available_partitions() for each in known.get_available_regions("ec2", name)]


_UNREACHED: Final = ("EndpointConnection", "ConnectTimeout")


def _check_code(configuration: Any) -> None:
    """Refuse a profile that asks for an MFA code: AWS would ask here, and Terraform cannot be given one."""
    if "AWS_ACCESS_KEY_ID" in os.environ:  # comes before any profile
        return
    profile = configuration.get_scoped_config()
    if profile.get("role_arn") and profile.get("mfa_serial"):
        name = configuration.profile or "default"
        raise UsageError(f"AWS profile {name}: it asks for an MFA code, which Terraform cannot be given", MFA)

"""The instance's metadata service (IMDSv2): who this instance is.

Source: Amazon EC2 User Guide, "Use the Instance Metadata Service to access instance metadata".
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import httpx

from orthweb.errors import OrthwebError

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
"""AWS's own variable for another address of the service."""

_ADDRESS = "http://169.254.169.254"
_TOKEN_SECONDS = "300"  # noqa: S105  a lifetime, no secret


@dataclass(frozen=True)
class Instance:
    """This instance.

    Parameters
    ----------
    identity : such as ``i-0123456789abcdef0``.
    zone : the availability zone's name.
    address : its private IPv4 address.
    """

    identity: str
    zone: str
    address: str


def read(timeout: float = 2.0) -> Instance:
    """Ask the metadata service.

    Raises
    ------
    OrthwebError : it does not answer.
    """
    base = os.environ.get(ENDPOINT, "").rstrip("/") or _ADDRESS
    try:
        # Never through a proxy: the address is the link's own.
        with httpx.Client(base_url=f"{base}/latest", timeout=timeout, trust_env=False) as client:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
            token = client.put("/api/token", headers=lifetime).raise_for_status().text
            client.headers["X-aws-ec2-metadata-token"] = token

            def ask(path: str) -> str:
                return client.get(f"/meta-data/{path}").raise_for_status().text.strip()

            return Instance(ask("instance-id"), ask("placement/availability-zone"), ask("local-ipv4"))
    except httpx.HTTPError as error:
        raise OrthwebError(
            f"the instance metadata service does not answer: {str(error) or type(error).__name__}",
            "IMDSv2 must be on; its hop limit, 1 where the archive has no bucket, is enough for the agent",
        ) from error

"""What an instance is told at its first boot: whose host it is, and where everything else is to be found."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from orthweb.errors import UsageError

FILE = Path("/etc/orthweb/host.json")
"""Written by the user data."""

RUN = Path("/run/orthweb")
"""In memory: the site file, the state folder, every secret."""

KEPT = Path("/var/lib/orthweb")
"""On the disk: nothing secret. The cache of the bucket's objects, and which ops image runs."""

OPS_IMAGE = "ORTHWEB_OPS_IMAGE"
"""Environment variable with the reference of the image that the agent itself runs in."""


@dataclass(frozen=True)
class HostSettings:
    """Whose host this is.

    Parameters
    ----------
    name : the site's.
    region : AWS region of everything the site has.
    prefix : what the names of its parameters begin with, such as ``/orthweb/pacs``.
    """

    name: str
    region: str
    prefix: str

    def secret(self, which: str) -> str:
        """Give the name of a secret in Secrets Manager."""
        return f"{self.prefix.strip('/')}/{which}"

    def parameter(self, which: str) -> str:
        """Give the name of a parameter in Systems Manager."""
        return f"/{self.prefix.strip('/')}/{which}"


def read(file: Path = FILE) -> HostSettings:
    """Read what the user data wrote.

    Raises
    ------
    UsageError : this is no host of a site, or the file is damaged.
    """
    try:
        found = json.loads(file.read_text())
        return HostSettings(str(found["name"]), str(found["region"]), str(found["prefix"]))
    except FileNotFoundError:
        raise UsageError(
            f"{file}: is not there: this machine is no host of a site on AWS", "orthweb up, on your own machine"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: should be JSON with name, region and prefix", "replace the instance") from error


def ops_image() -> str:
    """Give the reference of the image that this agent runs in; empty when it runs in none."""
    return os.environ.get(OPS_IMAGE, "")

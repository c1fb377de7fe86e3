"""The user data of a host on AWS: the same template that Terraform fills in."""

from __future__ import annotations

import re
from pathlib import Path

from orthweb.errors import UsageError

TEMPLATE = Path("terraform/modules/compute/user_data.yaml.tftpl")

LARGEST = 8192
"""Bytes; EC2 takes twice as much."""

_VALUE = re.compile(r"(?<!\$)\$\{(?P<name>[a-z_]+)\}")


def template() -> Path:
    """Find the template: in an installed package, or beside the sources.

    Raises
    ------
    UsageError : it is not there.
    """
    package = Path(__file__).parents[1]
    for folder in (package, package.parents[1]):
        if (folder / TEMPLATE).is_file():
            return folder / TEMPLATE
    raise UsageError(f"{package / TEMPLATE}: is missing", "install orthweb again")


def user_data(name: str, region: str, prefix: str, ops_image: str) -> str:
    """Fill the template in as Terraform's ``templatefile`` does.

    Parameters
    ----------
    prefix : what the names of the site's parameters begin with.
    ops_image : reference of the image that the agent runs in at first.
    """
    values = {"name": name, "region": region, "prefix": prefix, "ops_image": ops_image}
    filled = _VALUE.sub(lambda found: values[found["name"]], template().read_text())
    return filled.replace("$${", "${")

"""Where this machine has Terraform's AWS provider, so that tests need no registry.

Looked for, in this order; the first that has it is taken:

1. the command line's own configuration (``TF_CLI_CONFIG_FILE``, or ``~/.terraformrc``) when it says where providers
   come from (a ``provider_installation`` block): it is used as it is;
2. ``TF_PLUGIN_CACHE_DIR``;
3. the folders that Terraform takes for mirrors by itself (developer.hashicorp.com/terraform/cli/config/config-file,
   "Implied Local Mirror Directories");
4. an unpacked mirror (``HOST/NAMESPACE/TYPE/VERSION/TARGET``) at most two levels below the folders where software is
   installed by hand or by images: /opt, /srv, /usr/local, /usr/share, /usr/lib, /var/lib and the home folder;
5. none: the registry, as ``terraform init`` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PROVIDER = Path("registry.terraform.io/hashicorp/aws")
ROOTS = ("/opt", "/srv", "/usr/local", "/usr/share", "/usr/lib", "/var/lib")


def provider_environment(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the variables with which Terraform finds its provider; a configuration may be written into `folder`."""
    own = configuration(environment)
    if own is not None:
        return {"TF_CLI_CONFIG_FILE": str(own), "CHECKPOINT_DISABLE": "1"}
    mirror = find_mirror(environment)
    written = folder / "terraform.rc"
    written.write_text("" if mirror is None else MIRROR.format(path=mirror))
    return {"TF_CLI_CONFIG_FILE": str(written), "CHECKPOINT_DISABLE": "1"}


MIRROR = """\
provider_installation {{
  filesystem_mirror {{
    path = "{path}"
  }}
}}
"""


def configuration(environment: Mapping[str, str]) -> Path | None:
    """Give the user's own configuration of Terraform when it says where providers come from."""
    named = environment.get("TF_CLI_CONFIG_FILE") or Path(environment.get("HOME", "/")) / ".terraformrc"
    path = Path(named)
    return path if path.is_file() and "provider_installation" in path.read_text(errors="replace") else None


def find_mirror(environment: Mapping[str, str]) -> Path | None:
    """Give the folder that holds the AWS provider in the layout of a mirror, or None."""
    return next((folder for folder in _candidates(environment) if _has_provider(folder)), None)


def _has_provider(folder: Path) -> bool:
    return any((folder / PROVIDER).glob("*/*/terraform-provider-aws*")) or any(
        (folder / PROVIDER).glob("terraform-provider-aws_*.zip")
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environment.get("HOME", "/"))
    if cache := environment.get("TF_PLUGIN_CACHE_DIR"):
        yield Path(cache)
    yield home / ".terraform.d/plugins"
    data = [environment.get("XDG_DATA_HOME") or str(home / ".local/share")]
    data += (environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    yield from (Path(each) / "terraform/plugins" for each in data)
    for root in (*map(Path, ROOTS), home):
        for depth in ("", "*/", "*/*/"):
            yield from (found.parent for found in _glob(root, f"{depth}{PROVIDER.parts[0]}"))


def _glob(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []

"""The site file of one host: what the person wrote, with what the deployment and this host decide put in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from orthweb.errors import OrthwebError
from orthweb.host.parameters import Parameters
from orthweb.host.rds import Rds
from orthweb.render.postgresql import DATABASE, ROLE
from orthweb.tomltext import toml

OWN: Final = "host"
"""Folder, beside the site file, of the files that the agent makes; nobody else's have a name in it."""

SITE_FILE: Final = "site.toml"

PASSWORD: Final = f"{OWN}/index-password"
INDEX_CA: Final = f"{OWN}/index-ca.pem"
BUCKET_CA: Final = f"{OWN}/bucket-ca.pem"
CERTIFICATE, KEY = f"{OWN}/certificate.pem", f"{OWN}/certificate.key"


def values(
    text: str, found: Parameters, rds: Rds, *, name: str, instance: str, kept: Path, own: bool, bucket_ca: bool = False
) -> dict[str, Any]:
    """Give the values of this host's site file.

    Parameters
    ----------
    text : what the person wrote.
    name : of the site.
    instance : this host's id.
    kept : folder on the disk, for copies of the bucket's objects.
    own : whether there is a certificate of the owner's own.
    bucket_ca : whether this host is to trust another CA than Amazon's for AWS's names, as behind a proxy that looks in.

    Raises
    ------
    OrthwebError : the text is no TOML.
    """
    try:
        given = tomllib.loads(text)
    except ValueError as error:
        raise OrthwebError(f"the site parameter is no TOML: {error}", "orthweb up, or terraform apply") from error
    deployment = found.deployment
    tables = {key: dict(value) if isinstance(value, dict) else {} for key, value in given.items()}

    def table(key: str, /, **put: Any) -> dict[str, Any]:
        return tables.get(key, {}) | {word: value for word, value in put.items() if value not in (None, "")}

    made = given | {
        "name": name,
        "target": "docker",
        "hostname": given.get("hostname", "localhost"),
        "edge": table(
            "edge",
            listen=["0.0.0.0"],  # noqa: S104  its security group says who reaches it
            https_port=deployment.ports.https,
            dicom_port=deployment.ports.dicom,
        ),
        "index": table(
            "index",
            host=rds.host,
            port=rds.port,
            database=DATABASE,
            user=ROLE,
            password=PASSWORD,
            ca=INDEX_CA,
            client=instance,
        ),
        "store": {"kind": deployment.store},
        "docker": table(
            "docker",
            archive_image=found.images.get("archive"),
            edge_image=found.images.get("edge"),
            log_group=deployment.log_group,
            log_region=deployment.region if deployment.log_group else "",
        ),
    }
    if made["hostname"] == "localhost" and deployment.public_name:
        made["hostname"] = deployment.public_name
    if own:
        made["tls"] = table("tls", certificate=CERTIFICATE, key=KEY)
    if deployment.store == "s3":
        made["s3"] = table(
            "s3",
            bucket=deployment.bucket,
            region=deployment.region,
            cache_path=str(kept / "cache"),
            ca=BUCKET_CA if bucket_ca else None,
        )
    made.pop("aws", None)  # what is Terraform's
    return made


def text(values: Mapping[str, Any]) -> str:
    """Write a site file."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {toml(value)}" for key, value in plain.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def inside(name: str) -> PurePosixPath:
    """Give the place of a file that the site file names, beside it.

    Raises
    ------
    OrthwebError : the name leads elsewhere, or to what is not the person's.
    """
    path = PurePosixPath(name)
    first = path.parts[0] if path.parts else ""
    if path.is_absolute() or ".." in path.parts or first.startswith(".") or first in ("", OWN, SITE_FILE):
        raise OrthwebError(
            f"files/{name}: a file of the site cannot have this name", "choose another, such as tls/ca.pem"
        )
    return path

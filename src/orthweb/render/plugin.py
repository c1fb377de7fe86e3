"""What Orthweb's own part of Orthanc (``plugin/``) is told: the section ``Orthweb`` of Orthanc's configuration."""

from __future__ import annotations

from typing import Any

from orthweb.capabilities.build import OrthancBuild
from orthweb.render.endpoints import ArchiveProcess, Endpoints
from orthweb.site import S3, Site


def plugin_settings(site: Site, endpoints: Endpoints, process: ArchiveProcess, build: OrthancBuild) -> dict[str, Any]:
    """Give the section for one Orthanc; keys are in Orthanc's own style."""
    values: dict[str, Any] = {"Loopback": endpoints.one_host, "Store": site.store.kind}
    if site.store.kind == "filesystem" and build.removes_unconfirmed:
        values["Files"] = True
    if site.store.kind == "s3":
        values["Libraries"] = str(endpoints.libraries)
        values["S3"] = _s3(site.s3, endpoints, process)
    return values


def _s3(s3: S3, endpoints: Endpoints, process: ArchiveProcess) -> dict[str, Any]:
    return {
        "Bucket": s3.bucket,
        "Root": s3.root,
        "Region": s3.region,
        "Endpoint": s3.endpoint or "",
        "Addressing": s3.addressing,
        "CaFile": str(process.s3_ca) if s3.ca else "",
        "CredentialsFile": str(process.s3_credentials) if s3.credentials else "",
        "Encryption": s3.encryption,
        "KmsKey": s3.kms_key or "",
        "StorageClass": s3.storage_class or "",
        "Deadline": s3.deadline,
        # Each keeps what it knows of below its own limit.
        "CacheSize": int(s3.cache) // len(endpoints.archives),
        "CacheFolder": str(endpoints.cache),
    }

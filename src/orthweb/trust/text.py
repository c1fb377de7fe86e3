"""Instructions as text for a person, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orthweb.trust.clients import Instructions
from orthweb.trust.connection import TRUST_STORE_PASSWORD, Connection


def text(to: Connection, chosen: Sequence[Instructions]) -> str:
    """Write instructions for a person; what is not to be pasted stands behind ``#``."""
    lines = [
        f"HTTPS        {to.url}",
        f"DICOM TLS    {to.host}:{to.dicom_port}, AE title {to.aet}",
        f"CA           {to.ca}",
        f"             {to.ca_subject}, until {to.ca_not_after:%Y-%m-%d}",
        f"             SHA-256 {to.ca_sha256}",
        f"trust store  {to.trust_store} (PKCS12 for Java; password {TRUST_STORE_PASSWORD}: it holds no secret)",
    ]
    if to.client_certificates != "off":
        lines.append(
            f"client       certificates are {to.client_certificates} for DICOM: orthweb certificates client NAME"
        )
    for one in chosen:
        lines += ["", f"== {one.title}"]
        for step in one.steps:
            lines.append(f"# {step.text}")
            if step.command is not None:
                lines.append(step.command.rstrip("\n"))
    return "\n".join(lines)


def facts(to: Connection, chosen: Sequence[Instructions]) -> dict[str, Any]:
    """Give the same as JSON data."""
    return {
        "site": to.name,
        "https": {"url": to.url, "user": to.user},
        "dicom": {"host": to.host, "port": to.dicom_port, "aet": to.aet, "client_certificates": to.client_certificates},
        "ca": {
            "file": str(to.ca),
            "subject": to.ca_subject,
            "sha256": to.ca_sha256,
            "not_after": to.ca_not_after.isoformat(),
        },
        "trust_store": {"file": str(to.trust_store), "type": "PKCS12", "password": TRUST_STORE_PASSWORD},
        "tools": [
            {
                "tool": one.tool,
                "title": one.title,
                "steps": [{"text": step.text, "command": step.command} for step in one.steps],
            }
            for one in chosen
        ],
    }

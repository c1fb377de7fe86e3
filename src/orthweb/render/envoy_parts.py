"""Small pieces of Envoy's configuration (API v3) that HTTPS and DICOM share."""

from __future__ import annotations

from typing import Any

from orthweb.render.envoy_tls import TYPE

MEBIBYTE = 1024**2


def typed(name: str, kind: str, **values: Any) -> dict[str, Any]:
    """Give a named extension of the type `kind` with its settings."""
    return {"name": name, "typed_config": {"@type": f"{TYPE}.{kind}", **values}}


def access_log(fields: dict[str, str]) -> dict[str, Any]:
    """Give an access log that writes one JSON object a line to standard output, which the supervisor keeps."""
    return typed("access", "extensions.access_loggers.stream.v3.StdoutAccessLog", log_format={"json_format": fields})


def address(host: str, port: int) -> dict[str, Any]:
    """Give a TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}

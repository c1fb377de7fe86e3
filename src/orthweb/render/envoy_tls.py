"""Envoy's TLS settings and the SDS files that let certificates change under open connections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orthweb.site import Site

TYPE = "type.googleapis.com/envoy"
_TLS = f"{TYPE}.extensions.transport_sockets.tls.v3"

INTERMEDIATE_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Mozilla's *intermediate* list for TLS 1.2, as far as BoringSSL has it (no DHE)."""

CURVES = ("X25519MLKEM768", "X25519", "P-256", "P-384")

ARCHIVE_CREDENTIAL = "archive-credential"
EDGE_INTERNAL = "edge-internal"
SITE_CA = "site-ca"
INTERNAL_CA = "internal-ca"
EGRESS = "egress"


def edge_secret(number: int) -> str:
    """Name the SDS secret of the edge's certificate `number` (0: ECDSA, 1: RSA, or the own one)."""
    return f"edge-{number}"


def modality_ca(name: str) -> str:
    """Name the file of the CA that signed a modality's certificate."""
    return f"modality-{name}-ca"


def sds_file(name: str, secret: dict[str, Any]) -> str:
    """Give the text of an SDS file with one secret in it."""
    resource = {"@type": f"{_TLS}.Secret", "name": name, **secret}
    return json.dumps({"resources": [resource]}, indent=2) + "\n"


def certificate_secret(tls: Path, stem: str) -> dict[str, Any]:
    """Give an SDS secret for a certificate and key in ``tls/current``; a new ``current`` is loaded at once.

    `tls` is the folder whose entry ``current`` is a symbolic link that is replaced as a whole, so that
    a certificate is never read with the key of another.
    """
    return {
        "tls_certificate": {
            "certificate_chain": {"filename": str(tls / "current" / f"{stem}.pem")},
            "private_key": {"filename": str(tls / "current" / f"{stem}.key")},
            "watched_directory": {"path": str(tls)},
        }
    }


def trust_secret(tls: Path, stem: str) -> dict[str, Any]:
    """Give an SDS secret for a CA in ``tls/current``."""
    return {
        "validation_context": {
            "trusted_ca": {"filename": str(tls / "current" / f"{stem}.pem")},
            "watched_directory": {"path": str(tls)},
        }
    }


def credential_secret(value: str) -> dict[str, Any]:
    """Give an SDS secret with the value of a header."""
    return {"generic_secret": {"secret": {"inline_string": value}}}


def sds(name: str, folder: Path) -> dict[str, Any]:
    """Refer to the secret `name` in the SDS folder."""
    return {
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": str(folder / f"{name}.json"),
                "watched_directory": {"path": str(folder)},
            },
        },
    }


def downstream(
    site: Site, folder: Path, certificates: int, *, alpn: tuple[str, ...] = (), dicom: bool = False
) -> dict[str, Any]:
    """Give the transport socket of a public listener, after Mozilla's recommendation.

    `certificates` is how many the edge shows (ECDSA and RSA); `dicom` applies the client certificate policy.
    """
    modern = site.tls.profile == "modern"
    parameters: dict[str, Any] = {
        "tls_minimum_protocol_version": "TLSv1_3" if modern else "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
        "ecdh_curves": list(CURVES),
    }
    if not modern:
        parameters["cipher_suites"] = list(INTERMEDIATE_CIPHERS)
    common: dict[str, Any] = {
        "tls_params": parameters,
        "tls_certificate_sds_secret_configs": [sds(edge_secret(number), folder) for number in range(certificates)],
    }
    if alpn:
        common["alpn_protocols"] = list(alpn)
    policy = site.tls.client_certificates if dicom else "off"
    if policy != "off":
        common["validation_context_sds_secret_config"] = sds(SITE_CA, folder)
    return _socket("DownstreamTlsContext", common, {"require_client_certificate": policy == "required"})


def internal_server(folder: Path) -> dict[str, Any]:
    """Give the transport socket of an egress listener: the archive, and nobody else, may use it."""
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [sds(EDGE_INTERNAL, folder)],
        "validation_context_sds_secret_config": sds(INTERNAL_CA, folder),
    }
    return _socket("DownstreamTlsContext", common, {"require_client_certificate": True})


def internal_client(folder: Path, server: str) -> dict[str, Any]:
    """Give the transport socket towards a server inside the site: mutual TLS, with the one called `server`."""
    validation = {
        "default_validation_context": {
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": server}}]
        },
        "validation_context_sds_secret_config": sds(INTERNAL_CA, folder),
    }
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [sds(EDGE_INTERNAL, folder)],
        "combined_validation_context": validation,
    }
    return _socket("UpstreamTlsContext", common, {"sni": server})


def modality_client(host: str, ca: Path, *, address: bool, certificate: dict[str, Any] | None) -> dict[str, Any]:
    """Give the transport socket towards a modality: its certificate must be signed by `ca` and name `host`."""
    common: dict[str, Any] = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "validation_context": {
            "trusted_ca": {"filename": str(ca)},
            "match_typed_subject_alt_names": [
                {"san_type": "IP_ADDRESS" if address else "DNS", "matcher": {"exact": host}}
            ],
        },
    }
    if certificate is not None:
        common["tls_certificate_sds_secret_configs"] = [certificate]
    return _socket("UpstreamTlsContext", common, {} if address else {"sni": host})


def _socket(kind: str, common: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return {"name": "tls", "typed_config": {"@type": f"{_TLS}.{kind}", "common_tls_context": common, **rest}}

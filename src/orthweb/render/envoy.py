"""Envoy's bootstrap configuration: HTTPS and DICOM TLS outside, the archive inside, the way out to modalities."""

from __future__ import annotations

import json
from typing import Any

from orthweb.render import envoy_http, envoy_replicas
from orthweb.render import envoy_tls as tls
from orthweb.render.endpoints import CHECK_MODALITY, EdgeEndpoint, Endpoints
from orthweb.render.envoy_parts import MEBIBYTE, access_log, address, typed
from orthweb.render.envoy_replicas import is_address
from orthweb.site import Site

DICOM_LOG = {
    "time": "%START_TIME%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "protocol": "DICOM",
    "flags": "%RESPONSE_FLAGS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "certificate": "%DOWNSTREAM_PEER_SUBJECT%",
    "failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    # Which process of the archive took it.
    "archive": "%UPSTREAM_HOST%",
}


def _listener(edge: EdgeEndpoint, name: str, port: int, chain: dict[str, Any], **values: Any) -> dict[str, Any]:
    first, *others = edge.listen
    listener: dict[str, Any] = {
        "name": name,
        "address": address(first, port),
        # Without this a second site of the same user would share the port unnoticed.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": MEBIBYTE,
        "filter_chains": [{"transport_socket_connect_timeout": "10s", **chain}],
        **values,
    }
    if others:
        listener["additional_addresses"] = [{"address": address(other, port)} for other in others]
    return listener


def _connection_limit(prefix: str, connections: int) -> dict[str, Any]:
    return typed(
        prefix,
        "extensions.filters.network.connection_limit.v3.ConnectionLimit",
        stat_prefix=prefix,
        max_connections=connections,
        delay="1s",
    )


def _dicom_connections(site: Site) -> int:
    """Give how many connections the DICOM port takes: more than associations, which the way to the archive limits.

    Scanners and health checks connect, say nothing and leave; they must not use up what modalities need.
    """
    return max(512, 8 * site.edge.max_associations)


def _tcp(name: str, cluster: str, **values: Any) -> dict[str, Any]:
    """Pass DICOM on, but not before the requestor has spoken (PS3.8 9.1: it always speaks first).

    Orthanc's DICOM server takes one association request after the other: a connection without a word would keep it
    from everybody else.
    """
    return typed(
        name,
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=name,
        cluster=cluster,
        # Envoy does not see that a client leaves before its first word: until then only this ends the connection.
        idle_timeout="90s",
        upstream_connect_mode="ON_DOWNSTREAM_DATA",
        max_early_data_bytes=16384,
        **values,
    )


def _modality(name: str, host: str, port: int, **values: Any) -> dict[str, Any]:
    connections = 16
    return {
        "name": name,
        "connect_timeout": "5s",
        "type": "STATIC" if is_address(host) else "STRICT_DNS",
        # A name may have an IPv6 address that nobody listens on: try all (RFC 8305), not the first kind alone.
        "dns_lookup_family": "ALL",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}],
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": connections,
                    "max_pending_requests": 4 * connections,
                    "max_requests": 8 * connections,
                }
            ]
        },
        **values,
    }


def _egress(site: Site, endpoints: Endpoints) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give listeners and clusters for the archive's way to modalities that speak TLS."""
    edge = endpoints.edge.folder
    current = edge / "tls" / "current"
    site_ca = current / f"{tls.SITE_CA}.pem"
    peers = {CHECK_MODALITY: (endpoints.check_host, endpoints.check_port, site_ca)}
    for name, peer in site.modalities.items():
        if peer.tls:
            peers[name] = (peer.host, peer.port, current / f"{tls.modality_ca(name)}.pem" if peer.ca else site_ca)
    listeners, clusters = [], []
    for name, (host, port, ca) in peers.items():
        cluster = f"modality-{name}"
        listeners.append(
            {
                "name": cluster,
                "address": address(endpoints.edge.inside, endpoints.egress[name]),
                "enable_reuse_port": False,
                "per_connection_buffer_limit_bytes": MEBIBYTE,
                "filter_chains": [
                    {
                        "transport_socket": tls.internal_server(edge / "sds"),
                        "transport_socket_connect_timeout": "10s",
                        "filters": [_tcp(cluster, cluster, max_connect_attempts=3)],
                    }
                ],
            }
        )
        own = tls.sds(tls.EGRESS, edge / "sds")
        named = endpoints.check_name or host if name == CHECK_MODALITY else host
        socket = tls.modality_client(named, ca, address=is_address(named), certificate=own)
        clusters.append(_modality(cluster, host, port, transport_socket=socket))
    return listeners, clusters


def bootstrap(site: Site, endpoints: Endpoints, *, certificates: int, keep_alive: float = 20.0) -> str:
    """Give Envoy's bootstrap configuration (JSON), without any secret.

    Parameters
    ----------
    certificates : how many certificates the edge shows (two of its own, or the one that was brought).
    keep_alive : seconds that Orthanc keeps an idle HTTP connection open; the edge closes it earlier.
    """
    edge = endpoints.edge.folder
    folder = edge / "sds"
    https = _listener(
        endpoints.edge,
        "https",
        endpoints.edge.https_port,
        {
            "transport_socket": tls.downstream(site, folder, certificates, alpn=("h2", "http/1.1")),
            "filters": [
                _connection_limit("https_connections", site.edge.max_connections),
                envoy_http.connection_manager(site, edge, readers=bool(endpoints.readers)),
            ],
        },
    )
    dicom = _listener(
        endpoints.edge,
        "dicom",
        endpoints.edge.dicom_port,
        {
            "transport_socket": tls.downstream(site, folder, certificates, dicom=True),
            "filters": [
                _connection_limit("dicom_connections", _dicom_connections(site)),
                _tcp(
                    "dicom",
                    envoy_replicas.DICOM,
                    # Longer than a dead process stays undiscovered, in which it seems to have the least to do.
                    max_connect_attempts=12,
                    backoff_options={"base_interval": "0.05s", "max_interval": "0.25s"},
                ),
            ],
        },
        access_log=[access_log(DICOM_LOG)],
    )
    egress_listeners, egress_clusters = _egress(site, endpoints)
    connections = site.edge.max_connections + _dicom_connections(site) + 64
    config = {
        "node": {"id": site.name, "cluster": site.name},
        "admin": {"address": {"pipe": {"path": str(endpoints.edge.admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [https, dicom, *egress_listeners],
            "clusters": [*envoy_replicas.clusters(site, endpoints, keep_alive), *egress_clusters],
        },
        "overload_manager": {
            "resource_monitors": [
                typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=connections,
                )
            ]
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    }
    return json.dumps(config, indent=2) + "\n"

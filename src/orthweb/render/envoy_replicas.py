"""The edge's way to the archive's processes: who gets what, who steps in, and how one is taken out of use.

Which processes there are lies in files of their own that Envoy watches (EDS: path_config_source), one for each
cluster, written whole. So one is drained, added or taken away while connections to the others go on.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from orthweb.render import envoy_tls as tls
from orthweb.render.endpoints import ArchiveProcess, Endpoints
from orthweb.render.envoy_parts import MEBIBYTE, address, typed
from orthweb.render.envoy_tls import TYPE
from orthweb.site import Site

ARCHIVE = "archive"
"""Cluster of the writers' HTTP."""

READERS = "archive-readers"
"""Cluster of the readers' HTTP; the writers step in while no reader answers."""

DICOM = "archive-dicom"
"""Cluster of the writers' DICOM."""

HEALTH_SECONDS = 0.5
"""How often each process is looked at: so long may a dead one still be tried first."""

_PLAIN = {"plain": True}
"""Marks what is not to speak TLS: the look at a process's HTTP port."""


def folder(endpoints: Endpoints) -> Path:
    """Give the folder of the files that say which processes there are, as the edge sees it."""
    return endpoints.edge.folder / "eds"


def is_address(host: str) -> bool:
    """Tell an address from a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def assignments(endpoints: Endpoints, draining: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Give each cluster's processes (envoy.config.endpoint.v3.ClusterLoadAssignment).

    Parameters
    ----------
    draining : names of processes that get nothing new; what they are at goes on.
    """

    def one(process: ArchiveProcess, port: int) -> dict[str, Any]:
        return {
            # A process counts as alive when its HTTP port takes connections. Its DICOM port is not asked: Orthanc
            # takes one association request after the other, and would wait for the word of whoever looks.
            "endpoint": {
                "address": address(process.host, port),
                "health_check_config": {"port_value": process.http},
            },
            "health_status": "DRAINING" if process.name in draining else "HEALTHY",
        }

    def group(processes: Collection[ArchiveProcess], priority: int = 0) -> dict[str, Any]:
        return {"priority": priority, "lb_endpoints": [one(process, process.http) for process in processes]}

    found = {
        ARCHIVE: [group(endpoints.writers)],
        DICOM: [{"lb_endpoints": [one(each, each.dicom) for each in endpoints.writers if each.dicom is not None]}],
    }
    if endpoints.readers:
        found[READERS] = [group(endpoints.readers), group(endpoints.writers, 1)]
    return {
        # The next priority gets a share as soon as some of the first are away, unless one alone may carry everything.
        name: {"cluster_name": name, "endpoints": groups, "policy": {"overprovisioning_factor": 10000}}
        for name, groups in found.items()
    }


def eds_files(endpoints: Endpoints, draining: Collection[str] = ()) -> dict[str, str]:
    """Give the files of `folder`: name and text (JSON, envoy.service.discovery.v3.DiscoveryResponse)."""
    kind = f"{TYPE}.config.endpoint.v3.ClusterLoadAssignment"
    return {
        f"{name}.json": json.dumps({"resources": [{"@type": kind, **assignment}]}, indent=2) + "\n"
        for name, assignment in assignments(endpoints, draining).items()
    }


def _discovery(name: str, endpoints: Endpoints) -> dict[str, Any]:
    """Say where the processes of a cluster are found: in its file, which can hold addresses alone, or in the DNS."""
    if not all(is_address(process.host) for process in endpoints.archives):
        return {
            "type": "STRICT_DNS",
            "dns_lookup_family": "ALL",
            "dns_refresh_rate": "2s",
            "load_assignment": assignments(endpoints)[name],
        }
    path = folder(endpoints)
    source = {"path": str(path / f"{name}.json"), "watched_directory": {"path": str(path)}}
    return {"type": "EDS", "eds_cluster_config": {"eds_config": _v3(source)}}


def _v3(source: dict[str, Any]) -> dict[str, Any]:
    return {"resource_api_version": "V3", "path_config_source": source}


def _cluster(name: str, endpoints: Endpoints, limits: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "connect_timeout": "5s",
        **_discovery(name, endpoints),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {
            # Without this the dead ones would get their share again as soon as half of all are dead.
            "healthy_panic_threshold": {"value": 0},
            # A job is polled where it was started, there too while that process is drained.
            "override_host_status": {"statuses": ["UNKNOWN", "HEALTHY", "DEGRADED", "DRAINING"]},
        },
        # What left the list is forgotten at once: a stranger may answer on its port, and would be given credentials.
        "ignore_health_on_host_removal": True,
        "health_checks": [
            {
                "timeout": "2s",
                "interval": f"{HEALTH_SECONDS}s",
                "no_traffic_interval": f"{HEALTH_SECONDS}s",
                "unhealthy_interval": "0.2s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                # A connection says enough: the index is one for all, and a busy process is not a dead one.
                "tcp_health_check": {},
                "transport_socket_match_criteria": _PLAIN,
            }
        ],
        "per_connection_buffer_limit_bytes": MEBIBYTE,
        "circuit_breakers": limits,
        **values,
    }


def clusters(site: Site, endpoints: Endpoints, keep_alive: float) -> list[dict[str, Any]]:
    """Give the clusters of the archive's processes.

    Parameters
    ----------
    keep_alive : seconds that Orthanc keeps an idle HTTP connection open; the edge closes it earlier.
    """
    protocol = {
        "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": f"{keep_alive:g}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    # Each process has so many threads, and a connection occupies one; what is beyond waits here for its turn.
    connections = max(2, site.archive.http_threads - 2)
    everything = 32 * connections
    http = {
        "thresholds": [
            {
                "max_connections": everything,
                "max_pending_requests": everything,
                "max_requests": everything,
                "max_retries": everything,
            }
        ],
        "per_host_thresholds": [{"max_connections": connections}],
    }
    options = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol}
    found = [_cluster(ARCHIVE, endpoints, http, typed_extension_protocol_options=options)]
    if endpoints.readers:
        found.append(_cluster(READERS, endpoints, http, typed_extension_protocol_options=options))
    associations = site.edge.max_associations
    dicom = {
        "thresholds": [
            {
                "max_connections": associations,
                "max_pending_requests": 4 * associations,
                "max_requests": 8 * associations,
            }
        ]
    }
    plain = typed("plain", "extensions.transport_sockets.raw_buffer.v3.RawBuffer")
    found.append(
        _cluster(
            DICOM,
            endpoints,
            dicom,
            transport_socket=tls.internal_client(endpoints.edge.folder / "sds", "archive"),
            transport_socket_matches=[{"name": "health", "match": _PLAIN, "transport_socket": plain}],
        )
    )
    return found

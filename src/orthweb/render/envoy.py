"""Envoy's bootstrap configuration: HTTPS and DICOM TLS outside, the archive inside, the way out to modalities."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

from orthweb.render import envoy_tls as tls
from orthweb.render.endpoints import CHECK_MODALITY, LocalEndpoints
from orthweb.render.envoy_tls import TYPE
from orthweb.site import Site

CLOSED = "/tools/(execute-script|shutdown|reset)(/.*)?"
"""Never reachable: Lua execution, shutdown and restart of Orthanc."""

READ_ONLY = "/tools/log-level(-.*)?"
"""Reading is harmless; a verbose log would carry patient data."""

DOTTED = "(.*/)?[^/]*[.](/.*)?"
"""A segment that ends with a dot. Orthanc's web server drops it: ``/tools/reset.`` would be ``/tools/reset``."""

METHOD_HEADER = "x-http-method-override"
METHOD_ARGUMENT = "(?i)[^?]*[?](.*&)?" + "".join(f"({letter}|%{ord(letter):02x})" for letter in "_method") + "([=&].*)?"
"""Orthanc takes ``GET /studies/...?_method=delete`` for a DELETE, which any page could link to."""

HEALTH_ANSWER = """
function envoy_on_response(handle)
  local ready = handle:headers():get(":status") == "200"
  if not ready then handle:headers():replace(":status", "503") end
  handle:headers():replace("content-type", "text/plain")
  handle:body(true):setBytes(ready and "ok\\n" or "not ready\\n")
end
"""
"""``/healthz`` asks for the archive's statistics, which come from the index; figures are for people who signed in."""

PLAIN_QUERY = """
function envoy_on_request(handle)
  local path = handle:headers():get(":path")
  local mark = path:find("?", 1, true)
  if not mark or not path:find("%", mark, true) then return end
  local query = path:sub(mark):gsub("%%(%x%x)", function(code)
    local character = string.char(tonumber(code, 16))
    if character:match("[%w%-._~!$'()*,;:@/?^]") then return character end
  end)
  handle:headers():replace(":path", path:sub(1, mark - 1) .. query)
end
"""
"""Orthanc 1.10 does not decode a query: ``PatientName=SMITH%2A``, as many clients write it, would find nobody.

What may stand there as it is, is decoded (RFC 3986 3.4); ``& = + % #`` and what is not ASCII stays as it came.
"""

USER_HEADER = "x-orthweb-user"
MEBIBYTE = 1024**2

HSTS = {"strict-transport-security": "max-age=63072000"}
"""RFC 6797; never for localhost, where a browser would apply it to whatever a developer serves there on other ports."""

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Orthanc Explorer is jQuery Mobile with scripts and styles in its page.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
}

HTTP_LOG = {
    "time": "%START_TIME%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user": "%REQ(X-ORTHWEB-USER)%",
    "protocol": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    # NQ: no query string. A QIDO-RS query is full of patient data.
    "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}
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
}


def _filter(name: str, kind: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{TYPE}.{kind}", **values}}


def _log(fields: dict[str, str]) -> dict[str, Any]:
    return _filter("access", "extensions.access_loggers.stream.v3.StdoutAccessLog", log_format={"json_format": fields})


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _off(*names: str) -> dict[str, Any]:
    kind = f"{TYPE}.config.route.v3.FilterConfig"
    return {name: {"@type": kind, "disabled": True} for name in names}


def _to_archive(match: dict[str, Any], **values: Any) -> dict[str, Any]:
    retry = {"retry_on": "reset-before-request,connect-failure,refused-stream", "num_retries": 2}
    # No limit on the whole: 2 GB over a slow line take their time. Silence is limited by the stream's idle timeout.
    return {"match": match, "route": {"cluster": "archive", "timeout": "0s", "retry_policy": retry, **values}}


def _refuse(match: dict[str, Any], status: int, text: str) -> dict[str, Any]:
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": text + "\n"}}}


def _routes() -> list[dict[str, Any]]:
    healthy = {
        "match": {"path": "/healthz"},
        "route": {"cluster": "archive", "timeout": "5s", "prefix_rewrite": "/statistics"},
        "typed_per_filter_config": {
            **_off("login"),
            "answer": {"@type": f"{TYPE}.extensions.filters.http.lua.v3.LuaPerRoute", "name": "health"},
            "health_rate": {
                "@type": f"{TYPE}.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                **_rate("health_rate", burst=50, second=20),
            },
        },
    }
    other_origin = {
        "prefix": "/",
        "headers": [
            {"name": "sec-fetch-site", "string_match": {"safe_regex": {"regex": "cross-site|same-site"}}},
            {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}, "invert_match": True},
        ],
    }
    writing = [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}, "invert_match": True}]
    other_method = {
        "prefix": "/",
        "headers": [{"name": ":path", "string_match": {"safe_regex": {"regex": METHOD_ARGUMENT}}}],
    }
    return [
        _refuse({"safe_regex": {"regex": DOTTED}}, 400, "No part of a path may end with a dot."),
        _refuse(other_method, 400, "The argument _method is refused: use the method itself."),
        healthy,
        _refuse({"safe_regex": {"regex": CLOSED}}, 403, "This endpoint is closed."),
        _refuse({"safe_regex": {"regex": READ_ONLY}, "headers": writing}, 403, "This endpoint is read-only."),
        # A browser that knows the password would send it with a form on somebody else's page.
        _refuse(other_origin, 403, "Requests from other origins are refused."),
        {"match": {"path": "/"}, "redirect": {"path_redirect": "/app/explorer.html", "response_code": "FOUND"}},
        _to_archive({"prefix": "/"}),
    ]


def _rate(prefix: str, *, burst: int, second: int) -> dict[str, Any]:
    whole = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "stat_prefix": prefix,
        "token_bucket": {"max_tokens": burst, "tokens_per_fill": second, "fill_interval": "1s"},
        "filter_enabled": whole,
        "filter_enforced": whole,
    }


def _http_filters(site: Site, edge: Path) -> list[dict[str, Any]]:
    http = "extensions.filters.http"
    return [
        _filter("health_rate", f"{http}.local_ratelimit.v3.LocalRateLimit", stat_prefix="health_rate"),
        _filter("query", f"{http}.lua.v3.Lua", default_source_code={"inline_string": PLAIN_QUERY}),
        _filter("answer", f"{http}.lua.v3.Lua", source_codes={"health": {"inline_string": HEALTH_ANSWER}}),
        _filter(
            "login",
            f"{http}.basic_auth.v3.BasicAuth",
            users={"filename": str(edge / "htpasswd")},
            forward_username_header=USER_HEADER,
        ),
        _filter("body_limit", f"{http}.body_size_limit.v3.BodySizeLimit", max_request_bytes=int(site.edge.max_body)),
        _filter(
            "credential",
            f"{http}.credential_injector.v3.CredentialInjector",
            overwrite=True,
            credential=_filter(
                "generic",
                "extensions.http.injected_credentials.generic.v3.Generic",
                credential=tls.sds(tls.ARCHIVE_CREDENTIAL, edge / "sds"),
            ),
        ),
        _filter("router", f"{http}.router.v3.Router", suppress_envoy_headers=True),
    ]


def _headers(values: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def _https(site: Site, edge: Path) -> dict[str, Any]:
    routes = _routes()
    local = {"name": "localhost", "domains": ["localhost", f"localhost:{site.edge.https_port}"], "routes": routes}
    named = {"name": "site", "domains": ["*"], "routes": routes, "response_headers_to_add": _headers(HSTS)}
    realm = {
        # Envoy's own names the whole address: browsers would ask for the password again at every other one.
        "header": {"key": "www-authenticate", "value": f'Basic realm="{site.name}", charset="UTF-8"'},
        "append_action": "OVERWRITE_IF_EXISTS",
    }
    refused = {
        "filter": {
            "status_code_filter": {
                "comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "refused_from"}}
            }
        },
        "headers_to_add": [*_headers(SECURITY_HEADERS), realm],
    }
    return _filter(
        "http",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="https",
        codec_type="AUTO",
        server_name=site.name,
        server_header_transformation="OVERWRITE",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout="15s",
        stream_idle_timeout="300s",
        delayed_close_timeout="2s",
        max_request_headers_kb=32,
        common_http_protocol_options={
            "idle_timeout": "60s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        http2_protocol_options={
            "max_concurrent_streams": 100,
            "initial_stream_window_size": MEBIBYTE,
            "initial_connection_window_size": 4 * MEBIBYTE,
        },
        early_header_mutation_extensions=[
            _filter(
                "forged",
                "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                mutations=[{"remove": USER_HEADER}, {"remove": METHOD_HEADER}],
            )
        ],
        # What is refused before it has a route, such as a malformed path, gets no headers from there.
        local_reply_config={"mappers": [refused]},
        access_log=[_log(HTTP_LOG)],
        http_filters=_http_filters(site, edge),
        route_config={
            "name": "site",
            "response_headers_to_add": _headers(SECURITY_HEADERS),
            "response_headers_to_remove": ["x-powered-by"],
            "request_headers_to_add": _headers({"forwarded": "host=%REQ(:AUTHORITY)%;proto=https"}),
            "virtual_hosts": [local, named],
        },
    )


def _listener(site: Site, name: str, port: int, chain: dict[str, Any], **values: Any) -> dict[str, Any]:
    first, *others = (str(address) for address in site.edge.listen)
    listener: dict[str, Any] = {
        "name": name,
        "address": _address(first, port),
        # Without this a second site of the same user would share the port unnoticed.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": MEBIBYTE,
        "filter_chains": [{"transport_socket_connect_timeout": "10s", **chain}],
        **values,
    }
    if others:
        listener["additional_addresses"] = [{"address": _address(other, port)} for other in others]
    return listener


def _connection_limit(prefix: str, connections: int) -> dict[str, Any]:
    return _filter(
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
    return _filter(
        name,
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=name,
        cluster=cluster,
        # Envoy does not see that a client leaves before its first word: until then only this ends the connection.
        idle_timeout="90s",
        max_connect_attempts=3,
        upstream_connect_mode="ON_DOWNSTREAM_DATA",
        max_early_data_bytes=16384,
        **values,
    )


def _cluster(name: str, host: str, port: int, connections: int, **values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "connect_timeout": "5s",
        "type": "STATIC" if _is_address(host) else "STRICT_DNS",
        # A name may have an IPv6 address that nobody listens on: try all (RFC 8305), not the first kind alone.
        "dns_lookup_family": "ALL",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, port)}}]}],
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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _egress(site: Site, endpoints: LocalEndpoints) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give listeners and clusters for the archive's way to modalities that speak TLS."""
    edge = endpoints.state.edge
    current = edge / "tls" / "current"
    site_ca = current / f"{tls.SITE_CA}.pem"
    peers = {CHECK_MODALITY: ("127.0.0.1", endpoints.ports.check, site_ca)}
    for name, peer in site.modalities.items():
        if peer.tls:
            peers[name] = (peer.host, peer.port, current / f"{tls.modality_ca(name)}.pem" if peer.ca else site_ca)
    listeners, clusters = [], []
    for name, (host, port, ca) in peers.items():
        cluster = f"modality-{name}"
        listeners.append(
            {
                "name": cluster,
                "address": _address("127.0.0.1", endpoints.ports.egress[name]),
                "enable_reuse_port": False,
                "per_connection_buffer_limit_bytes": MEBIBYTE,
                "filter_chains": [
                    {
                        "transport_socket": tls.internal_server(edge / "sds"),
                        "transport_socket_connect_timeout": "10s",
                        "filters": [_tcp(cluster, cluster)],
                    }
                ],
            }
        )
        own = tls.sds(tls.EGRESS, edge / "sds")
        socket = tls.modality_client(host, ca, address=_is_address(host), certificate=own)
        clusters.append(_cluster(cluster, host, port, 16, transport_socket=socket))
    return listeners, clusters


def bootstrap(site: Site, endpoints: LocalEndpoints, *, certificates: int, keep_alive: float = 20.0) -> str:
    """Give Envoy's bootstrap configuration (JSON), without any secret.

    Parameters
    ----------
    certificates : how many certificates the edge shows (two of its own, or the one that was brought).
    keep_alive : seconds that Orthanc keeps an idle HTTP connection open; the edge closes it earlier.
    """
    edge, ports = endpoints.state.edge, endpoints.ports
    folder = edge / "sds"
    https = _listener(
        site,
        "https",
        site.edge.https_port,
        {
            "transport_socket": tls.downstream(site, folder, certificates, alpn=("h2", "http/1.1")),
            "filters": [_connection_limit("https_connections", site.edge.max_connections), _https(site, edge)],
        },
    )
    dicom = _listener(
        site,
        "dicom",
        site.edge.dicom_port,
        {
            "transport_socket": tls.downstream(site, folder, certificates, dicom=True),
            "filters": [
                _connection_limit("dicom_connections", _dicom_connections(site)),
                _tcp("dicom", "archive-dicom"),
            ],
        },
        access_log=[_log(DICOM_LOG)],
    )
    egress_listeners, egress_clusters = _egress(site, endpoints)
    protocol = {
        "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": f"{keep_alive:g}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    archive = _cluster(
        "archive",
        "127.0.0.1",
        ports.archive_http,
        max(2, site.archive.http_threads - 2),
        per_connection_buffer_limit_bytes=MEBIBYTE,
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
    )
    archive_dicom = _cluster(
        "archive-dicom",
        "127.0.0.1",
        ports.archive_dicom,
        site.edge.max_associations,
        per_connection_buffer_limit_bytes=MEBIBYTE,
        transport_socket=tls.internal_client(folder, "archive"),
    )
    connections = site.edge.max_connections + _dicom_connections(site) + 64
    config = {
        "node": {"id": site.name, "cluster": site.name},
        "admin": {"address": {"pipe": {"path": str(endpoints.edge_admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [https, dicom, *egress_listeners],
            "clusters": [archive, archive_dicom, *egress_clusters],
        },
        "overload_manager": {
            "resource_monitors": [
                _filter(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=connections,
                )
            ]
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    }
    return json.dumps(config, indent=2) + "\n"

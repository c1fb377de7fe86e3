"""The HTTPS side of the edge: which request goes where, who may make it, what is logged and added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orthweb.render import envoy_routes
from orthweb.render import envoy_tls as tls
from orthweb.render.envoy_parts import MEBIBYTE, access_log, typed
from orthweb.render.envoy_replicas import ARCHIVE
from orthweb.render.envoy_tls import TYPE
from orthweb.site import Site

CLOSED = "/tools/(execute-script|shutdown|reset)(/.*)?"
"""Never reachable: Lua execution, shutdown and restart of Orthanc."""

READ_ONLY = "/tools/log-level(-.*)?(/.*)?"
"""Reading is harmless; a verbose log would carry patient data. Orthanc does not see a slash at the end of a path."""

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

UPLOAD_ANSWER = """
local function refuse(handle)
  local headers = handle:headers()
  if headers:get(":status") ~= "403" or headers:get("content-length") ~= "0" then return false end
  handle:body(true):setBytes("The archive takes no instances now. Try again later.\\n")
  headers = handle:headers()
  headers:replace(":status", "503")
  headers:replace("retry-after", "10")
  headers:replace("content-type", "text/plain")
  return true
end

function envoy_on_response(handle)
  refuse(handle)
end
"""
"""The archive refuses what would bring instances while its store takes none, and 403 is all that a filter of Orthanc's
can answer: to a client, that it may never do this. Such an answer is empty. Orthanc's own refusals have words in them,
a wrong credential is a 401 to it, and what the edge refuses never comes here.
"""

STOW_ANSWER = (
    UPLOAD_ANSWER.partition("function envoy_on_response")[0]
    + """function envoy_on_response(handle)
  if refuse(handle) then return end
  local length = tonumber(handle:headers():get("content-length") or "")
  if handle:headers():get(":status") ~= "200" or not length or length > 4096 then return end
  local body = handle:body(true)
  if body:length() > 0 and tostring(body:getBytes(0, body:length())):find("00081155", 1, true) then return end
  handle:headers():replace(":status", "503")
  handle:headers():replace("content-type", "text/plain")
  body:setBytes("Nothing was stored. Try again later.\\n")
end
"""
)
"""Orthanc's DICOMweb plugin before 1.20 answers 200 with empty lists when the store fails while a STOW-RS is under way,
which many a client takes for success: an answer that names no instance (ReferencedSOPInstanceUID) becomes an error.
It says nothing of a later try, which may end the same way: it may be the instance's fault.
"""

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
    # Which process of the archive answered.
    "archive": "%UPSTREAM_HOST%",
}


def _off(*names: str) -> dict[str, Any]:
    kind = f"{TYPE}.config.route.v3.FilterConfig"
    return {name: {"@type": kind, "disabled": True} for name in names}


def _refuse(match: dict[str, Any], status: int, text: str) -> dict[str, Any]:
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": text + "\n"}}}


def _routes(*, readers: bool) -> list[dict[str, Any]]:
    healthy = {
        "match": {"path": "/healthz"},
        "route": {"cluster": ARCHIVE, "timeout": "5s", "prefix_rewrite": "/statistics"},
        "typed_per_filter_config": {
            **_off("login"),
            **envoy_routes.anywhere(),
            **envoy_routes.answer("health"),
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
        *envoy_routes.routes(readers=readers),
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
    scripts = {"health": HEALTH_ANSWER, "upload": UPLOAD_ANSWER, "stow": STOW_ANSWER}
    answers = {name: {"inline_string": script} for name, script in scripts.items()}
    health = {"name": ":path", "string_match": {"exact": "/healthz"}}
    return [
        # Says 503 at once while whoever runs this machine wants no more work for it (``/healthcheck/fail``), so that a
        # load balancer goes elsewhere; before the limit below, which answers 429.
        typed("drain", f"{http}.health_check.v3.HealthCheck", pass_through_mode=True, headers=[health]),
        typed("health_rate", f"{http}.local_ratelimit.v3.LocalRateLimit", stat_prefix="health_rate"),
        typed("query", f"{http}.lua.v3.Lua", default_source_code={"inline_string": PLAIN_QUERY}),
        typed("answer", f"{http}.lua.v3.Lua", source_codes=answers),
        typed(
            "login",
            f"{http}.basic_auth.v3.BasicAuth",
            users={"filename": str(edge / "htpasswd")},
            forward_username_header=USER_HEADER,
        ),
        typed("body_limit", f"{http}.body_size_limit.v3.BodySizeLimit", max_request_bytes=int(site.edge.max_body)),
        typed(
            "credential",
            f"{http}.credential_injector.v3.CredentialInjector",
            overwrite=True,
            credential=typed(
                "generic",
                "extensions.http.injected_credentials.generic.v3.Generic",
                credential=tls.sds(tls.ARCHIVE_CREDENTIAL, edge / "sds"),
            ),
        ),
        *envoy_routes.session_filters(),
        typed("router", f"{http}.router.v3.Router", suppress_envoy_headers=True),
    ]


def _headers(values: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def connection_manager(site: Site, edge: Path, *, readers: bool) -> dict[str, Any]:
    """Give the network filter that speaks HTTP/1.1 and HTTP/2.

    Parameters
    ----------
    edge : folder of the edge's files.
    readers : whether there are processes that only read, beside the writers.
    """
    routes = _routes(readers=readers)
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
    return typed(
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
            typed(
                "forged",
                "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                mutations=[{"remove": USER_HEADER}, {"remove": METHOD_HEADER}],
            )
        ],
        # What is refused before it has a route, such as a malformed path, gets no headers from there.
        local_reply_config={"mappers": [refused]},
        access_log=[access_log(HTTP_LOG)],
        http_filters=_http_filters(site, edge),
        route_config={
            "name": "site",
            "response_headers_to_add": _headers(SECURITY_HEADERS),
            "response_headers_to_remove": ["x-powered-by"],
            "request_headers_to_add": _headers({"forwarded": "host=%REQ(:AUTHORITY)%;proto=https"}),
            "virtual_hosts": [local, named],
        },
    )

"""Which API operation a request is, from botocore's descriptions of the services: ``s3:PutBucketAcl``.

Most AWS protocols name the operation (``Action=`` in the body, ``X-Amz-Target``, or the path in RPC v2); those of S3,
Route 53 and AWS Backup do not: method, path and query say it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import botocore.session

MODELS = {
    "tagging": "resourcegroupstaggingapi",
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
}
"""Signing names that are not botocore's name of the service."""


@dataclass(frozen=True)
class Request:
    """The parts of an HTTP request that tell the operation; `service` is the signing name (Signature Version 4)."""

    service: str
    region: str
    method: str
    path: str
    query: str
    target: str
    body: str
    headers: frozenset[str]

    @classmethod
    def of(cls, environ: dict[str, Any], body: bytes) -> Request:
        """Read a WSGI environment; `body` is taken for text when it is a form."""
        query = str(environ.get("QUERY_STRING", ""))
        header = str(environ.get("HTTP_AUTHORIZATION", ""))
        scope = re.search(r"Credential=[^/,]+/\d+/([^/]+)/([^/]+)/aws4_request", header) or re.search(
            r"X-Amz-Credential=[^%&]+%2F\d+%2F([^%]+)%2F([^%]+)%2Faws4_request", query
        )
        form = str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded")
        return cls(
            service=scope[2] if scope else "",
            region=scope[1] if scope else "",
            method=str(environ.get("REQUEST_METHOD", "")),
            path=str(environ.get("PATH_INFO", "")),
            query=query,
            target=str(environ.get("HTTP_X_AMZ_TARGET", "")),
            body=body.decode(errors="replace") if form else "",
            headers=frozenset(
                name[5:].replace("_", "-").lower()
                for name, value in environ.items()
                if name.startswith("HTTP_") and value
            ),
        )


def operation(request: Request) -> str:
    """Name the operation; an unknown one is named by method and path."""
    if request.target:
        return request.target.rsplit(".", 1)[-1]
    if rpc := re.search(r"/operation/(\w+)$", request.path):
        return rpc[1]
    named = parse_qs(request.body).get("Action") or parse_qs(request.query).get("Action")
    if named:
        return named[0]
    asked = set(parse_qs(request.query, keep_blank_values=True))
    for route in _routes(request.service):
        fits = route.method == request.method and route.path.fullmatch(request.path)
        if fits and route.query <= asked and route.headers <= request.headers:
            return route.operation
    return f"{request.method} {request.path}"


@dataclass(frozen=True)
class _Route:
    operation: str
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    headers: frozenset[str]


@cache
def _routes(service: str) -> list[_Route]:
    """Give a service's operations, those that ask for most first."""
    session = botocore.session.get_session()
    name = MODELS.get(service, service)
    if name not in session.get_available_services():
        return []
    model = session.get_service_model(name)
    found = [_route(each, model.operation_model(each)) for each in model.operation_names]
    return sorted(found, key=lambda route: (-len(route.query | route.headers), -route.path.pattern.count("/")))


def _route(name: str, model: Any) -> _Route:
    uri, _, query = str(model.http["requestUri"]).partition("?")
    members = (
        [shape.members[name].serialization for name in shape.required_members] if (shape := model.input_shape) else []
    )
    in_query = {each["name"] for each in members if each.get("location") == "querystring"}
    headers = frozenset(each["name"].lower() for each in members if each.get("location") == "header")
    # A greedy member ({Key+}) may hold slashes.
    parts = re.split(r"(\{\w+\+?\})", uri.rstrip("/"))
    pattern = "".join(
        ".+" if part.endswith("+}") else "[^/]+" if part.startswith("{") else re.escape(part) for part in parts
    )
    wanted = frozenset(part.split("=")[0] for part in query.split("&") if part) | in_query
    return _Route(name, str(model.http["method"]), re.compile(f"{pattern}/?"), wanted, headers)

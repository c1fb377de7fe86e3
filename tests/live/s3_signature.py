"""Signature Version 4 as the server computes it (Amazon S3 API reference, "Authenticating Requests").

Written from the specification and not with the client's library, so that the two judge each other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>(?P<day>\d{8})/(?P<region>[^/]+)/s3/aws4_request), *"
    r"SignedHeaders=(?P<headers>[^,]+), *Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Claim:
    """What a request says about its sender.

    Parameters
    ----------
    payload : SHA-256 of the body in hexadecimal digits, or a word where it is not signed.
    """

    access_key: str
    scope: str
    signed: tuple[str, ...]
    signature: str
    time: datetime
    payload: str
    token: str


def claim(headers: Mapping[str, str], query: str) -> Claim | None:
    """Read the claim from a request's headers (names in lower case) or query; None for an anonymous request."""
    asked = dict(parse_qsl(query))
    if "X-Amz-Signature" in asked:
        key, _, scope = asked["X-Amz-Credential"].partition("/")
        time = datetime.strptime(asked["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        signed = tuple(asked["X-Amz-SignedHeaders"].split(";"))
        token = asked.get("X-Amz-Security-Token", "")
        return Claim(key, scope, signed, asked["X-Amz-Signature"], time, "UNSIGNED-PAYLOAD", token)
    found = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if found is None:
        return None
    time = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    signed = tuple(found["headers"].split(";"))
    payload, token = headers["x-amz-content-sha256"], headers.get("x-amz-security-token", "")
    return Claim(found["key"], found["scope"], signed, found["signature"], time, payload, token)


def signature(claimed: Claim, secret: str, method: str, path: str, query: str, headers: Mapping[str, str]) -> str:
    """Compute what the signature must be."""
    pairs = sorted(
        (quote(name, "-_.~"), quote(value, "-_.~"))
        for name, value in parse_qsl(query, True)
        if name != "X-Amz-Signature"
    )
    canonical = "\n".join(
        [
            method,
            path,
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in claimed.signed),
            "",
            ";".join(claimed.signed),
            claimed.payload,
        ]
    )
    stamp = claimed.time.strftime("%Y%m%dT%H%M%SZ")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{claimed.scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for word in claimed.scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()

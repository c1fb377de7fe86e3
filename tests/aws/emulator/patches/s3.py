"""Amazon S3: the configuration of intelligent tiering, which moto lacks."""

from __future__ import annotations

from typing import Any

from moto.s3.responses import S3Response

from aws.emulator.patches import replaces

ABSENT = "<Error><Code>NoSuchConfiguration</Code><Message>The specified configuration does not exist.</Message></Error>"


@replaces(S3Response)
def _bucket_response(former: Any, self: Any, request: Any, full_url: str) -> Any:
    query = self._get_querystring(request, full_url)
    if "intelligent-tiering" not in query or "id" not in query:
        return former(self, request, full_url)
    bucket = self.backend.get_bucket(self.parse_bucket_name_from_url(request, full_url))
    kept: dict[str, bytes] = bucket.__dict__.setdefault("intelligent_tiering", {})
    identifier = query["id"][0]
    if request.method == "PUT":
        kept[identifier] = request.data
        return 200, {}, ""
    if request.method == "DELETE":
        kept.pop(identifier, None)
        return 204, {}, ""
    return (200, {}, kept[identifier]) if identifier in kept else (404, {}, ABSENT)

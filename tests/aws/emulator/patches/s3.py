"""Amazon S3: the configuration of intelligent tiering, which moto lacks, and the parts of a replication it forgets."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from moto.core.responses import ActionResult
from moto.s3.models import FakeBucket, S3Backend
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


RULE = ("ID", "Priority", "Status", "Destination", "SourceSelectionCriteria", "DeleteMarkerReplication")


# moto answers with the destination alone; the provider would add what is missing in every plan.
@replaces(S3Response)
def get_bucket_replication(former: Any, self: Any) -> Any:
    replication = self.backend.get_bucket_replication(self.bucket_name)
    if not replication:
        return former(self)
    self.data["Action"] = "GetBucketReplication"
    rules = [
        {"Filter": {"Prefix": ""}, **{part: rule[part] for part in RULE if part in rule}}
        for rule in replication["Rule"]
    ]
    return self.serialized(ActionResult({"ReplicationConfiguration": {"Role": replication["Role"], "Rules": rules}}))


# moto judges by a bucket's policy without the conditions in it: what is denied to some would be denied to all. Who may
# do what is AWS's part, and what the policy says is judged by the tests of plans.
@replaces(FakeBucket)
def get_permission(former: Any, self: Any, action: str, resource: str) -> Any:
    if self.policy is None:
        return former(self, action, resource)
    document = json.loads(self.policy)
    plain = [each for each in document["Statement"] if "Condition" not in each]
    judged = json.dumps({**document, "Statement": plain}).encode() if plain else None
    return former(SimpleNamespace(policy=judged), action, resource)


# AWS takes a lock, and takes its retention away again, also where there are objects already.
@replaces(S3Backend)
def put_object_lock_configuration(former: Any, self: Any, bucket_name: str, *arguments: Any, **named: Any) -> None:
    bucket = self.get_bucket(bucket_name)
    kept, bucket.keys = bucket.keys, type(bucket.keys)()
    try:
        former(self, bucket_name, *arguments, **named)
    finally:
        bucket.keys = kept

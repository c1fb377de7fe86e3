"""Sites and stores for the tests of ``orthweb store``: what a site file says of a bucket, and every file's digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from live.counting import Sample, client
from live.s3_server import S3Server
from live.sites import LiveSite


def bucket(s3: S3Server, **more: Any) -> dict[str, Any]:
    """Give the [s3] of a site file for the test's own server."""
    ca = {"ca": str(s3.ca)} if s3.ca is not None else {}
    found = {"bucket": s3.bucket, "endpoint": s3.endpoint, "region": s3.region, "credentials": str(s3.credentials)}
    return found | ca | more


def digests(site: LiveSite, sent: Sequence[Sample]) -> dict[str, str]:
    """Fetch instances through the edge; give the SHA-256 of each file."""
    with client(site.access) as http, ThreadPoolExecutor(4) as pool:

        def digest(sample: Sample) -> str:
            answer = http.get(f"/instances/{sample.archive_id}/file")
            assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
            return hashlib.sha256(answer.content).hexdigest()

        return dict(zip((sample.uid for sample in sent), pool.map(digest, sent), strict=True))


def stored_files(folder: Path) -> list[Path]:
    """List Orthanc's files in a store's folder, in the order of their names."""
    return sorted(folder.glob("??/??/????????-*"))

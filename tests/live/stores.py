"""Sites and stores for the tests of ``orthweb store``: what a site file says of a bucket, and every file's digest."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest

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


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command of ours as a power cut would."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def read_until(stream: IO[str] | None, words: str) -> None:
    """Read what a command says until it says something."""
    assert stream is not None
    for line in stream:
        if words in line:
            return
    pytest.fail(f"never said: {words}")


def unfinished(site: LiveSite) -> dict[str, Any] | None:
    """Give what ``orthweb status`` says of a migration, in JSON; in words it must say it too, or nothing."""
    found: dict[str, Any] | None = json.loads(site.orthweb("status", "--json", check=False).stdout)["migration"]
    said = site.orthweb("status", check=False).stdout
    words = [line for line in said.splitlines() if line.startswith("Note: a migration of the images from ")]
    if found is None:
        assert words == []
    else:
        assert len(words) == 1
        step = f"go on with: orthweb store migrate --to {found['to']}"
        assert words[0].endswith(f" was interrupted: {found['verified']} copies verified; {step}")
    return found

"""How a host is, once a minute, as one line of its log, from which the site's alarms are made.

Names and units are those that terraform/modules/observability reads: ``disk_used_percent``, ``memory_used_percent`` and
``healthy`` (1 or 0; not there while the site is made for the first time). Nothing in it is about a patient.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import psutil
from cryptography import x509

from orthweb.errors import OrthwebError
from orthweb.host import shared
from orthweb.host.journal import Journal
from orthweb.state import FOLDER_NAME

if TYPE_CHECKING:
    from orthweb.access import SiteAccess

INTERVAL: Final = 60.0
"""Seconds between two lines."""


class Figures:
    """Writes the line, when it is time.

    Parameters
    ----------
    kept : folder on the disk that is looked at.
    run : folder in memory, with the certificates.
    healthy : tells whether the site works here; None while it is made.
    statistics : gives what the archive counts of itself.
    """

    def __init__(
        self,
        journal: Journal,
        kept: Path,
        run: Path,
        healthy: Callable[[], bool | None],
        statistics: Callable[[], Mapping[str, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self._kept, self._run = journal, kept, run
        self._healthy, self._statistics, self._clock = healthy, statistics, clock
        self._at = float("-inf")

    def tell(self) -> None:
        """Write the line once a minute; whatever cannot be found out is left out."""
        if self._clock() - self._at < INTERVAL:
            return
        self._at = self._clock()
        found: dict[str, Any] = {
            "disk_used_percent": psutil.disk_usage(str(self._kept)).percent,
            "memory_used_percent": psutil.virtual_memory().percent,
        }
        healthy = self._healthy()
        if healthy is not None:
            found["healthy"] = int(healthy)
        days = certificate_days(self._run / FOLDER_NAME / "pki", datetime.now(UTC))
        if days is not None:
            found["certificate_days"] = days
        if healthy:
            with contextlib.suppress(OrthwebError, OSError):
                found |= self._statistics()
        self._journal.add("how this host is", event="figures", **found)


def certificate_days(folder: Path, now: datetime) -> float | None:
    """Give the days until the first of the site's certificates ends, the owner's own included; None without any."""
    ends = []
    for path in (*(folder / f"{name}.pem" for name in shared.SHARED), *folder.glob("edge-own*.pem")):
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):
            continue
        ends += [each.not_valid_after_utc for each in found]
    return round((min(ends) - now).total_seconds() / 86400, 1) if ends else None


_QUEUES: Final = {
    "orthanc_jobs_pending": "archive_jobs_waiting",
    "orthanc_jobs_running": "archive_jobs_running",
    "orthanc_jobs_failed": "archive_jobs_failed",
}
"""Of Orthanc's own metrics, what waits to be done; and what they are called here."""


def archive(access: SiteAccess, timeout: float = 5.0) -> dict[str, float]:
    """Ask the archive, through the edge, what waits in it; nothing when it does not answer.

    Source: Orthanc Book, "Instrumentation with Prometheus" (``/tools/metrics-prometheus``).
    """
    from orthweb.targets.host.readiness import own_edge

    try:
        with own_edge(access, timeout) as client:
            return queues(client.get("/tools/metrics-prometheus").raise_for_status().text)
    except (httpx.HTTPError, OSError, ValueError, OrthwebError):
        return {}


def queues(text: str) -> dict[str, float]:
    """Read Orthanc's metrics: a name, a value and a time in each line."""
    lines = (line.split() for line in text.splitlines())
    return {_QUEUES[words[0]]: float(words[1]) for words in lines if len(words) >= 2 and words[0] in _QUEUES}

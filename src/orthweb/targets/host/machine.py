"""What this machine has, as far as a site must fit in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from orthweb.site import Site

MEBIBYTE = 1024**2


def workers() -> int:
    """Give the number of Envoy's threads: one a core, four at most, because Orthanc needs the cores too."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


def max_body(site: Site) -> int:
    """Give the largest HTTP body that this machine can take, in bytes: Orthanc needs three times as much memory."""
    memory = psutil.virtual_memory().total + psutil.swap_memory().total
    return min(int(site.edge.max_body), memory // 3 // MEBIBYTE * MEBIBYTE)


def fitted(site: Site) -> Site:
    """Give the site as this machine can run it."""
    edge = site.edge.model_copy(update={"max_body": type(site.edge.max_body)(max_body(site))})
    return site.model_copy(update={"edge": edge})

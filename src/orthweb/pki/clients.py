"""DICOM client certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.access import CertificatePair

if TYPE_CHECKING:
    from orthweb.site import Site


def issue_client(folder: Path, site: Site, name: str, days: int = 365) -> CertificatePair:
    """Issue a DICOM client certificate that the edge accepts."""
    raise NotImplementedError

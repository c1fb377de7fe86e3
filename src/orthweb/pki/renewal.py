"""Which certificates are missing or due, and making them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.pki.layout import Change

if TYPE_CHECKING:
    from orthweb.site import Site


def plan(
    folder: Path, site: Site, base: Path, now: datetime | None = None, renew: bool = False, keep: bool = False
) -> list[Change]:
    """Say what `ensure` would do; changes nothing."""
    raise NotImplementedError


def ensure(folder: Path, site: Site, base: Path, now: datetime | None = None, renew: bool = False) -> list[Change]:
    """Make and renew what `plan` says."""
    raise NotImplementedError

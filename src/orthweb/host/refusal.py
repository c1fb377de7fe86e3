"""What a serving host refuses before it stops taking work: a change that cannot be applied, or not beside others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orthweb.errors import OrthwebError, SiteFileError
from orthweb.host import succession
from orthweb.host.parameters import HostReport

if TYPE_CHECKING:
    from orthweb.targets.docker import DockerTarget


def check(target: DockerTarget, others: Mapping[str, HostReport]) -> None:
    """Refuse a change, with nothing touched.

    Parameters
    ----------
    target : the site as it should be.
    others : what other hosts said last.

    Raises
    ------
    OrthwebError : it cannot be applied.
    """
    from orthweb.targets.host import external

    try:
        upgrade = external.due(target.place)
    except SiteFileError as error:
        if "snapshot_before" in str(error):
            raise _schema(str(error).partition(", and there is no way back")[0]) from error
        raise
    there = succession.fresh(others, datetime.now(UTC))
    serving = [name for name, each in there.items() if each.state in ("ready", "draining")]
    if upgrade is not None and serving:
        raise _schema(f"{upgrade.plugin} changes the schema of the index, which {serving[0]} works with")
    target.plan()


def _schema(why: str) -> OrthwebError:
    return OrthwebError(
        f"{why}: that cannot happen while hosts serve",
        "orthweb down, take a snapshot of the database, set index.snapshot_before in the site file, orthweb up",
    )

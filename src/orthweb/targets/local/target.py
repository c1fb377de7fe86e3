"""The local target: a site's services as processes of this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.logs import LogFiles
from orthweb.targets.base import PlanItem, Report, SiteStatus, quiet
from orthweb.targets.host.target import HostTarget
from orthweb.targets.local import inspection, moving, planning
from orthweb.targets.local.bringup import Bringup
from orthweb.targets.local.place import Place

if TYPE_CHECKING:
    from orthweb.checks.facts import HostFacts
    from orthweb.site import Site


class LocalTarget(HostTarget[Place]):
    """A site on this machine.

    Parameters
    ----------
    site : what the site file says.
    base : folder of the site file, absolute.
    file_name : name of the site file in it.

    Raises
    ------
    UsageError : the state folder belongs to another user, or is open to others.
    """

    def __init__(self, site: Site, base: Path, file_name: str = "site.toml") -> None:
        super().__init__(Place(site, base, file_name))

    def _bringup(self, report: Report = quiet) -> Bringup:
        return Bringup(self.place, report)

    def _rendered(self) -> tuple[list[str], list[str]]:
        return [name for name, _ in self.place.archives], ["supervisord.conf"]

    def plan(self) -> list[PlanItem]:
        """Say what `up` would change, without changing anything."""
        return planning.plan(self.place)

    def status(self) -> SiteStatus:
        """Look at the site."""
        return inspection.status(self.place)

    def host_facts(self) -> HostFacts:
        """Give what only the host knows, for the checks."""
        return inspection.host_facts(self.place)

    def quiesced(self, report: Report = quiet) -> AbstractContextManager[None]:
        """Let nothing but the index run while a block does; when it fails the site goes on as it was."""
        return moving.quiesced(self.place, report)

    def logs(self) -> LogFiles:
        """Give the services' logs."""
        names = (*self.place.services, "edge-access", "supervisor")
        return LogFiles({name: self.state.logs / f"{name}.log" for name in names})

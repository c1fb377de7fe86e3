"""The Docker target: a site's services in containers of this machine's engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.errors import UsageError
from orthweb.targets.base import PlanItem, Report, SiteStatus, quiet
from orthweb.targets.docker import inspection, moving, planning
from orthweb.targets.docker.bringup import Bringup
from orthweb.targets.docker.logs import ContainerLogs
from orthweb.targets.docker.place import Place
from orthweb.targets.host import leaving
from orthweb.targets.host.target import HostTarget

if TYPE_CHECKING:
    from orthweb.checks.facts import HostFacts
    from orthweb.site import Site


class DockerTarget(HostTarget[Place]):
    """A site in containers of this machine's Docker engine.

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
        names = [path.name for path in self.state.root.glob("*") if leaving.is_archive(path.name)]
        return names, [self.place.compose_file.name, "images.json"]

    def plan(self) -> list[PlanItem]:
        """Say what `up` would change, without changing anything."""
        return planning.plan(self.place)

    def status(self) -> SiteStatus:
        """Look at the site."""
        try:
            return inspection.status(self.place)
        except UsageError as error:
            return inspection.unknown(self.place, error)

    def host_facts(self) -> HostFacts:
        """Give what only this machine and its engine know, for the checks."""
        return inspection.host_facts(self.place)

    def quiesced(self, report: Report = quiet) -> AbstractContextManager[None]:
        """Let nothing but the index run while a block does; when it fails the site goes on as it was."""
        return moving.quiesced(self.place, report)

    def logs(self) -> ContainerLogs:
        """Give the services' logs."""
        return inspection.logs(self.place)

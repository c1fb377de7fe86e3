"""The verbs of the Docker target."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb import pki
from orthweb.access import SiteAccess
from orthweb.errors import NotRunningError, UsageError
from orthweb.state import StateFolder
from orthweb.store.site import Kind, Stored
from orthweb.targets.base import PlanItem, Report, SiteStatus, quiet
from orthweb.targets.docker import bringup, inspection, moving, planning, replicas
from orthweb.targets.docker.logs import ContainerLogs
from orthweb.targets.docker.place import Place, accounts
from orthweb.targets.host import folder, leaving, removal
from orthweb.targets.host import moving as remembered
from orthweb.targets.host.deployment import Bundle, changed

if TYPE_CHECKING:
    from orthweb.checks.facts import HostFacts
    from orthweb.site import Site


class DockerTarget:
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
        self.site = site
        self.place = Place(site, base, file_name)
        folder.inspect(self.place.state.root)

    @property
    def state(self) -> StateFolder:
        """The site's state folder."""
        return self.place.state

    def plan(self) -> list[PlanItem]:
        """Say what `up` would change, without changing anything."""
        return planning.plan(self.place)

    def up(self, report: Report = quiet) -> list[PlanItem]:
        """Make the site be as its file says, wait until it answers, and say what was changed.

        Raises
        ------
        SiteFileError, UsageError : nothing was changed.
        OrthwebError : a service did not start; whatever this call started has been stopped again.
        """
        return bringup.up(self.place, report)

    def running(self) -> bool:
        """Tell whether a container of the site runs."""
        return self.place.running()

    def down(self, report: Report = quiet) -> bool:
        """Stop the site; tell whether it was running. Data and settings stay."""
        if not self.state.root.exists():
            return False
        with folder.locked(self.state, report):
            return bringup.stop(self.place, report)

    def losses(self, *, data: bool) -> list[str]:
        """Say what `destroy` would delete."""
        return removal.losses(self.place, data=data)

    def destroy(self, report: Report = quiet, *, data: bool = False) -> None:
        """Stop the site and delete what it needs to run; with `data` the images, the index and all secrets too."""
        folder.delete_discarded(self.state)
        if not self.state.root.exists():
            return
        with folder.locked(self.state, report):
            bringup.stop(self.place, report)
            report("deleting")
            if data:
                removal.remove_everything(self.place, report)
            else:
                names = [path.name for path in self.state.root.glob("*") if leaving.is_archive(path.name)]
                removal.remove_rendered(self.place, names, [self.place.compose_file.name, "images.json"])

    def access(self) -> SiteAccess:
        """Give endpoints, trust and credentials.

        Raises
        ------
        NotRunningError : the site was never brought up, or does not run.
        """
        found = inspection.access(self.place)
        if not self.running():
            raise NotRunningError("the site is not running", "orthweb up")
        return found

    def status(self) -> SiteStatus:
        """Look at the site."""
        try:
            return inspection.status(self.place)
        except UsageError as error:
            return inspection.unknown(self.place, error)

    def host_facts(self) -> HostFacts:
        """Give what only this machine and its engine know, for the checks."""
        return inspection.host_facts(self.place)

    def stored(self) -> Stored:
        """Say where the images are, whatever the site file says by now."""
        return remembered.stored(self.place)

    def prepare_store(self) -> Path:
        """Make and claim the folder that the site file names for the store; give it."""
        return moving.prepare(self.place)

    def quiesced(self, report: Report = quiet) -> AbstractContextManager[None]:
        """Let nothing but the index run while a block does; when it fails the site goes on as it was."""
        return moving.quiesced(self.place, report)

    def remember_store(self, kind: Kind) -> None:
        """Note that the images are in a store of this kind now."""
        remembered.remember(self.place, kind)

    def logs(self) -> ContainerLogs:
        """Give the services' logs."""
        return inspection.logs(self.place)

    def renew_certificates(self, report: Report = quiet, *, everything: bool = True) -> list[pki.Change]:
        """Renew certificates and put them to use without dropping an open association.

        The edge loads its new certificates at once and PostgreSQL after a reload. Orthanc reads its internal one at its
        start alone: it is restarted when no association is open, else the new one is used from its next start.
        """
        place = self.place
        layout = place.kept_layout()
        with folder.locked(place.state, report):
            changes = pki.ensure(place.state.pki, place.site, place.base, renew=everything)
            users = accounts()
            wanted = place.files(layout, users)
            certificates = [item for item in wanted if isinstance(item, Bundle) or item.path.parent.name == "tls"]
            differing = changed(certificates, users)
            if place.running():
                for done in replicas.apply(place, layout, differing, users, report):
                    report(f"{done.action} {done.what}: {done.why}")
                bringup.wait(place, report)
            else:
                for item in differing:
                    item.put(users.of(item.service))
        return changes

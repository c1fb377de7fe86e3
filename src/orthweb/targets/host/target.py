"""The verbs of a target that keeps a site's state on this machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from orthweb import pki
from orthweb.access import SiteAccess
from orthweb.errors import NotRunningError
from orthweb.state import StateFolder
from orthweb.targets.base import PlanItem, Report, SiteStatus, quiet
from orthweb.targets.host import folder, moving, reaching, removal
from orthweb.targets.host.bringup import Bringup, P

if TYPE_CHECKING:
    from orthweb.checks.facts import HostFacts
    from orthweb.logs import Logs
    from orthweb.store.site import Kind, Stored


class HostTarget(ABC, Generic[P]):
    """A site whose state folder, secrets and certificates are here; what runs its services, the target says.

    Raises
    ------
    UsageError : the state folder belongs to another user, or is open to others.
    """

    def __init__(self, place: P) -> None:
        self.site = place.site
        self.place = place
        folder.inspect(place.state.root)

    @abstractmethod
    def _bringup(self, report: Report = quiet) -> Bringup[P]:
        """Give what changes, starts and stops the services."""

    @abstractmethod
    def _rendered(self) -> tuple[list[str], list[str]]:
        """Name the Orthanc processes with rendered files, and the target's own rendered files in the state folder."""

    @property
    def state(self) -> StateFolder:
        """The site's state folder."""
        return self.place.state

    @abstractmethod
    def plan(self) -> list[PlanItem]:
        """Say what `up` would change, without changing anything."""

    def up(self, report: Report = quiet) -> list[PlanItem]:
        """Make the site be as its file says, wait until it answers, and say what was changed.

        Raises
        ------
        SiteFileError, UsageError : nothing was changed.
        OrthwebError : a service did not start; whatever this call started has been stopped again.
        """
        return self._bringup(report).up()

    def running(self) -> bool:
        """Tell whether the site runs."""
        return self.place.running()

    def down(self, report: Report = quiet) -> bool:
        """Stop the site; tell whether it was running. Data and settings stay."""
        if not self.state.root.exists():
            return False
        with folder.locked(self.state, report):
            return self._bringup().stop(report)

    def losses(self, *, data: bool) -> list[str]:
        """Say what `destroy` would delete."""
        return removal.losses(self.place, data=data)

    def destroy(self, report: Report = quiet, *, data: bool = False) -> None:
        """Stop the site and delete what it needs to run; with `data` the images, the index and all secrets too."""
        folder.delete_discarded(self.state)
        if not self.state.root.exists():
            return
        with folder.locked(self.state, report):
            self._bringup().stop(report)
            report("deleting")
            if data:
                removal.remove_everything(self.place, report)
            else:
                removal.remove_rendered(self.place, *self._rendered())

    def access(self) -> SiteAccess:
        """Give endpoints, trust and credentials.

        Raises
        ------
        NotRunningError : the site was never brought up, or does not run.
        """
        found = reaching.access(self.place)
        if not self.running():
            raise NotRunningError("the site is not running", "orthweb up")
        return found

    @abstractmethod
    def status(self) -> SiteStatus:
        """Look at the site."""

    @abstractmethod
    def host_facts(self) -> HostFacts:
        """Give what only this machine knows, for the checks."""

    def stored(self) -> Stored:
        """Say where the images are, whatever the site file says by now."""
        return moving.stored(self.place)

    def prepare_store(self) -> Path:
        """Make and claim the folder that the site file names for the store; give it."""
        return self._bringup().prepare_store()

    @abstractmethod
    def quiesced(self, report: Report = quiet) -> AbstractContextManager[None]:
        """Let nothing but the index run while a block does; when it fails the site goes on as it was."""

    def remember_store(self, kind: Kind) -> None:
        """Note that the images are in a store of this kind now."""
        moving.remember(self.place, kind)

    @abstractmethod
    def logs(self) -> Logs:
        """Give the services' logs."""

    def renew_certificates(self, report: Report = quiet, *, everything: bool = True) -> list[pki.Change]:
        """Renew certificates and put them to use without dropping an open association.

        The edge loads its new certificates at once and PostgreSQL after a reload. Orthanc reads its internal one at its
        start alone: it is restarted when no association is open, else the new one is used from its next start.
        """
        return self._bringup(report).renew_certificates(everything=everything)

"""The AWS target as people drive it from their own machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.access import SiteAccess
from orthweb.aws.session import Session
from orthweb.contradictions_aws import DICOM_PORT, HTTPS_PORT
from orthweb.errors import NotRunningError, OrthwebError, UsageError
from orthweb.site import Site
from orthweb.state import FOLDER_NAME, StateFolder
from orthweb.targets.aws import inspection, power, reaching, removal, tfstate
from orthweb.targets.aws.bringup import Bringup, Patience, Probe
from orthweb.targets.aws.logs import CloudWatchLogs
from orthweb.targets.aws.place import Memory, Place
from orthweb.targets.base import Done, PlanItem, Report, SiteStatus, quiet
from orthweb.targets.host import folder

if TYPE_CHECKING:
    from orthweb.pki import Change


class AwsTarget:
    """A site in an AWS account.

    Parameters
    ----------
    site : what the site file says.
    base : folder of the site file, absolute.
    file_name : name of the site file in it.
    probe : asks the site from outside; None when it answers, else what is wrong.
    patience : how long `up` waits.

    Raises
    ------
    UsageError : the state folder belongs to another user, or is open to others.
    """

    def __init__(
        self,
        site: Site,
        base: Path,
        file_name: str = "site.toml",
        *,
        probe: Probe = reaching.ready,
        patience: Patience | None = None,
    ) -> None:
        self.place = Place(site, base, file_name)
        self._probe = probe
        self._patience = patience
        self._unguarded = False
        folder.inspect(self.place.state.root)
        self.site = self._reached()

    def _reached(self) -> Site:
        """Give the site as clients reach it: under AWS's name, where its file has none, on the ports of AWS."""
        site = self.place.site
        ports = {"https_port": HTTPS_PORT, "dicom_port": DICOM_PORT}
        memory = Memory()
        with contextlib.suppress(OrthwebError):  # each verb says by itself what is wrong
            memory = self.place.memory()
        name = memory.output("public_name") or site.hostname
        return site.model_copy(update={"hostname": name, "edge": site.edge.model_copy(update=ports)})

    @property
    def state(self) -> StateFolder:
        """The site's state folder."""
        return self.place.state

    def _bringup(self, report: Report) -> Bringup:
        return Bringup(self.place, report, probe=self._probe, patience=self._patience)

    def _known(self) -> Memory:
        memory = self.place.memory()
        if not memory.known:
            raise NotRunningError("there is no site here yet", "orthweb up")
        folder.make_root(self.place.base)  # on another machine than the site was made from there is none yet
        return memory

    def plan(self) -> list[PlanItem]:
        """Say what `up` would change; the account is not touched."""
        return self.planned(quiet)[0]

    def planned(self, report: Report) -> tuple[list[PlanItem], Sequence[str]]:
        """Say what `up` would change, and sum it up: how much of what, and what it costs."""
        return self._bringup(report).plan()

    def up(self, report: Report = quiet) -> list[PlanItem]:
        """Make the site be as its file says, wait until it answers, and say what was changed."""
        with self._told_when_stopped(report, "orthweb up"):
            return self._bringup(report).up()

    @contextmanager
    def _told_when_stopped(self, report: Report, again: str) -> Iterator[None]:
        """Say how it goes on, when a person stops what changes the account."""
        try:
            yield
        except KeyboardInterrupt:
            if self.place.memory().known:
                report(Done(f"stopped: {again} goes on where it was; what is in the account costs meanwhile"))
            raise

    def status(self) -> SiteStatus:
        """Look at the site."""
        return inspection.status(self.place, self._probe)

    def down(self, report: Report = quiet) -> bool:
        """Stop hosts and database; tell whether any ran. What is stored, and what it costs, stays."""
        if not self.place.memory().known:
            return False
        memory = self._known()
        with folder.locked(self.state, report):
            session = Session(memory.region)
            group = memory.output("autoscaling_group")
            ran = power.stop(session, memory.name, report)
            gateways = "load balancer, NAT gateways, " if group else "the Elastic IP address, "
            report(Done(f"still costs: storage of bucket and database, backups, {gateways}keys and secrets"))
            return ran

    def losses(self, *, data: bool) -> list[str]:
        """Say what `destroy` would delete.

        Raises
        ------
        UsageError : without the data there is nothing to remove on AWS; or the site is in production.
        """
        if not data:
            raise UsageError(
                "on AWS images and index go with the site",
                "orthweb down stops what costs by the hour; orthweb destroy --data removes everything",
            )
        if self.place.memory().known and removal.is_production(self.place) and not self._unguarded:
            raise UsageError(
                "aws.production: true: this site is protected against its removal",
                "orthweb destroy --data --even-production, when it is really to go",
            )
        return list(removal.losses(self.place))

    def unguard(self) -> None:
        """Let `destroy` lift the protection of a site in production first."""
        self._unguarded = True

    def destroy(self, report: Report = quiet, *, data: bool = False) -> None:
        """Remove everything of the site from its account, but the final snapshot of the index."""
        if not data:
            self.losses(data=False)
        folder.delete_discarded(self.state)
        if not self.state.root.exists():
            if not self.place.memory().known:
                return
            # Made from another machine, with its state in a bucket.
            folder.make_root(self.place.base)
        with folder.locked(self.state, report):
            with self._told_when_stopped(report, "orthweb destroy --data"):
                removal.destroy(self.place, report, unguarded=self._unguarded)
            self._check_gone()
            link = self.place.base / FOLDER_NAME
            if link.is_symlink():
                link.unlink()
            removal.remove_folder(self.place)

    def _check_gone(self) -> None:
        """Refuse to remove a state that lists something: it is all that is known of it."""
        left = tfstate.local(self.place.work)
        if left is not None and left.resources:
            raise OrthwebError(
                f"{left.where}: lists {len(left.resources)} resources that are still in an account",
                "orthweb up with the credentials of that account finishes them; then repeat this",
            )

    def access(self) -> SiteAccess:
        """Give endpoints, trust and credentials; NotRunningError when there is no site."""
        return reaching.access(self.place)

    def check_reach(self) -> None:
        """Raise NotRunningError when neither port of the site can be reached from here, with what to look at."""
        reaching.check_reach(reaching.access(self.place), self._known().output("dns_target"))

    def fetch(self) -> None:
        """Bring the site's password and certificates here again, as they are now."""
        memory = self._known()
        with folder.locked(self.state, quiet):
            self.place.make()
            reaching.fetch(Session(memory.region), self.place)

    @contextmanager
    def issuing(self) -> Iterator[None]:
        """Have the site's CA at hand for a block, to issue a certificate."""
        memory = self._known()
        with folder.locked(self.state, quiet):
            self.place.make()
            with reaching.issuing(Session(memory.region), self.place):
                yield

    def host_facts(self) -> None:
        """Give nothing: nobody looks at the hosts from here."""
        return

    def renew_certificates(self, report: Report = quiet, *, everything: bool = True) -> list[Change]:  # noqa: ARG002
        """Refuse: hosts renew certificates by themselves.

        Raises
        ------
        UsageError : always.
        """
        raise UsageError("hosts on AWS renew their certificates by themselves", "orthweb status shows the days left")

    def logs(self) -> CloudWatchLogs:
        """Give the services' logs."""
        memory = self._known()
        groups = memory.outputs.get("log_groups") or {}
        return CloudWatchLogs(Session(memory.region), {str(name): str(group) for name, group in groups.items()})

"""What every target can do: the same verbs wherever a site runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from orthweb.access import SiteAccess
from orthweb.logs import Logs
from orthweb.state import StateFolder

if TYPE_CHECKING:
    from orthweb.checks.facts import HostFacts
    from orthweb.pki import Change
    from orthweb.site import Site

Report = Callable[[str], None]
"""Told what is being done or waited for, one short line at a time."""


class Done(str):
    """A line of a report that tells what is finished: it stays, where others are replaced by the next."""

    __slots__ = ()


class Moving(str):
    """A line of a report that is true for a moment: a terminal shows it, and a log does not need it."""

    __slots__ = ()


def quiet(_line: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class PlanItem:
    """One thing that `up` would change.

    Parameters
    ----------
    action : create, change, replace, delete, start, restart, renew, or warn (nothing is done; a person should know).
    what : the folder, file, certificate or service.
    why : the reason, for a person; never a secret.
    """

    action: Literal["create", "change", "replace", "delete", "start", "restart", "renew", "warn"]
    what: str
    why: str


@dataclass(frozen=True)
class ServiceStatus:
    """One service, as it is now.

    Parameters
    ----------
    state : running, starting, stopped or failed.
    uptime : seconds, None unless it runs.
    memory : resident memory of all its processes in bytes, None unless it runs.
    note : what else there is to say of it.
    """

    name: str
    state: Literal["running", "starting", "stopped", "failed"]
    pid: int | None
    user: str
    uptime: float | None
    memory: int | None
    version: str
    note: str = ""


@dataclass(frozen=True)
class SiteStatus:
    """A site, as it is now.

    Parameters
    ----------
    answers : whether a C-ECHO and the archive's statistics went through the edge just now.
    problem : why it does not answer, when it does not.
    notes : what a person should know besides.
    """

    name: str
    target: str
    state: Literal["running", "degraded", "stopped", "absent"]
    answers: bool
    problem: str | None
    url: str
    dicom: str
    aet: str
    services: Sequence[ServiceStatus]
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Target(Protocol):
    """A place where a site runs."""

    site: Site

    @property
    def state(self) -> StateFolder:
        """The site's state folder."""

    def plan(self) -> list[PlanItem]:
        """Say what `up` would change, without changing anything."""

    def up(self, report: Report = quiet) -> list[PlanItem]:
        """Make the site be as its file says, wait until it answers, and say what was changed."""

    def status(self) -> SiteStatus:
        """Look at the site."""

    def down(self, report: Report = quiet) -> bool:
        """Stop the site; tell whether it was running. Data and settings stay."""

    def losses(self, *, data: bool) -> list[str]:
        """Say what `destroy` would delete."""

    def destroy(self, report: Report = quiet, *, data: bool = False) -> None:
        """Stop the site and delete what it needs to run; with `data` the images and the index too."""

    def access(self) -> SiteAccess:
        """Give endpoints, trust and credentials; NotRunningError when there is no site."""

    def host_facts(self) -> HostFacts | None:
        """Give what only the host knows, for the checks; None where nobody can look."""

    def renew_certificates(self, report: Report = quiet, *, everything: bool = True) -> list[Change]:
        """Renew certificates and put them to use without dropping an open association."""

    def logs(self) -> Logs:
        """Give the services' logs."""


@runtime_checkable
class Summarised(Protocol):
    """A target whose plan takes a while, and has more to say than its items."""

    def planned(self, report: Report) -> tuple[list[PlanItem], Sequence[str]]:
        """Say what `up` would change, and sum it up: how much of what, and what it costs."""


@runtime_checkable
class Guarded(Protocol):
    """A target where a site in production is protected against its removal."""

    def unguard(self) -> None:
        """Let `destroy` lift the protection first."""


@runtime_checkable
class Distant(Protocol):
    """A target whose site is behind a network and a name that others keep."""

    def check_reach(self) -> None:
        """Raise NotRunningError when nothing of the site can be reached from here, with what to look at."""


@runtime_checkable
class Remote(Protocol):
    """A target whose passwords and certificates are kept elsewhere."""

    def fetch(self) -> None:
        """Bring them here, as they are now."""

    def issuing(self) -> AbstractContextManager[None]:
        """Have the site's CA at hand for a block, to issue a certificate."""

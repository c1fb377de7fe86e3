"""What a check is, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from orthweb.checks.context import Context

Group = Literal["dicom", "web", "tls", "index", "store", "host", "security"]

GROUPS: tuple[Group, ...] = ("dicom", "web", "tls", "index", "store", "host", "security")

GROUP_WORDS: Mapping[Group, str] = {
    "dicom": "DICOM services",
    "web": "HTTPS and DICOMweb",
    "tls": "TLS and certificates",
    "index": "Index (PostgreSQL)",
    "store": "Store (DICOM files)",
    "host": "Host and services",
    "security": "Security",
}

Status = Literal["pass", "fail", "n/a"]


class CheckFailed(Exception):  # noqa: N818  a verdict, not a malfunction
    """The subject of a check is not as it should be.

    Parameters
    ----------
    evidence : what was seen instead.
    hint : the next step for the person; None takes the check's own.
    """

    def __init__(self, evidence: str, hint: str | None = None) -> None:
        """Keep both."""
        super().__init__(evidence)
        self.evidence = evidence
        self.hint = hint


class NotApplicable(Exception):  # noqa: N818
    """A check has no subject here; the text says why."""


@dataclass(frozen=True)
class Check:
    """One thing that ``validate`` proves.

    Parameters
    ----------
    id : ``group.subject``, stable: scripts and reports refer to it.
    title : a few words for the table.
    expected : one sentence, what must be true.
    hint : the next step when it is not.
    run : does it; gives the evidence as text or raises ``CheckFailed`` or ``NotApplicable``.
    timeout : seconds after which it counts as failed.
    prepare : for checks of what is left once the test patient is gone: runs before the removal, and `run` after it.
    """

    id: str
    title: str
    expected: str
    hint: str
    run: Callable[[Context], str]
    timeout: float = 30.0
    prepare: Callable[[Context], object] | None = None

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Result:
    """What one check found; ``hint`` is empty unless it failed; ``seconds`` is the time it took."""

    id: str
    group: str
    title: str
    status: Status
    expected: str
    evidence: str
    hint: str
    seconds: float


def check(
    name: str,
    title: str,
    expected: str,
    *,
    hint: str,
    timeout: float = 30.0,
    prepare: Callable[[Context], object] | None = None,
) -> Callable[[Callable[[Context], str]], Check]:
    """Make a check of a function; see ``Check`` for the parameters."""

    def of(function: Callable[[Context], str]) -> Check:
        return Check(name, title, expected, hint, function, timeout, prepare)

    return of

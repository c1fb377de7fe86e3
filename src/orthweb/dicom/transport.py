"""What the sender needs of a way to send, whichever it is: DICOM associations or STOW-RS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from orthweb.dicom.instance import Instance


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one instance.

    Parameters
    ----------
    outcome : ``stored`` (acknowledged); ``busy`` (refused for lack of resources: worth another try);
        ``refused``; ``unreadable`` (nothing was sent: our side cannot read it).
    status : DIMSE status, or the HTTP status where there is no other; 0 for ``unreadable``.
    reason : one line, None for a plain success.
    """

    instance: Instance
    outcome: Literal["stored", "busy", "refused", "unreadable"]
    status: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Group:
    """Instances that can go over one connection.

    Parameters
    ----------
    contexts : presentation contexts to propose: (SOP class, transfer syntax); empty for STOW-RS.
    """

    instances: tuple[Instance, ...]
    contexts: tuple[tuple[str, str], ...] = ()


class Channel(Protocol):
    """An open connection, used by one thread."""

    round_trip: float
    """Seconds that one request and its answer take on the network, about."""

    @property
    def usable(self) -> bool:
        """Whether another batch can be sent."""

    def send(self, batch: Sequence[Instance]) -> Iterator[Answer]:
        """Send instances; yield each answer as soon as it is known.

        Raises
        ------
        PeerError
            The connection is lost: instances without an answer are not acknowledged.
        """

    def close(self) -> None:
        """End it in good order; never raises."""

    def abort(self) -> None:
        """End it at once; never raises."""

    def interrupt(self) -> None:
        """Make a :meth:`send` in another thread fail soon; never raises."""


class Transport(Protocol):
    """A way to send to one destination."""

    destination: str
    """Names the destination in the journal."""

    batch_bytes: int
    """About how much one call of :meth:`Channel.send` takes; 1 means one instance each."""

    def groups(self, instances: Sequence[Instance]) -> list[Group]:
        """Sort instances by the connections that can carry them."""

    def open(self, group: Group) -> Channel:
        """Connect.

        Raises
        ------
        PeerError, UsageError
            It cannot.
        """

"""What can go wrong with a DICOM peer, one class for each kind.

Each message is one line that names the peer; the hint is the next step.
"""

from __future__ import annotations

from orthweb.errors import OrthwebError


class PeerError(OrthwebError):
    """A DICOM peer did not do what it was asked."""


class UnreachableError(PeerError):
    """No TCP connection: refused, unknown host, no route, or no answer in time."""


class TlsError(PeerError):
    """The TLS handshake failed: wrong CA, wrong name, expired, no TLS there, client certificate missing."""


class RejectedError(PeerError):
    """The peer rejected the association (A-ASSOCIATE-RJ, PS3.8 9.3.4).

    Parameters
    ----------
    transient : whether trying again later may help.
    """

    def __init__(self, message: str, hint: str | None = None, *, transient: bool = False) -> None:
        """Keep message, hint and whether to try again."""
        super().__init__(message, hint)
        self.transient = transient


class LostError(PeerError):
    """The peer aborted the association or closed the connection."""


class ContextError(PeerError):
    """The peer accepted no presentation context that the request needs."""


class TimedOutError(PeerError):
    """The peer is connected and did not answer in time."""


class StatusError(PeerError):
    """The peer answered with a failure status.

    Parameters
    ----------
    status : the DIMSE status (PS3.7 Annex C), 0 to 0xFFFF.
    """

    def __init__(self, message: str, status: int, hint: str | None = None) -> None:
        """Keep message, hint and status."""
        super().__init__(message, hint)
        self.status = status

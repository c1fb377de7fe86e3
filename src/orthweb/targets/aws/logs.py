"""The logs of a site on AWS, which CloudWatch Logs keeps.

Containers write to streams ``INSTANCE/SERVICE`` of one group; hosts and the database have groups of their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.logs import Tail

CONTAINERS: Final = "containers"
LEFT_OUT: Final = ("vpc-flow",)
"""Groups that are for auditors, not for reading along."""

CALLED: Final[Mapping[str, str]] = {"database": "index"}
"""Logs have the same names wherever a site runs."""

BACK_SECONDS: Final = (3600, 24 * 3600, 14 * 24 * 3600)
"""How far back the last lines are looked for, step by step."""

POLL: Final = 2.0
"""Seconds between two looks for new lines: CloudWatch allows few calls a second."""

STREAMS: Final = 50
"""So many streams are looked at, those that were written to last: AWS gives no more at once."""


class CloudWatchLogs:
    """All logs of a site.

    Parameters
    ----------
    groups : log groups by what is in them.
    """

    def __init__(self, session: Session, groups: Mapping[str, str]) -> None:
        self._session = session
        self._groups = {CALLED.get(name, name): group for name, group in groups.items() if name not in LEFT_OUT}
        self._streams: list[str] | None = None

    def names(self) -> Sequence[str]:
        """Name the logs that there are: each service of the hosts, the hosts themselves, the index."""
        services = sorted({stream.rpartition("/")[2] for stream in self._container_streams()})
        others = [name for name in self._groups if name != CONTAINERS]
        return [*services, *sorted(others)]

    def tail(self, name: str, lines: int, *, follow: bool = False) -> Tail:  # noqa: ARG002  it may always be followed
        """Open a log at its last lines."""
        return _Tail(self._session, *self._where(name), lines)

    def end(self, name: str, size: int) -> bytes:
        """Give the last bytes of a log; none when there is no such log."""
        if name not in self.names():
            return b""
        # A line has some 100 bytes.
        return "\n".join(self.tail(name, size // 100).new()).encode()[-size:]

    def _where(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Give the group of a log, and the names of its streams; none for all of them."""
        if name in self._groups and name != CONTAINERS:
            return self._groups[name], ()
        streams = [stream for stream in self._container_streams() if stream.rpartition("/")[2] == name]
        return self._groups.get(CONTAINERS, ""), tuple(streams)

    def _container_streams(self) -> list[str]:
        if self._streams is None:
            self._streams = []
            group = self._groups.get(CONTAINERS)
            if group is not None:
                with told(f"log group {group}"):
                    found = self._session.client("logs").describe_log_streams(
                        logGroupName=group, orderBy="LastEventTime", descending=True, limit=STREAMS
                    )
                self._streams = [str(each["logStreamName"]) for each in found["logStreams"]]
        return self._streams


class _Tail:
    """The end of a log, of all hosts together, in the order of time."""

    def __init__(self, session: Session, group: str, streams: Sequence[str], lines: int) -> None:
        self._session = session
        self._group = group
        self._streams = list(streams)
        self._lines = lines
        self._since: int | None = None
        self._seen: set[str] = set()
        self._asked = 0.0

    def new(self) -> list[str]:
        """Give the lines that came since the last call; at first the last ones. Does not wait."""
        if self._since is None:
            return self._first()
        if time.monotonic() - self._asked < POLL:
            return []
        return self._said(self._events(self._since))

    def close(self) -> None:
        """Nothing is open between two calls."""

    def _first(self) -> list[str]:
        now = int(time.time())
        found: list[dict[str, Any]] = []
        for back in BACK_SECONDS:
            found = self._events((now - back) * 1000)
            if len(found) >= self._lines:
                break
        self._since = now * 1000
        last = found[-self._lines :] if self._lines else []
        self._said(found)
        return [_line(each) for each in last]

    def _said(self, found: list[dict[str, Any]]) -> list[str]:
        fresh = [each for each in found if each["eventId"] not in self._seen]
        if found:
            # Lines of several hosts may come late: the last ten seconds are looked at again.
            self._since = max(self._since or 0, int(found[-1]["timestamp"]) - 10_000)
            self._seen = {each["eventId"] for each in found}
        return [_line(each) for each in fresh]

    def _events(self, since: int) -> list[dict[str, Any]]:
        self._asked = time.monotonic()
        asked: dict[str, Any] = {"logGroupName": self._group, "startTime": since}
        if self._streams:
            asked["logStreamNames"] = self._streams
        found: list[dict[str, Any]] = []
        try:
            with told(f"log group {self._group}"):
                pages = self._session.client("logs").get_paginator("filter_log_events").paginate(**asked)
                for page in pages:
                    found = [*found, *page["events"]][-max(self._lines, 1000) :]
        except AwsError as error:
            if error.code != "ResourceNotFound":
                raise
        return sorted(found, key=lambda each: int(each["timestamp"]))


def _line(event: Mapping[str, Any]) -> str:
    host = str(event.get("logStreamName", "")).partition("/")[0]
    return f"{host}  {_words(str(event['message']).rstrip())}"


def _words(text: str) -> str:
    """Give a line of a host's agent without its JSON; every other line as it is."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or not {"level", "message"} <= found.keys():
        return text
    figures = [f"{name} {value}" for name, value in found.items() if name not in ("level", "message", "event")]
    error = "error: " if found["level"] == "error" else ""
    return error + ": ".join([str(found["message"]), *filter(None, [", ".join(figures)])])

"""The agent's own log in CloudWatch, beside the machine's journal. Nobody waits for it, and nothing depends on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final, Literal

from orthweb.errors import OrthwebError
from orthweb.host.account import AwsAccount, AwsError, told

KEPT: Final = 200
"""So many lines are kept while CloudWatch does not answer; then the oldest go."""


class Journal:
    """One stream of the site's log group.

    Parameters
    ----------
    group : name of the log group; empty for none.
    stream : this host's own.
    """

    def __init__(self, account: AwsAccount, group: str, stream: str, clock: Callable[[], float] = time.time) -> None:
        self._account = account
        self._group = group
        self._stream = stream
        self._clock = clock
        self._made = False
        self._waiting: list[dict[str, object]] = []

    def add(self, line: str, level: Literal["info", "error"] = "info", **figures: object) -> None:
        """Take a line; `send` sends it, as JSON: the site's alarms are made from what stands in it.

        Parameters
        ----------
        figures : what else stands in it, such as ``event``.
        """
        text = json.dumps({"level": level, "message": line[:2000]} | figures)
        self._waiting = [*self._waiting, {"timestamp": int(self._clock() * 1000), "message": text}][-KEPT:]

    def send(self) -> None:
        """Send what is waiting; what cannot be sent waits on."""
        if not self._group or not self._waiting:
            return
        try:
            client = self._account.client("logs")
            if not self._made:
                self._make()
            # CloudWatch takes them in the order of time alone; the clock may have been set back in between.
            events = sorted(self._waiting, key=lambda each: int(str(each["timestamp"])))
            with told(f"log group {self._group}"):
                client.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=events)
            self._waiting = []
        except OrthwebError:
            self._made = False

    def _make(self) -> None:
        try:
            with told(f"log group {self._group}"):
                self._account.client("logs").create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        except AwsError as error:
            if not error.code.startswith("ResourceAlreadyExists"):
                raise
        self._made = True

"""How far Terraform is: a line for each thing that is done, and one that says what is worked on now.

https://developer.hashicorp.com/terraform/internals/machine-readable-ui
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orthweb.targets.aws.words import SLOW, named
from orthweb.targets.base import Done, Moving, Report

_DONE: Final = {"create": "created", "update": "changed", "delete": "removed", "read": "read"}
_DOING: Final = {"create": "making", "update": "changing", "delete": "removing"}

_NOTE: Final = "terraform_data"
"""Terraform's own notes; nothing in the account."""

EVERY: Final = 10.0
"""Seconds between two lines that say what is worked on."""

MOVING: Final = 0.5
"""Seconds between two of them that a terminal alone shows."""

SHOWN: Final = 2
"""So many things are named that are worked on."""


@dataclass(frozen=True)
class _Work:
    type: str
    address: str
    action: str
    since: float


class Progress:
    """Follows the messages of one command.

    Parameters
    ----------
    report : told each line.
    total : how many resources there are to do; None when it is not known.
    clock : seconds, for the time that things take.
    """

    def __init__(
        self, report: Report, total: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._total = total
        self._clock = clock
        self._works: dict[str, _Work] = {}
        self._read = 0
        self._told = float("-inf")
        self._moved = float("-inf")
        self.finished: dict[str, str] = {}
        """What was done, by the resource's address: create, update, delete."""

    def message(self, found: Mapping[str, Any]) -> None:
        """Take one message in."""
        hook = found.get("hook") or {}
        resource = hook.get("resource") or {}
        address, type_ = str(resource.get("addr", "")), str(resource.get("resource_type", ""))
        match found.get("type"):
            case "apply_start":
                action = str(hook.get("action", ""))
                if action in _DOING and type_ != _NOTE:
                    self._works[address] = _Work(type_, address, action, self._clock())
                    self._now()
            case "apply_progress":
                self._now()
            case "apply_complete":
                self._end(address, "")
            case "apply_errored":
                self._end(address, "failed: ")
            case "refresh_start":
                self._read += 1
                self._move(f"reading what is there: {self._read}")
            case _:
                pass

    def _end(self, address: str, failed: str) -> None:
        work = self._works.pop(address, None)
        if work is None:
            return
        if not failed:
            self.finished[address] = work.action
        word = _DONE[work.action] if not failed else _DOING[work.action]
        seconds = self._clock() - work.since
        self._report(Done(f"{failed}{word} {named(work.type, address)} ({seconds:.0f} s)"))
        self._move(self._line())

    def _now(self) -> None:
        """Say what is worked on: now and then in a log, at once on a terminal."""
        if self._works and self._clock() - self._told >= EVERY:
            self._told = self._moved = self._clock()
            self._report(self._line())
        else:
            self._move(self._line())

    def _move(self, line: str) -> None:
        # The last thing that was worked on is taken from the terminal however soon it is done.
        if self._clock() - self._moved >= MOVING or not self._works:
            self._moved = self._clock()
            self._report(Moving(line))

    def _line(self) -> str:
        longest = sorted(self._works.values(), key=lambda work: (work.type not in SLOW, work.since))
        line = ", ".join(self._said(work) for work in longest[:SHOWN]) or "Terraform: at work"
        if len(longest) > SHOWN:
            line += f" and {len(longest) - SHOWN} more"
        return f"{len(self.finished)} of {self._total}: {line}" if self._total else line

    def _said(self, work: _Work) -> str:
        seconds = int(self._clock() - work.since)
        spent = f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
        usual = f", {SLOW[work.type]}" if work.type in SLOW and work.action == "create" else ""
        return f"{_DOING[work.action]} {named(work.type, work.address)} ({spent}{usual})"

"""What a host says of itself: one parameter that `orthweb up` and `orthweb status` read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from orthweb.host.account import AwsAccount, told

State = Literal["booting", "waiting-for-database", "pulling", "starting", "ready", "failed", "draining"]

ROOM = 3800
"""Bytes of a parameter in the standard tier (4096), with some left."""

LONGEST = 300
"""Characters of a message, and of each of the last lines."""

HEARTBEAT = timedelta(seconds=60)
"""An unchanged status is written again after this, so that a host that is gone can be told from one that is well."""

STALE = timedelta(minutes=4)
"""What a host said longer ago than this is no longer true of it."""


def one_line(text: str, hidden: Collection[str] = ()) -> str:
    """Make one short line of a text, with no secret in it.

    Parameters
    ----------
    hidden : values that must not appear.
    """
    for value in hidden:
        if value:
            text = text.replace(value, "[hidden]")
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def document(
    state: State,
    message: str,
    now: datetime,
    *,
    images: Mapping[str, str] | None = None,
    site: str = "",
    applied: str = "",
    agent: str = "",
    lines: Sequence[str] = (),
    hidden: Collection[str] = (),
) -> str:
    """Give the parameter's text: JSON that fits, the oldest of the last lines left out first.

    Parameters
    ----------
    images, site : references, and SHA-256 of the site parameter, that are applied.
    applied : digest of all that the state is about.
    agent : reference of the image that the host's agent runs in.
    lines : what was said before a failure.
    """
    found: dict[str, object] = {
        "state": state,
        "at": now.astimezone(UTC).isoformat(timespec="seconds"),
        "message": one_line(message, hidden),
        "images": dict(images or {}),
        "site": site,
        "applied": applied,
        "agent": agent,
    }
    kept = [one_line(line, hidden) for line in lines]
    while True:
        text = json.dumps(found | ({"lines": kept} if kept else {}), ensure_ascii=True)
        if len(text) <= ROOM or not kept:
            return text
        kept = kept[1:]


class StatusParameter:
    """The parameter of one host.

    Parameters
    ----------
    instance : its id, which the parameter is named after.
    clock : gives the time (aware).
    """

    def __init__(
        self, account: AwsAccount, instance: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._account = account
        self._name = account.settings.parameter(f"hosts/{instance}")
        self._clock = clock
        self._told = ""
        self._at: datetime | None = None

    def tell(
        self,
        state: State,
        message: str,
        *,
        images: Mapping[str, str] | None = None,
        site: str = "",
        applied: str = "",
        agent: str = "",
        lines: Sequence[str] = (),
        hidden: Collection[str] = (),
    ) -> None:
        """Write the status when it is another than the last one, or when that was long ago.

        Raises
        ------
        AwsError : it cannot be written.
        """
        now = self._clock()
        known = hashlib.sha256(repr((state, message, images, site, applied, agent, tuple(lines))).encode()).hexdigest()
        if known == self._told and self._at is not None and now - self._at < HEARTBEAT:
            return
        text = document(
            state, message, now, images=images, site=site, applied=applied, agent=agent, lines=lines, hidden=hidden
        )
        with told(f"parameter {self._name}"):
            self._account.client("ssm").put_parameter(
                Name=self._name, Value=text, Type="String", Overwrite=True, Tier="Standard"
            )
        self._told, self._at = known, now

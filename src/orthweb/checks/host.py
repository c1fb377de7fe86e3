"""Group ``host``: the services' processes and the machine under them."""

from __future__ import annotations

import pwd
import re
import shutil
import subprocess
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import psutil

from orthweb.checks.archive import expect
from orthweb.checks.check import CheckFailed, check
from orthweb.checks.index import connection

if TYPE_CHECKING:
    from orthweb.checks.context import Context

GIGABYTE = 1024**3
LEAST_DISK = 2 * GIGABYTE
"""Free bytes below which the store is as good as full: PostgreSQL stops when its disk is."""
LEAST_DISK_SHARE = 0.03
LEAST_MEMORY = GIGABYTE // 4
BODY_IN_MEMORY = 3
"""How many times an instance's size Orthanc holds in memory while it takes it in (measured)."""
MOST_SKEW = 5.0
"""Seconds that two clocks of one site may differ."""
BUILT = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock can be right that shows a time before this was written."""
LEAST_VERSION = {"archive": (1, 10), "index": (13,), "edge": (1, 30)}

_START = "`orthweb status` shows the services, `orthweb logs SERVICE` why one is down, `orthweb up` starts them"


@check("host.services", "Services up", "Each service of the site runs", hint=_START)
def services(context: Context) -> str:
    """Look for each service's process."""
    up = []
    for service in context.facts.services:
        if service.pid is None or not psutil.pid_exists(service.pid):
            raise CheckFailed(f"{service.name} does not run")
        if psutil.Process(service.pid).status() == psutil.STATUS_ZOMBIE:
            raise CheckFailed(f"{service.name} has ended and is a zombie")
        up.append(service.name)
    return ", ".join(up)


@check(
    "host.users",
    "Services' users",
    "Each service runs as the user it should; none but the supervisor runs as root",
    hint="stop the site and start it again: `orthweb down`, `orthweb up`",
)
def users(context: Context) -> str:
    """Compare each process's real and effective user."""
    seen = []
    for service in context.facts.services:
        if service.pid is None:
            raise CheckFailed(f"{service.name} does not run", _START)
        ids = psutil.Process(service.pid).uids()
        if 0 in (ids.real, ids.effective) and not service.root_allowed:
            raise CheckFailed(f"{service.name} runs as root")
        wanted = int(service.user) if service.user.isdigit() else pwd.getpwnam(service.user).pw_uid
        if (ids.real, ids.effective) != (wanted, wanted):
            raise CheckFailed(f"{service.name} runs as user id {ids.effective}, not as {service.user}")
        seen.append(f"{service.name}: {service.user}")
    return ", ".join(seen)


@check(
    "host.versions",
    "Versions",
    "The services' programs are of versions that orthweb supports",
    hint="upgrade the package: `apt install --only-upgrade orthanc postgresql`, or orthweb itself for the edge",
)
def versions(context: Context) -> str:
    """Ask each program for its version."""
    seen = []
    for service in context.facts.services:
        if not service.version_command:
            continue
        done = subprocess.run(service.version_command, capture_output=True, text=True, timeout=10, check=False)
        match = re.search(r"(?<![\w.])(?:[0-9a-f]{40}/)?(\d+(?:\.\d+)+)", done.stdout + done.stderr)
        if match is None:
            raise CheckFailed(f"{service.name} does not tell its version (exit code {done.returncode})")
        if tuple(map(int, match[1].split("."))) < LEAST_VERSION.get(service.name, ()):
            raise CheckFailed(f"{service.name} {match[1]} is too old")
        seen.append(f"{service.name} {match[1]}")
    if not seen:
        raise CheckFailed("no service tells its version")
    return ", ".join(seen)


@check(
    "host.disk",
    "Disk space",
    f"The disks of the state folder and of the store have {LEAST_DISK // GIGABYTE} GB and "
    f"{LEAST_DISK_SHARE:.0%} free, or more",
    hint="make room, or move the store: store.path in the site file",
)
def disk(context: Context) -> str:
    """Look at both disks."""
    facts = context.facts
    folders = {"state": facts.state} | ({"store": facts.store.path} if facts.store and facts.store.path else {})
    seen = []
    for name, folder in folders.items():
        usage = shutil.disk_usage(folder)
        if usage.free < LEAST_DISK or usage.free < LEAST_DISK_SHARE * usage.total:
            raise CheckFailed(f"{name}: {usage.free / GIGABYTE:.1f} of {usage.total / GIGABYTE:.0f} GB free")
        seen.append(f"{name}: {usage.free / GIGABYTE:.0f} of {usage.total / GIGABYTE:.0f} GB free")
    return ", ".join(seen)


@check(
    "host.memory",
    "Memory",
    "There is memory to spare, and as much in all as Orthanc needs for the largest body that the edge lets in",
    hint="lower edge.max_body in the site file to a third of the memory, or add memory",
)
def memory(context: Context) -> str:
    """Compare memory and swap with what the largest body needs."""
    now = psutil.virtual_memory()
    needed = BODY_IN_MEMORY * context.facts.max_body
    total = now.total + psutil.swap_memory().total
    if now.available < LEAST_MEMORY:
        raise CheckFailed(f"{now.available / 1024**2:.0f} MB available", "stop what else runs on this machine")
    if total < needed:
        raise CheckFailed(
            f"{total / GIGABYTE:.1f} GB in all, but a body of {context.facts.max_body / GIGABYTE:.1f} GB needs "
            f"{needed / GIGABYTE:.1f} GB"
        )
    return f"{now.available / GIGABYTE:.1f} GB available of {now.total / GIGABYTE:.1f} GB"


@check(
    "host.clock",
    "Clocks",
    f"This machine, the edge and the index agree on the time within {MOST_SKEW:g} s",
    hint="set the clock and let it follow a time server: `timedatectl set-ntp true`",
)
def clock(context: Context) -> str:
    """Compare this clock with the edge's Date (RFC 9110 6.6.1) and with PostgreSQL's."""
    before = datetime.now(UTC)
    if before < BUILT:
        raise CheckFailed(f"this machine's clock shows {before:%Y-%m-%d}")
    seen = []
    date = expect(context.http().get("/system")).headers.get("date")
    if date is None:
        raise CheckFailed("the edge tells no Date")
    times = {"edge": parsedate_to_datetime(date)}
    if context.host is not None and context.host.index is not None:
        with connection(context) as index:
            row = index.execute("SELECT clock_timestamp()").fetchone()
        if row is not None:
            times["index"] = row[0]
    after = datetime.now(UTC)
    for name, time in times.items():
        skew = max((before - time).total_seconds(), (time - after).total_seconds(), 0.0)
        if skew > MOST_SKEW:
            raise CheckFailed(f"the {name}'s clock is {skew:.0f} s away from this one")
        seen.append(f"{name} within {MOST_SKEW:g} s")
    return ", ".join(seen)


CHECKS = (services, users, versions, disk, memory, clock)

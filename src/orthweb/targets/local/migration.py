"""Changing the index's schema with this machine's PostgreSQL and Orthanc."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from orthweb.capabilities.schema import Upgrade
from orthweb.targets.host import accounts, migration
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.local import database, inspection
from orthweb.targets.local.place import Place

DEATH = {"index": "INT", "archive": "TERM"}
"""What the kernel sends each when we are gone."""


def due(place: Place) -> Upgrade | None:
    """Say how the schema of a site's index will change; see `migration.due`."""
    facts = inspection.index_facts(place) if place.running() else None
    run = database.runner(place.programs, accounts.index())
    return migration.due(place.state, place.data, place.build, facts, run)


def ground(place: Place, users: Accounts, password: str) -> migration.Ground:
    """Give what the change of a stopped site's index needs."""

    def launch(service: str, words: Sequence[str], work: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:  # noqa: ARG001
        account = users.of(service)
        who = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"] if account else []
        program = str(place.programs.postgresql / words[0]) if service == "index" else words[0]
        command = [str(place.programs.setpriv), *who, "--no-new-privs", "--pdeathsig", DEATH[service], "--", program]
        return subprocess.Popen(
            [*command, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )

    run = database.runner(place.programs, users.index)
    return migration.Ground(
        place.site.name, place.state, place.data, place.build, users, password, run, launch, place.site.index
    )

"""Group ``security``: who can read what, and what must appear nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from orthweb.checks import reachability
from orthweb.checks.check import CheckFailed, NotApplicable, check
from orthweb.checks.subject import PATIENT_NAME

if TYPE_CHECKING:
    from orthweb.checks.context import Context
    from orthweb.checks.facts import HostFacts

_UP = "`orthweb up` sets modes and configuration right; if it does not, say so to the site's administrator"
_ROTATE = "change the secret (delete its file in the state folder's secrets, then `orthweb up`) and remove the copy"
_KEY = b"PRIVATE KEY-----"
_LOG_TAIL = 16 * 1024**2
_SMALL = 256 * 1024
_FLUSHED = 15.0
"""Seconds within which the edge must have written a request to its log."""


# --- files ------------------------------------------------------------------------------------------------------------


@check(
    "security.secret_files",
    "Secrets' file modes",
    "Generated passwords and private keys are open to their owner alone, or to the one service that needs them",
    hint="chmod 600 on the file, 700 on the folder of secrets; `orthweb up` does it too",
)
def secret_files(context: Context) -> str:
    """Look at the modes of the secrets' folder, all files in it, and all private keys that are known."""
    facts = context.facts
    files = [path for path in sorted(facts.secrets.iterdir()) if path.is_file()]
    if not files:
        raise CheckFailed(f"{facts.secrets.name}: no secrets there")
    everything = [facts.secrets, *files, *(path for path in facts.private if path.exists())]
    groups = _services_groups(facts)
    for path in everything:
        if _bits_of_others(path.stat(), groups):
            raise CheckFailed(f"{_below(facts, path)}: mode {stat.S_IMODE(path.stat().st_mode):04o}")
    return f"{len(everything) - 1} files and their folder"


@check(
    "security.state_folder",
    "State folder",
    "Nobody but its owner may list or write the state folder, and other users find no file in it that they may read",
    hint="chmod go-rw on the state folder; `orthweb up` sets all modes right",
)
def state_folder(context: Context) -> str:
    """Walk as another user would: only where the modes let one pass."""
    facts = context.facts
    bits = stat.S_IMODE(facts.state.stat().st_mode)
    if bits & 0o066:
        raise CheckFailed(f"the state folder has mode {bits:04o}")
    # bin/ has a copy of Envoy, where the wheel's own lies in a closed folder: a public program, root's.
    groups = _services_groups(facts)
    found = [path for path in _open_to_others(facts.state, groups) if path.parent != facts.state / "bin"]
    if found:
        raise CheckFailed(
            f"others may read {_below(facts, found[0])}" + (f" and {len(found) - 1} more" if found[1:] else "")
        )
    return f"mode {bits:04o}, no file open to others"


def _services_groups(facts: HostFacts) -> frozenset[int]:
    """Give the groups of the services' own users: root's files reach a service through them, to be read only."""
    found = set()
    for service in facts.services:
        if service.user.isdigit():
            found.add(int(service.user))  # a number of the services' own, for user and group
            continue
        with contextlib.suppress(KeyError):
            found.add(pwd.getpwnam(service.user).pw_gid)
    return frozenset(found - {0})


def _bits_of_others(found: os.stat_result, groups: frozenset[int]) -> int:
    """Give the mode bits that let others in; a service's group may read what root owns, and pass its folders."""
    bits = stat.S_IMODE(found.st_mode) & 0o077
    if found.st_uid == 0 and found.st_gid in groups:
        bits &= ~(0o050 if stat.S_ISDIR(found.st_mode) else 0o040)
    return bits


def _open_to_others(folder: Path, groups: frozenset[int]) -> Iterator[Path]:
    """List files that others may read and can reach."""
    try:
        if not _bits_of_others(folder.stat(), groups) & 0o011:
            return
        entries = sorted(folder.iterdir())
    except PermissionError:
        return
    for path in entries:
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode):
            yield from _open_to_others(path, groups)
        elif stat.S_ISREG(state.st_mode) and _bits_of_others(state, groups) & 0o044:
            yield path


def _below(facts: HostFacts, path: Path) -> str:
    try:
        return str(path.relative_to(facts.state))
    except ValueError:
        return path.name


@check(
    "security.configuration",
    "No secret in configuration",
    "Passwords are in files of their own: no rendered configuration of a service has one in it",
    hint=_ROTATE,
)
def configuration(context: Context) -> str:
    """Look for the passwords' values in all small files outside the places that hold secrets."""
    facts = context.facts
    values = _secret_values(context)
    holders = {path.resolve() for path in facts.private}
    apart = {facts.secrets, facts.state / "logs", *((facts.store.path,) if facts.store and facts.store.path else ())}
    looked_at = 0
    for path in _small_files(facts.state, apart):
        if path.resolve() in holders:
            continue
        looked_at += 1
        content = path.read_bytes()
        for name, value in values.items():
            if value in content:
                raise CheckFailed(f"{_below(facts, path)} contains the secret {name}")
    if not looked_at:
        raise CheckFailed("no configuration file could be read")
    return f"{len(values)} secrets in none of {looked_at} files"


def _small_files(folder: Path, apart: set[Path]) -> Iterator[Path]:
    """List readable small files; a PostgreSQL data directory is left out (roles' passwords are hashes there)."""
    try:
        entries = sorted(folder.iterdir())
    except PermissionError:
        return
    if any(entry.name == "PG_VERSION" for entry in entries):
        return
    for path in entries:
        if path in apart or path.is_symlink():
            continue
        if path.is_dir():
            yield from _small_files(path, apart)
        elif path.is_file() and path.stat().st_size <= _SMALL and os.access(path, os.R_OK):
            yield path


def _secret_values(context: Context) -> dict[str, bytes]:
    """Read all generated secrets; AE titles are names that peers call each other by."""
    values = {"administrator's password": context.access.credentials.password.encode()}
    for path in sorted(context.facts.secrets.iterdir()):
        if path.is_file() and not path.name.endswith("aet"):
            value = path.read_bytes().strip()
            if len(value) >= 8:
                values[path.name] = value
    return values


# --- processes --------------------------------------------------------------------------------------------------------


@check(
    "security.processes",
    "No secret in processes",
    "No process of this machine has a password or private key of the site in its arguments or environment",
    hint=_ROTATE,
)
def processes(context: Context) -> str:
    """Look into ``/proc/*/cmdline`` and ``/proc/*/environ``, as far as this user may."""
    values = _secret_values(context) | {"private key": _KEY}
    looked_at = closed = 0
    services = {service.pid for service in context.facts.services}
    for process in psutil.process_iter():
        try:
            name = process.name()
            texts = {"arguments": Path(f"/proc/{process.pid}/cmdline").read_bytes()}
            texts["environment"] = Path(f"/proc/{process.pid}/environ").read_bytes()
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
        except (psutil.AccessDenied, PermissionError):
            if process.pid in services:
                raise NotApplicable(
                    "the services' environments can be seen by their own users and root alone"
                ) from None
            closed += 1
            continue
        looked_at += 1
        for place, text in texts.items():
            for secret, value in values.items():
                if value in text:
                    raise CheckFailed(f"process {process.pid} ({name}) has the secret {secret} in its {place}")
    return f"{looked_at} processes" + (f", {closed} of other users not visible" if closed else "")


# --- logs -------------------------------------------------------------------------------------------------------------


def _marked_request(context: Context) -> str:
    """Make a request whose path is this run's own and whose query is a patient's."""
    instance = context.sent()[0]
    query = {"PatientID": context.patient.patient_id, "PatientName": PATIENT_NAME}
    context.http().get(f"/dicom-web/studies/{instance.study}/series", params=query)
    return instance.study


@check(
    "security.access_log",
    "Access log without patient data",
    "The edge's access log has this run's requests, and in it neither query strings nor the test patient's name or ID",
    hint="the access log's format must say %PATH(NQ)%: `orthweb up` renders it",
    prepare=_marked_request,
)
def access_log(context: Context) -> str:
    """Wait until the marked request is logged; then look at every line."""
    facts = context.facts
    name = facts.access_log
    if name is None:
        raise NotApplicable("the edge's access log cannot be read from here")
    marker = context.sent()[0].study.encode()
    end = time.monotonic() + _FLUSHED
    while marker not in (content := facts.logs.end(name, _LOG_TAIL)):
        if time.monotonic() > end:
            raise CheckFailed("a request of this run is not in the access log", "see `orthweb logs edge`")
        time.sleep(0.1)
    _no_patient(context, name, content)
    queries = lines = 0
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        lines += 1
        queries += "?" in str(entry.get("path", ""))
    if not lines:
        raise CheckFailed("the access log is not one JSON object a line")
    if queries:
        raise CheckFailed(f"{queries} of {lines} lines have a query string")
    return f"{lines} lines, none with a query string or the test patient"


def _no_patient(context: Context, name: str, content: bytes) -> None:
    for what, value in (("ID", context.patient.patient_id), ("name", PATIENT_NAME)):
        if value.encode() in content:
            raise CheckFailed(f"{name} has the test patient's {what} in it")


@check(
    "security.logs",
    "Logs without patient data or secrets",
    "No log of a service has the test patient's name or ID, a password or a private key in it",
    hint=f"the services' log levels and formats are not what orthweb renders: `orthweb up`; {_ROTATE}",
    prepare=_marked_request,
)
def logs(context: Context) -> str:
    """Look at the end of every log."""
    values = _secret_values(context) | {"private key": _KEY}
    logs = context.facts.logs
    names = logs.names()
    if not names:
        raise CheckFailed("there are no logs")
    for name in names:
        content = logs.end(name, _LOG_TAIL)
        _no_patient(context, name, content)
        for secret, value in values.items():
            if value in content:
                raise CheckFailed(f"{name} has the secret {secret} in it")
    return f"{len(names)} logs"


CHECKS = (*reachability.CHECKS, secret_files, state_folder, configuration, processes, access_log, logs)

"""What a change means, said for people: the lines of a plan that every target has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orthweb import pki, secrets
from orthweb.targets.base import PlanItem
from orthweb.targets.host.deployment import Bundle, Effect, File
from orthweb.targets.host.place import SitePlace

if TYPE_CHECKING:
    from orthweb.site import Site

Item = File | Bundle

FEW = 4
"""Up to this many new files are named one by one."""


def new_secrets(names: Sequence[str]) -> list[PlanItem]:
    """Say which secrets are generated."""
    if not names:
        return []
    words = ", ".join(secrets.file_name(name).replace("-", " ") for name in names)
    return [PlanItem("create", "secrets", f"generated: {words}")]


def certificates(changes: Sequence[pki.Change]) -> list[PlanItem]:
    """Say which certificates are issued and renewed, and what a person should know of the others."""
    missing = [change.name for change in changes if change.action == "issue"]
    items = [PlanItem("create", "certificates", f"issued: {', '.join(missing)}")] if missing else []
    actions: dict[str, Literal["renew", "warn"]] = {"renew": "renew", "keep": "warn"}
    others = [change for change in changes if change.action != "issue"]
    return items + [PlanItem(actions[change.action], f"certificate {change.name}", change.reason) for change in others]


def files(place: SitePlace, differing: Sequence[Item]) -> list[PlanItem]:
    """Say what of each file differs; files that are all new count as one thing."""
    new, items = [], []
    for item in differing:
        path = item.folder if isinstance(item, Bundle) else item.path
        label = str(path.relative_to(place.state.root))
        if (path / "current").exists() if isinstance(item, Bundle) else path.exists():
            items.append(PlanItem("change", label, difference(item)))
        else:
            new.append(label)
    if len(new) > FEW:
        items.insert(0, PlanItem("create", "configuration", f"{len(new)} files for {', '.join(place.services)}"))
    else:
        items += [PlanItem("create", label, "not there yet") for label in new]
    return items


def wants(differing: Sequence[Item], effect: Effect, service: str) -> bool:
    """Tell whether a changed file asks this of a service."""
    return any(isinstance(item, File) and item.effect == effect and item.service == service for item in differing)


def restarts(
    wanted: Mapping[str, str], differing: Sequence[Item], running: Iterable[str], busy: Callable[[], bool]
) -> tuple[dict[str, str], list[PlanItem]]:
    """Give all services that are restarted, those with a new internal certificate too unless one is in use, and say so.

    Parameters
    ----------
    wanted : services that must be restarted whatever they are at, with the reason.
    running : names of those that run.
    busy : tells whether an association is open.
    """
    idle = [name for name in running if name not in wanted and wants(differing, "idle", name)]
    found, said = dict(wanted), []
    if idle and busy():
        why = "its internal certificate is used from its next start: an association is open now"
        said = [PlanItem("warn", name, why) for name in idle]
    else:
        found |= dict.fromkeys(idle, "a new internal certificate")
    return found, said + [PlanItem("restart", name, why) for name, why in found.items()]


def warnings(place: SitePlace, fitted: Site) -> list[PlanItem]:
    """Say what is allowed and should be known.

    Parameters
    ----------
    fitted : the site as this machine can run it.
    """
    site = place.site
    items = []
    open_to_all = site.unknown_peers == "all" and site.tls.client_certificates == "off"
    if open_to_all and not site.loopback_only:
        why = "every peer that reaches the DICOM port may query and retrieve: set it to store, or ask for certificates"
        items.append(PlanItem("warn", "dicom.unknown_peers", why))
    largest = fitted.edge.max_body
    if largest < site.edge.max_body:
        why = f"is {largest / 1024**3:.1f} GiB here, a third of the memory: Orthanc needs three times as much"
        items.append(PlanItem("warn", "edge.max_body", why))
    return items


def difference(item: File | Bundle) -> str:
    """Say what of a file differs from what is there: keys for JSON and settings files, never values."""
    if isinstance(item, Bundle):
        return "certificates, loaded without a restart"
    try:
        old = item.path.read_text()
    except (OSError, UnicodeDecodeError):
        return "not there yet"
    if old.encode() == item.content:
        return "owner or mode"
    keys = sorted(_keys(old, item.path) ^ _keys(item.content.decode(), item.path))
    names = list(dict.fromkeys(".".join(key.split(".")[-2:]) for key, _ in keys))
    return f"differs in {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else "differs"


def _keys(text: str, path: Path) -> set[tuple[str, str]]:
    if path.suffix == ".json":
        with contextlib.suppress(ValueError):
            return set(_flat(json.loads(text)))
    return {(line.split("=")[0].strip(), line) for line in text.splitlines() if "=" in line}


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(item, f"{name}.{key}" if name else key)]
    if isinstance(value, list):
        return [pair for number, item in enumerate(value) for pair in _flat(item, f"{name}[{number}]")]
    return [(name, json.dumps(value))]

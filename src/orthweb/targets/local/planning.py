"""What `up` would change: the same comparison that `up` makes, with nothing done about it."""

from __future__ import annotations

from collections.abc import Sequence

from orthweb import pki, secrets
from orthweb.errors import SiteFileError
from orthweb.sitefile import check_ports
from orthweb.targets.base import PlanItem
from orthweb.targets.host import accounts, bucket, changes, external, folder, handover, machine
from orthweb.targets.host.changes import Item
from orthweb.targets.host.deployment import File, changed
from orthweb.targets.local import database, inspection, migration, replicas
from orthweb.targets.local.place import Layout, Place


def check_edge_ports(place: Place) -> None:
    """Refuse ports of the edge that somebody else has, or that this user may not have.

    Raises
    ------
    SiteFileError : one line for each port and address.
    """
    in_use = inspection.edge_ports(place.state) if place.running() else set()
    problems = check_ports(place.site, in_use)
    if problems:
        raise SiteFileError(problems)


def plan(place: Place) -> list[PlanItem]:
    """Say what `up` would change."""
    place.check()
    check_edge_ports(place)
    layout = place.layout()
    items: list[PlanItem] = []
    if not place.state.root.exists():
        items.append(PlanItem("create", str(place.state.root), "state folder: everything of this site lies there"))
    if accounts.missing_edge_user():
        items.append(PlanItem("create", f"user {accounts.EDGE_USER}", "the edge runs as a user of its own"))
    if place.site.store.kind != "filesystem":
        pass
    elif not place.store.exists():
        items.append(PlanItem("create", str(place.store), "store: folder of the DICOM files"))
    elif place.site.store.path is not None and not folder.read_facts(place.state).store:
        items.append(PlanItem("change", str(place.store), "store: becomes the archive's alone (owner, mode 0700)"))
    items += bucket.renaming(place)
    missing = secrets.missing(place.state.secrets)
    items += changes.new_secrets(missing)
    due = pki.plan(place.state.pki, place.site, place.base)
    items += changes.certificates(due)
    if place.site.index.host is not None:
        items += external.plan(place)
    elif not database.is_complete(place.data):
        why = f"PostgreSQL {place.programs.postgresql_major}: data directory, role and database"
        items.append(PlanItem("create", "index", why))
    elif not handover.moves(place, "local") and (upgrade := migration.due(place)) is not None:
        items.append(PlanItem("change", "index", str(upgrade)))
    running = place.running()
    if not accounts.missing_edge_user():
        items += handover.due(place, accounts.find(), "local")
    if missing or any(change.action == "issue" for change in due) or accounts.missing_edge_user():
        items.append(PlanItem("create", "configuration", "of PostgreSQL, Orthanc, Envoy and the supervisor"))
    else:
        items += _files(place, layout, running)
    if not running:
        items += [PlanItem("start", name, "not running") for name in place.services]
    return items + changes.warnings(place, machine.fitted(place.site))


def _files(place: Place, layout: Layout, running: bool) -> list[PlanItem]:
    users = accounts.find()
    differing = changed(place.files(layout, users), users)
    items = changes.files(place, differing)
    if running:
        items += comings_and_goings(place)
        items += [PlanItem("restart", name, why) for name, why in restarts(place, differing).items()]
    return items


def comings_and_goings(place: Place) -> list[PlanItem]:
    """Name the processes that a running site gets, and those that it loses."""
    known = place.supervisor.services()
    why = "is no longer part of the site: it finishes what it is at, and ends"
    return [PlanItem("start", name, "not running") for name in place.services if name not in known] + [
        PlanItem("change", name, why) for name in replicas.leaving(place)
    ]


def services_changed(differing: Sequence[Item]) -> bool:
    """Tell whether the services themselves changed, in more than which Orthanc processes there are."""
    for item in differing:
        if item.service == "supervisor" and isinstance(item, File):
            try:
                old = item.path.read_text()
            except OSError:
                return True
            return not replicas.only_replicas(old, item.content.decode())
    return False


def restarts(place: Place, differing: Sequence[Item]) -> dict[str, str]:
    """Name the services that must be restarted, in their order, with the file that asks for it."""
    found: dict[str, str] = {}
    changed_services = services_changed(differing)
    known = place.supervisor.services() if place.running() else {}
    for item in differing:
        if item.service == "supervisor" and not changed_services:
            continue
        if isinstance(item, File) and item.effect == "restart":
            for name in place.services if item.service == "supervisor" else (item.service,):
                found.setdefault(name, f"{item.path.name} changed")
    return {name: found[name] for name in place.services if name in found and (name in known or not known)}

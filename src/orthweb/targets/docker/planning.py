"""What `up` would change: the same comparison that `up` makes, with nothing done about it."""

from __future__ import annotations

from collections.abc import Sequence

from orthweb import pki, secrets
from orthweb.errors import SiteFileError, UsageError
from orthweb.render import compose
from orthweb.sitefile import check_ports
from orthweb.targets.base import PlanItem
from orthweb.targets.docker import images, migration, services
from orthweb.targets.docker.containers import ContainerState
from orthweb.targets.docker.place import Layout, Place, accounts, fitted
from orthweb.targets.host import bucket, changes, cluster, external, folder, handover
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.changes import Item
from orthweb.targets.host.deployment import File, changed
from orthweb.targets.local import supervision
from orthweb.targets.local.supervision import Supervisor


def check_folder(place: Place) -> None:
    """Refuse a state folder that is not ours, before anything is built.

    Raises
    ------
    UsageError : names the folder.
    """
    folder.inspect(place.state.root)


def check_edge_ports(place: Place) -> None:
    """Refuse ports of the edge that somebody else has.

    Raises
    ------
    SiteFileError : one line for each port and address.
    """
    edge = place.states().get("edge")
    in_use = {port for _, port, _ in edge.published} if edge is not None and edge.runs else set()
    problems = check_ports(place.site, in_use, privileged=True)
    if problems:
        raise SiteFileError(problems)


def check_other_target(place: Place) -> None:
    """Refuse a site that runs as processes of this machine now.

    Raises
    ------
    UsageError : it does.
    """
    if folder.read_facts(place.state).target == "docker":
        return
    if Supervisor(place.run / "supervisor.sock").pid() is not None or supervision.leftovers(place.state):
        raise UsageError(
            "target: docker: this site runs as processes of this machine now",
            "orthweb down, then orthweb up: images and index stay",
        )


def plan(place: Place) -> list[PlanItem]:
    """Say what `up` would change."""
    check_folder(place)
    lacking = images.missing(place.engine, place.site)
    if lacking:
        named = images.references(place.site)
        items = [PlanItem("create", f"image {named[role]}", "the engine does not have it") for role in lacking]
        # What is in an image decides the rest.
        return [*items, PlanItem("create", "configuration", "of PostgreSQL, Orthanc, Envoy and their containers")]
    place.check()
    check_other_target(place)
    check_edge_ports(place)
    layout, users = place.layout(), accounts()
    items = []
    if not place.state.root.exists():
        items.append(PlanItem("create", str(place.state.root), "state folder: everything of this site lies there"))
    if place.site.store.kind == "filesystem" and not place.store.exists():
        items.append(PlanItem("create", str(place.store), "store: folder of the DICOM files"))
    items += bucket.renaming(place)
    missing = secrets.missing(place.state.secrets)
    items += changes.new_secrets(missing)
    due = pki.plan(place.state.pki, place.site, place.base)
    items += changes.certificates(due)
    items += handover.due(place, users, "docker")
    if place.site.index.host is not None:
        items += external.plan(place)
    elif not cluster.is_complete(place.data):
        why = f"PostgreSQL {place.postgresql_major}: data directory, role and database"
        items.append(PlanItem("create", "index", why))
    elif not handover.moves(place, "docker") and (upgrade := migration.due(place, users)) is not None:
        items.append(PlanItem("change", "index", str(upgrade)))
    running = place.running()
    if missing or any(change.action == "issue" for change in due) or not place.identity:
        items.append(PlanItem("create", "configuration", "of PostgreSQL, Orthanc, Envoy and their containers"))
    else:
        differing = changed(place.files(layout, users), users)
        items += changes.files(place, differing)
        if running:
            items += _of_running(place, layout, users, differing)
    if not running:
        items += [PlanItem("start", name, "not running") for name in place.services]
    return items + warnings(place)


def _of_running(place: Place, layout: Layout, users: Accounts, differing: Sequence[Item]) -> list[PlanItem]:
    if networks_changed(place, layout, users):
        return [PlanItem("restart", name, "the containers' networks changed") for name in place.services]
    states = place.states()
    return comings_and_goings(place, states) + [
        PlanItem("restart", name, why) for name, why in restarts(place, layout, users, differing, states).items()
    ]


def networks_changed(place: Place, layout: Layout, users: Accounts) -> bool:
    """Tell whether the engine has networks of the site that are not what they should be."""
    _, wanted = compose.definitions(place.stack(layout, users))
    return any(wanted.get(name) != definition for name, definition in place.containers.networks().items())


def comings_and_goings(place: Place, states: dict[str, ContainerState]) -> list[PlanItem]:
    """Name the containers that a running site gets or starts again, and those that it loses."""
    why = "is no longer part of the site: it finishes what it is at, and ends"
    return [
        PlanItem("start", name, "not running")
        for name in place.services
        if name not in states or not (states[name].runs or states[name].status == "restarting")
    ] + [PlanItem("change", name, why) for name in states if name and name not in place.services]


def redefined(place: Place, layout: Layout, users: Accounts, states: dict[str, ContainerState]) -> dict[str, str]:
    """Name the containers that have to be made anew, with the reason."""
    wanted, _ = compose.definitions(place.stack(layout, users))
    found = {}
    for name in place.services:
        state = states.get(name)
        if state is None:
            continue
        role = name if name in ("index", "edge") else "archive"
        if state.definition != wanted[name]:
            found[name] = "its container's definition changed"
        elif state.image != layout.images.ids[role]:
            found[name] = "its image changed"
    return found


def restarts(
    place: Place, layout: Layout, users: Accounts, differing: Sequence[Item], states: dict[str, ContainerState]
) -> dict[str, str]:
    """Name the services that must be restarted, in their order, with the reason."""
    found = redefined(place, layout, users, states)
    for item in differing:
        if isinstance(item, File) and item.effect == "restart":
            found.setdefault(item.service, f"{item.path.name} changed")
    return {name: found[name] for name in place.services if name in found and name in states}


def warnings(place: Place) -> list[PlanItem]:
    """Say what is allowed and should be known."""
    items = changes.warnings(place, fitted(place.site))
    for name in services.unreachable_modalities(place.site):
        why = "in a container this is the container itself: name this machine by another address"
        items.append(PlanItem("warn", f"modalities.{name}.host", why))
    for reference in images.outdated(place.engine, place.site):
        why = "was built from other sources than this orthweb's: orthweb image build makes it anew"
        items.append(PlanItem("warn", f"image {reference}", why))
    return items

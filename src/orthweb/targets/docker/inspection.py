"""Look at a site in containers from outside: its status, and what only this machine and its engine know."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Literal

from orthweb.capabilities.build import dotted_version
from orthweb.checks.facts import HostFacts, IndexFacts, InternalPort, PublishedPort, ServiceFacts, store_facts
from orthweb.errors import NotRunningError, UsageError
from orthweb.render.postgresql import DATABASE, ROLE
from orthweb.store.site import name_of
from orthweb.targets.base import ServiceStatus, SiteStatus
from orthweb.targets.docker.containers import ContainerState
from orthweb.targets.docker.logs import ACCESS, ContainerLogs
from orthweb.targets.docker.place import Layout, Place, accounts, fitted
from orthweb.targets.host import external, reaching
from orthweb.targets.host.inspection import private_files, site_status
from orthweb.targets.host.readiness import ready
from orthweb.targets.local import supervision


def _user(service: str) -> str:
    """Give the number of the user that a service's processes belong to; this machine has no name for it."""
    account = accounts().of(service)
    return account.user if account else str(os.geteuid())


def _versions(place: Place) -> dict[str, str]:
    build = place.build
    plugins = ", ".join(str(plugin) for plugin in build.loaded(place.site.store.kind))
    return {
        **({"index": f"PostgreSQL {place.postgresql_major}"} if place.site.index.host is None else {}),
        **{name: f"Orthanc {dotted_version(build.version)} ({plugins})" for name, _ in place.archives},
        "edge": f"Envoy {place.contents.envoy(place.images)}",
    }


def _service(name: str, found: ContainerState | None, version: str) -> ServiceStatus:
    state: Literal["running", "starting", "stopped", "failed"] = "stopped"
    if found is not None:
        state = "running" if found.runs else "stopped"
        if found.status in ("restarting", "dead") or (found.status == "exited" and found.exit_code not in (0, 143)):
            state = "failed"
        elif found.runs and found.health == "starting":
            state = "starting"
    pid = found.pid if found is not None and found.runs else None
    uptime = None
    if pid is not None and found is not None and found.started is not None:
        uptime = max(0.0, (datetime.now(UTC) - found.started).total_seconds())
    memory = supervision.memory(pid) if pid is not None else None
    return ServiceStatus(name, state, pid, _user(name), uptime, memory, version)


def status(place: Place) -> SiteStatus:
    """Look at a site: its containers, and whether it answers."""
    states = place.states()
    alive = any(state.runs for state in states.values())
    services = [_service(name, states.get(name), version) for name, version in _versions(place).items()]
    known = bool(place.identity)
    problem: str | None = "not running" if known else "there is no site here yet: orthweb up"
    if alive:
        try:
            problem = ready(reaching.access(place))
        except NotRunningError as error:
            problem = str(error)
    state: Literal["running", "degraded", "stopped", "absent"] = "stopped" if known else "absent"
    if alive:
        # The image's own health check looks every ten seconds; a site that answers has started.
        state = "running" if problem is None else "degraded"
    where = name_of(place.site.store.kind, place.site, place.store)
    facts = {"store": where, "compose": str(place.compose_file)} | external.facts(place.site.index)
    return site_status(place, "docker", state, problem, services, facts)


def unknown(place: Place, error: UsageError) -> SiteStatus:
    """Give the status of a site whose engine does not answer."""
    state: Literal["stopped", "absent"] = "stopped" if place.identity else "absent"
    return site_status(place, "docker", state, error.message, (), {"store": str(place.store)})


def logs(place: Place) -> ContainerLogs:
    """Give the containers' logs."""
    states = place.states()
    names = [name for name in place.services if name in states]
    return ContainerLogs(place.engine, {name: states[name].name for name in names})


def index_facts(place: Place) -> IndexFacts:
    """Say how a site's index is reached: its network is this machine's own."""
    if place.site.index.host is not None:
        return external.index_facts(place.site.index, place.state)
    index = place.kept_endpoints().index
    return IndexFacts(
        index.host,
        index.port,
        DATABASE,
        ROLE,
        place.pki.internal_ca.certificate,
        place.state.archive / "index-passfile",
        hostaddr=index.address,
    )


def host_facts(place: Place) -> HostFacts:
    """Give the checks what only this machine knows."""
    layout, state, states = place.kept_layout(), place.state, place.states()
    programs = {"index": "postgres", "edge": "envoy"}
    services = [
        ServiceFacts(
            name,
            states[name].pid if name in states and states[name].runs else None,
            _user(name),
            _version_command(place, name, programs.get(name, str(place.build.program))),
        )
        for name in place.services
    ]
    return HostFacts(
        state=state.root,
        secrets=state.secrets,
        logs=logs(place),
        access_log=ACCESS,
        index=index_facts(place),
        store=store_facts(place.site, place.store),
        services=tuple(services),
        internal_ports=_internal_ports(layout),
        listen=tuple(str(address) for address in place.site.edge.listen),
        max_body=int(fitted(place.site).edge.max_body),
        private=private_files(place),
        published=tuple(
            PublishedPort(name, address, port, inside)
            for name, each in states.items()
            for address, port, inside in each.published
        ),
    )


def _version_command(place: Place, service: str, program: str) -> tuple[str, ...]:
    host = ("--host", place.engine.host) if place.engine.host else ()
    return (str(place.engine.program), *host, "exec", place.container(service), program, "--version")


def _internal_ports(layout: Layout) -> tuple[InternalPort, ...]:
    endpoints, found = layout.endpoints, []
    for process in endpoints.archives:
        found.append(InternalPort(f"{process.name} http", process.http, "http", process.host))
        if process.dicom is not None:
            found.append(InternalPort(f"{process.name} dicom", process.dicom, "dicom", process.host))
    index, edge = endpoints.index, endpoints.edge
    if not index.external:
        found.append(InternalPort("index", index.port, "postgresql", index.address))
    # The archive's way to modalities is mutual TLS too.
    found += [InternalPort(f"egress {name}", port, "dicom", edge.inside) for name, port in endpoints.egress.items()]
    return tuple(found)

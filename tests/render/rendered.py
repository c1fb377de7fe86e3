"""Sites whose files are rendered in tests: the text for review, and files with real certificates for the programs."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path

from orthweb import pki, secrets, sitefile
from orthweb.capabilities.build import OrthancBuild, Plugin
from orthweb.render import compose, envoy, envoy_replicas, orthanc, postgresql, supervisor
from orthweb.render.endpoints import ArchiveProcess, EdgeEndpoint, Endpoints, IndexEndpoint
from orthweb.render.supervisor import Account, Service
from orthweb.site import Site
from orthweb.state import StateFolder
from orthweb.targets.docker import services as containers
from orthweb.targets.docker.network import Addresses
from orthweb.targets.host import rendering
from orthweb.targets.host.accounts import Accounts
from orthweb.targets.host.deployment import Bundle, File
from orthweb.targets.local import services
from orthweb.targets.local.ports import egress_names
from orthweb.targets.local.programs import Programs

SITES = {
    "default": "",
    "hospital": """
name = "st-mary"
hostname = "pacs.st-mary.example"
[edge]
listen = ["192.0.2.10", "127.0.0.1"]
max_body = "8GiB"
max_associations = 200
[tls]
profile = "modern"
certificate = "tls/pacs.pem"
key = "tls/pacs.key"
client_certificates = "required"
[dicom]
aet = "STMARY"
[archive]
overwrite = true
readers = 0
[index]
connections = 8
[store]
path = "/srv/dicom"
[docker]
archive_memory = "8GiB"
archive_cpus = 4
index_memory = "4GiB"
edge_memory = "1GiB"
edge_cpus = 2
[modalities.ct1]
aet = "CT1"
host = "ct1.st-mary.example"
port = 2762
[modalities.viewer]
aet = "VIEWER"
host = "192.0.2.77"
port = 11112
ca = "tls/viewer-ca.pem"
allow = ["echo", "find", "move"]
[modalities.old-us]
aet = "OLD_US"
host = "192.0.2.78"
port = 104
tls = false
allow = ["echo", "store"]
""",
    "low-ports": """
[edge]
listen = ["0.0.0.0"]
https_port = 443
dicom_port = 104
[tls]
client_certificates = "optional"
[dicom]
unknown_peers = "none"
""",
    "replicas": """
[archive]
writers = 2
readers = 2
""",
    "ipv6": """
hostname = "pacs.example.org"
[edge]
listen = ["::1", "2001:db8::10", "127.0.0.1"]
""",
}
"""Case: its site file."""

SECRETS = secrets.Secrets("admin-SECRET", "archive-SECRET", "index-SECRET", "OWCHECKAETITLE00")

DEBIAN_12 = Programs(
    OrthancBuild(
        Path("/usr/sbin/Orthanc"),
        (1, 10, 1),
        tuple(
            Plugin(name, Path(f"/usr/lib/orthanc/libOrthanc{name}.so.{version}"), version_numbers)
            for name, version, version_numbers in (
                ("PostgreSQLIndex", "4.0", (4, 0)),
                ("PostgreSQLStorage", "4.0", (4, 0)),
                ("DicomWeb", "1.7", (1, 7)),
                ("Gdcm", "1.5", (1, 5)),
                ("Python", "4.0", (4, 0)),
            )
        ),
    ),
    Path("/usr/lib/postgresql/15/bin"),
    15,
    Path("/opt/orthweb/envoy"),
    Path("/usr/bin/setpriv"),
)
DEBIAN_13 = OrthancBuild(
    Path("/usr/sbin/Orthanc"),
    (1, 12, 7),
    tuple(
        Plugin(name, Path(f"/usr/lib/orthanc/libOrthanc{name}.so.{'.'.join(map(str, version))}"), version)
        for name, version in (
            ("PostgreSQLIndex", (5, 0)),
            ("DicomWeb", (1, 20)),
            ("Gdcm", (1, 8)),
            ("Python", (5, 0)),
        )
    ),
)
NETWORK = Addresses(IPv4Network("10.83.44.0/24"))
ROOT_ACCOUNTS = Accounts(
    index=Account("postgres", 101, 111), archive=Account("orthanc", 102, 112), edge=Account("orthweb-edge", 103, 113)
)
USER_ACCOUNTS = Accounts(None, None, None)


@dataclass(frozen=True)
class Rendered:
    """The files of a local site whose site file lies in `base`."""

    case: str
    base: Path
    programs: Programs = DEBIAN_12

    @cached_property
    def site(self) -> Site:
        if "tls/" in SITES[self.case]:
            _bring_certificates(self.base / "tls", "pacs.st-mary.example")
        return sitefile.parse(SITES[self.case], self.base / "site.toml")[0]

    @property
    def accounts(self) -> Accounts:
        return ROOT_ACCOUNTS if self.case == "low-ports" else USER_ACCOUNTS

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.base / ".orthweb")

    @cached_property
    def endpoints(self) -> Endpoints:
        state, edge = self.state, self.site.edge
        archives = orthanc.processes(self.site, self.programs.orthanc)
        first = 701 if self.accounts.archive else 20001
        return Endpoints(
            archives=tuple(
                ArchiveProcess(
                    name,
                    role,
                    state.service(name),
                    state.service(name) / "work",
                    "127.0.0.1",
                    first + 20 * number,
                    None if role == "reader" else 20002 + 20 * number,
                )
                for number, (name, role) in enumerate(archives)
            ),
            index=IndexEndpoint(state.index, state.index / "data", state.run / "index", 20003),
            edge=EdgeEndpoint(
                state.edge,
                state.run / "edge" / "admin.sock",
                tuple(str(address) for address in edge.listen),
                edge.https_port,
                edge.dicom_port,
            ),
            store=self.site.store.path or state.store,
            check_aet=SECRETS.check_aet,
            check_port=20004,
            egress={name: 20011 + number for number, name in enumerate(egress_names(self.site))},
        )

    @property
    def services(self) -> list[Service]:
        return services.services(self.site, self.endpoints, self.programs, self.accounts, self.programs.envoy)

    @property
    def connections(self) -> int:
        build = self.programs.orthanc
        return sum(orthanc.connections(self.site, process.role, build) for process in self.endpoints.archives)

    def texts(self) -> dict[str, str]:
        """Give what the pure functions write, by file name."""
        certificates = 1 if self.site.tls.certificate or self.site.tls.profile == "modern" else 2
        root = self.accounts.edge is not None
        return {
            **{
                f"orthanc-{process.name}.json".replace("orthanc-archive.", "orthanc."): orthanc.configuration(
                    self.site, self.endpoints, process, self.programs.orthanc
                )
                for process in self.endpoints.archives
                if process.name in ("archive", "reader")
            },
            "envoy.json": envoy.bootstrap(self.site, self.endpoints, certificates=certificates),
            **{f"eds-{name}": text for name, text in envoy_replicas.eds_files(self.endpoints).items()},
            "postgresql.conf": postgresql.postgresql_conf(self.endpoints.index, self.connections),
            "pg_hba.conf": postgresql.pg_hba_conf(self.endpoints.index),
            "pg_ident.conf": postgresql.pg_ident_conf(("someone", "postgres")),
            "supervisord.conf": supervisor.configuration(
                self.services, self.state.logs, self.state.run, self.programs.setpriv, root=root
            ),
            # The digest of a definition depends on where the site lies.
            "docker-compose.yml": re.sub(
                rf"({re.escape(compose.DEFINITION_LABEL)}: ).*", r"\1DIGEST", compose.compose(self.stack)
            ),
        }

    @property
    def container_endpoints(self) -> Endpoints:
        """What the same site is in containers."""
        archives = orthanc.processes(self.site, DEBIAN_13)
        return containers.endpoints(archives, NETWORK, egress_names(self.site), SECRETS.check_aet, 20004)

    @property
    def stack(self) -> compose.Stack:
        """The site's containers, root's or somebody's."""
        users = (64203, 64201, 64202) if self.accounts.edge else (1000, 1000, 1000)
        roles = ("index", "archive", "edge")
        return containers.stack(
            self.site,
            self.container_endpoints,
            self.state,
            identity="0123456789abcdef0123456789abcdef",
            project=f"{self.site.name}-01234567",
            addresses=NETWORK,
            images={role: f"orthweb/{role}:0.1.0" for role in roles},
            users={role: (number, number) for role, number in zip(roles, users, strict=True)},
            data=self.state.index / "data",
            store=self.site.store.path or self.state.store,
            cache=self.site.s3.cache_path or self.state.cache,
            sockets=self.state.run / "edge",
            orthanc_program=DEBIAN_13.program,
            workers=2,
        )

    def container_texts(self) -> dict[str, str]:
        """Give what containers read and is not what processes read, by file name."""
        endpoints = self.container_endpoints
        certificates = 1 if self.site.tls.certificate or self.site.tls.profile == "modern" else 2
        return {
            "orthanc.json": orthanc.configuration(self.site, endpoints, endpoints.archives[0], DEBIAN_13),
            "envoy.json": envoy.bootstrap(self.site, endpoints, certificates=certificates),
            "postgresql.conf": postgresql.postgresql_conf(endpoints.index, 9),
            "pg_hba.conf": postgresql.pg_hba_conf(endpoints.index),
        }

    def files(self) -> list[File | Bundle]:
        """Give every file, with real certificates, which are made in the state folder."""
        folder = self.state.pki
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pki.ensure(folder, self.site, self.base)
        paths = pki.paths(folder, self.site, self.base)
        owners = ("someone", "postgres")
        return rendering.files(self.site, self.state, self.endpoints, paths, SECRETS, self.programs.orthanc, owners)

    def put(self) -> None:
        """Write every file, for the user who runs the tests."""
        for item in self.files():
            (item.folder if isinstance(item, Bundle) else item.path.parent).mkdir(parents=True, exist_ok=True)
            item.put(None)


def _bring_certificates(folder: Path, hostname: str) -> None:
    """Make what a person brings: a certificate for the hostname with its chain, and a modality's CA."""
    from orthweb.pki.issue import SERVER, Leaf, certificate_pem, key_pem, new_authority, new_leaf

    now = datetime.datetime.now(datetime.UTC)
    ca = new_authority("the hospital's CA", now)
    leaf = new_leaf(Leaf(hostname, (hostname,), (SERVER,)), ca, now)
    folder.mkdir(parents=True)
    (folder / "pacs.pem").write_bytes(certificate_pem([leaf.certificate, ca.certificate]))
    (folder / "pacs.key").write_bytes(key_pem(leaf.key))
    (folder / "pacs.key").chmod(0o600)
    (folder / "viewer-ca.pem").write_bytes(certificate_pem([ca.certificate]))

"""What a target tells the checks about the host that a site runs on.

Checks know a site's endpoints (``SiteAccess``) and never the target behind them. Some things only the host
knows: where the files lie, which processes run, how the index is reached. A target that can see them hands over
``HostFacts``; one that cannot hands over None, and the checks that need them say *not applicable*, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orthweb.logs import Logs

if TYPE_CHECKING:
    from orthweb.site import S3, Site
    from orthweb.store.attachment import Backend


@dataclass(frozen=True)
class IndexFacts:
    """How the archive reaches its index (libpq's own parameter names).

    Parameters
    ----------
    host, port, dbname, user : where PostgreSQL listens, and the role that the archive uses.
    hostaddr : its address, where `host` is a name that only the archive can look up.
    sslrootcert : PEM file of the CA that signed PostgreSQL's certificate (``sslmode=verify-full`` is used with it).
    passfile : libpq password file (0600, readable by the caller of the checks) with that role's password.
    """

    host: str
    port: int
    dbname: str
    user: str
    sslrootcert: Path
    passfile: Path
    hostaddr: str | None = None


@dataclass(frozen=True)
class StoreFacts:
    """Where the DICOM files lie.

    Parameters
    ----------
    path : their folder, when they lie in one that this process can read.
    s3 : the bucket, when they lie in one; with neither they are in the index.
    """

    path: Path | None
    s3: S3 | None = None

    def open(self, index: IndexFacts) -> Backend:
        """Open the store to look into it."""
        if self.path is not None:
            from orthweb.store.filesystem import FilesystemStore

            return FilesystemStore(self.path)
        if self.s3 is not None:
            from orthweb.store.s3 import bucket_of

            return bucket_of(self.s3)
        from orthweb.store.database import DatabaseStore

        return DatabaseStore(index)


def store_facts(site: Site, folder: Path) -> StoreFacts:
    """Give a site's store; `folder` is where its files lie when they lie in one."""
    kind = site.store.kind
    return StoreFacts(folder if kind == "filesystem" else None, site.s3 if kind == "s3" else None)


@dataclass(frozen=True)
class ServiceFacts:
    """One service of the site.

    Parameters
    ----------
    name : index, archive, edge, or what else the target supervises (``supervisor``).
    pid : the main process, or None when it is not running.
    user : name of the operating system user that it must run as, or its number where the machine has no name for it.
    version_command : argument list that prints the program's version to stdout or stderr; empty when it has none.
    root_allowed : whether running as root is right (only a supervisor that starts the others as their own users).
    """

    name: str
    pid: int | None
    user: str
    version_command: tuple[str, ...] = ()
    root_allowed: bool = False


@dataclass(frozen=True)
class InternalPort:
    """A TCP port behind the edge, which nobody outside the site may use.

    Parameters
    ----------
    name : what listens there, for people: ``archive http``.
    port : the TCP port on this machine.
    kind : http (the archive's HTTP server), dicom (mutual TLS), postgresql, or other (must refuse to connect).
    address : where the service has a network of its own (a container), its address there: what this machine reaches
        because the network is its own, and no other machine does.
    """

    name: str
    port: int
    kind: Literal["http", "dicom", "postgresql", "other"]
    address: str | None = None


@dataclass(frozen=True)
class PublishedPort:
    """A port that this machine opens for a service that has a network of its own.

    Parameters
    ----------
    service : its name.
    address, port : where this machine listens.
    inside : the port of the service.
    """

    service: str
    address: str
    port: int
    inside: int


@dataclass(frozen=True)
class HostFacts:
    """Everything about the host that checks may look at.

    Parameters
    ----------
    state : the state folder's root.
    secrets : folder of generated passwords, one file each.
    logs : the services' logs.
    access_log : name of the edge's access log among them, one JSON object a line; None when it cannot be read.
    index, store : see there; None when the caller may not look.
    services : all services of the site, in starting order.
    internal_ports : all ports that are not the edge's.
    listen : addresses that the edge is meant to listen on (``edge.listen`` of the site file).
    max_body : largest body of one HTTP request, bytes (``edge.max_body``).
    private : further files with private keys or passwords that the caller knows of; each must be closed to others.
    published : every port that is opened for a service with a network of its own; None where services share this
        machine's.
    """

    state: Path
    secrets: Path
    logs: Logs
    access_log: str | None
    index: IndexFacts | None
    store: StoreFacts | None
    services: tuple[ServiceFacts, ...]
    internal_ports: tuple[InternalPort, ...]
    listen: tuple[str, ...]
    max_body: int
    private: tuple[Path, ...] = field(default=())
    published: tuple[PublishedPort, ...] | None = None

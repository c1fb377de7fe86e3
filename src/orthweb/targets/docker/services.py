"""The containers of a site: what each runs, sees, may use and is reached by."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.render import orthanc
from orthweb.render.compose import Container, Limits, Logging, Mount, Network, Published, Stack
from orthweb.render.endpoints import ArchiveProcess, EdgeEndpoint, Endpoints, IndexEndpoint, Role
from orthweb.state import StateFolder
from orthweb.targets.docker.network import Addresses

if TYPE_CHECKING:
    from orthweb.site import Site

CONFIGURATION = Path("/etc/orthweb")
"""Where a container sees its own rendered files, which it cannot change."""

DATA = Path("/var/lib/orthweb")
"""Where it sees what it keeps."""

PLUGINS = Path("/usr/lib/orthweb/plugins")
"""Where an Orthanc sees the plugins that the site file names."""

LIBRARIES = Path("/usr/lib/orthweb/libraries")
"""Where our own image has the Python packages that `plugin/` needs; into another one they are mounted."""

HEALTH = "health"
"""Name of the health check's file in the configuration of an Orthanc whose image is not ours."""

SOCKETS = Path("/run/orthweb")

HTTPS, DICOM, HTTP, ARCHIVE_DICOM, POSTGRESQL = 8443, 11112, 8042, 4242, 5432
"""Ports inside: of the edge (HTTPS and DICOM TLS), of each Orthanc, and of the index."""

EGRESS_FIRST = 20000
"""The edge's ports on which the archive reaches modalities begin here."""

SHARED_MEMORY = 256 * 1024**2
"""Bytes of ``/dev/shm`` for PostgreSQL, whose parallel queries share memory there."""


def endpoints(
    archives: Sequence[tuple[str, Role]],
    addresses: Addresses,
    egress: Sequence[str],
    check_aet: str,
    check_port: int,
    index: IndexEndpoint | None = None,
) -> Endpoints:
    """Give the endpoints as the containers see them; each service has its own file system.

    Parameters
    ----------
    archives : name and role of every Orthanc.
    egress : modalities that the archive reaches through the edge.
    check_port : where the validation suite's storage SCP listens on this machine.
    index : where the index is, when it is somebody else's.
    """
    return Endpoints(
        archives=tuple(
            ArchiveProcess(
                name,
                role,
                CONFIGURATION,
                DATA / "work",
                addresses.in_middle(name),
                HTTP,
                None if role == "reader" else ARCHIVE_DICOM,
            )
            for name, role in archives
        ),
        index=index
        or IndexEndpoint(
            CONFIGURATION,
            DATA / "index",
            SOCKETS,
            POSTGRESQL,
            listen=addresses.in_back("index"),
            host="index",
            address=addresses.in_back("index"),
            clients=(str(addresses.back),),
        ),
        edge=EdgeEndpoint(
            CONFIGURATION,
            SOCKETS / "admin.sock",
            ("0.0.0.0",),  # noqa: S104  of its own network; this machine publishes it where the site file says
            HTTPS,
            DICOM,
            inside=addresses.in_middle("edge"),
            host=addresses.in_middle("edge"),
        ),
        store=DATA / "store",
        check_aet=check_aet,
        check_host=addresses.gateway,
        check_name="127.0.0.1",
        check_port=check_port,
        egress={name: EGRESS_FIRST + number for number, name in enumerate(egress)},
        one_host=False,
    )


def reaches_out(site: Site) -> bool:
    """Tell whether the archive itself has to reach what lies outside: an index, a bucket, modalities without TLS."""
    return (
        site.index.host is not None or site.store.kind == "s3" or any(not peer.tls for peer in site.modalities.values())
    )


def stack(
    site: Site,
    found: Endpoints,
    state: StateFolder,
    *,
    identity: str,
    project: str,
    addresses: Addresses,
    images: dict[str, str],
    users: dict[str, tuple[int, int]],
    data: Path,
    store: Path,
    cache: Path,
    sockets: Path,
    orthanc_program: Path,
    workers: int,
) -> Stack:
    """Give a site's containers and networks.

    Parameters
    ----------
    images, users : by role: index, archive, edge; users are ids of user and group.
    data, store, cache, sockets : of the index, the archive and the edge, on this machine.
    workers : the number of Envoy's threads.
    """
    out = reaches_out(site)
    networks = (
        Network("front", addresses.front, internal=False),
        Network("middle", addresses.middle, internal=not out),
        *([] if found.index.external else [Network("back", addresses.back, internal=True)]),
    )
    archives = [
        _archive(
            site, found, process, state, addresses, images["archive"], users["archive"], store, cache, orthanc_program
        )
        for process in found.archives
    ]
    edge = _edge(site, found, state, addresses, images["edge"], users["edge"], sockets, workers)
    own = [] if found.index.external else [_index(site, found, state, addresses, images["index"], users["index"], data)]
    return Stack(project, identity, networks, (*own, *archives, edge), logging(site))


def logging(site: Site) -> Logging:
    """Give where the containers' logs go."""
    if site.docker.log_group is None:
        return Logging()
    prefix = site.index.client or site.name
    return Logging(site.docker.log_group, site.docker.log_region or site.s3.region, prefix)


def _index(
    site: Site,
    found: Endpoints,
    state: StateFolder,
    addresses: Addresses,
    image: str,
    user: tuple[int, int],
    data: Path,
) -> Container:
    limits = site.docker
    return Container(
        name="index",
        image=image,
        command=("postgres", "-D", str(found.index.data), "-c", f"config_file={found.index.folder}/postgresql.conf"),
        user=user,
        networks={"back": addresses.in_back("index")},
        mounts=(
            Mount(state.index, CONFIGURATION),
            # PostgreSQL wants to know its user's name, whoever that is.
            Mount(state.index / "passwd", Path("/etc/passwd")),
            Mount(data, found.index.data, writable=True),
        ),
        stop_signal="SIGINT",
        stop_seconds=60,
        limits=Limits(limits.index_memory, limits.index_cpus),
        shared_memory=SHARED_MEMORY,
    )


def _edge(
    site: Site,
    found: Endpoints,
    state: StateFolder,
    addresses: Addresses,
    image: str,
    user: tuple[int, int],
    sockets: Path,
    workers: int,
) -> Container:
    limits = site.docker
    return Container(
        name="edge",
        image=image,
        command=(
            *("envoy", "-c", f"{found.edge.folder}/envoy.json"),
            *("--disable-hot-restart", "--concurrency", str(workers), "--log-level", "warning"),
            # Envoy would hold its access log back for ten seconds: too long to watch it, and lost in a crash.
            *("--file-flush-interval-msec", "1000"),
        ),
        user=user,
        networks={"front": addresses.in_front("edge"), "middle": addresses.in_middle("edge")},
        mounts=(Mount(state.edge, CONFIGURATION), Mount(sockets, SOCKETS, writable=True)),
        # Its own socket folder is one of this machine's, so that replicas can be drained.
        sockets=False,
        published=[
            Published(str(address), port, inside)
            for address in site.edge.listen
            for port, inside in ((site.edge.https_port, HTTPS), (site.edge.dicom_port, DICOM))
        ],
        stop_signal="SIGTERM",
        stop_seconds=3,
        limits=Limits(limits.edge_memory, limits.edge_cpus),
        after=[process.name for process in found.archives],
    )


def _archive(
    site: Site,
    found: Endpoints,
    process: ArchiveProcess,
    state: StateFolder,
    addresses: Addresses,
    image: str,
    user: tuple[int, int],
    store: Path,
    cache: Path,
    program: Path,
) -> Container:
    own = state.service(process.name)
    mounts = [Mount(own, CONFIGURATION), Mount(own / "work", process.work, writable=True)]
    if site.store.kind == "filesystem":
        mounts.append(Mount(store, DATA / "store", writable=True))
    if site.store.kind == "s3":
        mounts.append(Mount(cache, DATA / "cache", writable=True))
    if site.archive.extra_plugins:
        mounts.append(Mount(state.plugins, PLUGINS))
    foreign = site.archive.image != "debian"
    if foreign and site.store.kind == "s3":
        mounts.append(Mount(state.root / LIBRARIES.name, LIBRARIES))
    middle, back = ("middle", addresses.in_middle(process.name)), ("back", addresses.in_back(process.name))
    # The one that leads outside comes first.
    networks = [middle, back] if reaches_out(site) else [back, middle]
    if found.index.external:
        networks.remove(back)
    return Container(
        name=process.name,
        image=image,
        # Another image's entry point would write a configuration of its own.
        entrypoint=(str(program),) if foreign else (),
        command=(str(process.configuration),) if foreign else (str(program), str(process.configuration)),
        health=("python3", "-I", str(CONFIGURATION / HEALTH)) if foreign else (),
        user=user,
        networks=dict(networks),
        mounts=mounts,
        stop_signal="SIGTERM",
        stop_seconds=10,
        limits=Limits(site.docker.archive_memory, site.docker.archive_cpus),
        after=() if found.index.external else ("index",),
        environment=orthanc.ENVIRONMENT,
    )


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is that of whoever asks."""
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return host in ("localhost", "::1")


def unreachable_modalities(site: Site) -> list[str]:
    """Name the modalities whose host is the loopback address, which in a container is the container itself."""

    return [name for name, peer in site.modalities.items() if is_loopback(peer.host)]


def unreachable_index(site: Site) -> bool:
    """Tell whether the index's server has the loopback address, which in a container is the container itself."""
    return site.index.host is not None and is_loopback(site.index.host)

"""Free internal ports: chosen once, kept, and chosen again only when a stranger took one meanwhile."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orthweb.errors import OrthwebError
from orthweb.render.endpoints import CHECK_MODALITY, Role
from orthweb.site import Site
from orthweb.sitefile.edge_ports import first_unprivileged
from orthweb.targets.host.accounts import is_root

FIRST, LAST = 20000, 32000
"""Below Linux's range for outgoing connections (32768 and up), so that none of those takes a port first."""

LOW_FIRST, LOW_LAST = 600, 1023
"""Where root puts the ports on which nothing proves who answers (the archive's HTTP): no other user may take it."""


@dataclass(frozen=True)
class Ports:
    """Internal TCP ports on the loopback address; which ones is nobody's business outside.

    Parameters
    ----------
    http, dicom : of each Orthanc by its name: its REST API, and its DICOM server (mutual TLS; a reader has none).
    index : PostgreSQL.
    check : where the validation suite's storage SCP listens while it runs.
    egress : for each modality that speaks TLS, the edge's port on which the archive reaches it.
    """

    http: Mapping[str, int]
    dicom: Mapping[str, int]
    index: int
    check: int
    egress: Mapping[str, int] = field(default_factory=dict)


def is_free(port: int) -> bool:
    """Tell whether `port` can be bound on all addresses: Orthanc before 1.12.10 binds them all."""
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (97, 99):  # no IPv6 on this machine
                continue
            return False
    return True


def may_use_low_ports() -> bool:
    """Tell whether ports below 1024 are for us and not for everybody (in many containers they are for everybody)."""
    return is_root() and first_unprivileged() > LOW_LAST


def egress_names(site: Site) -> list[str]:
    """Name the modalities that the archive reaches through the edge."""
    return [CHECK_MODALITY, *(name for name, peer in site.modalities.items() if peer.tls)]


def choose(
    site: Site, archives: Sequence[tuple[str, Role]], kept: Mapping[str, int], *, ours: Collection[int]
) -> Ports:
    """Give every internal port: the kept one while it is ours or still free, else a new one.

    Parameters
    ----------
    archives : name and role of every Orthanc.
    kept : ports of an earlier call, as `as_facts` gives them.
    ours : ports that the running site itself listens on.
    """
    taken = {site.edge.https_port, site.edge.dicom_port}
    reserved = set(kept.values())  # of names whose turn comes later
    generator = random.SystemRandom()

    def one(name: str) -> int:
        low = name.endswith("_http") and may_use_low_ports()
        port = kept.get(name)
        if port is not None and port not in taken and (port in ours or (is_free(port) and (port <= LOW_LAST) == low)):
            taken.add(port)
            return port
        for attempt in range(1000):
            # A root without the right to low ports (some containers) has to do with the others.
            first, last = (LOW_FIRST, LOW_LAST) if low and attempt < 100 else (FIRST, LAST)
            port = generator.randint(first, last)
            if port not in taken | reserved and is_free(port):
                taken.add(port)
                return port
        raise OrthwebError(f"no free TCP port between {FIRST} and {LAST}", "stop what uses them: `ss -ltnp` lists it")

    return Ports(
        http={name: one(f"{name}_http") for name, _ in archives},
        dicom={name: one(f"{name}_dicom") for name, role in archives if role != "reader"},
        index=one("index"),
        check=one("check"),
        egress={name: one(f"egress:{name}") for name in egress_names(site)},
    )


def as_facts(ports: Ports) -> dict[str, int]:
    """Give the ports as they are kept in the state folder."""
    named = {f"{name}_http": port for name, port in ports.http.items()}
    named |= {f"{name}_dicom": port for name, port in ports.dicom.items()}
    named |= {"index": ports.index, "check": ports.check}
    return named | {f"egress:{name}": port for name, port in ports.egress.items()}


def listening(ports: Iterable[int]) -> list[int]:
    """List the ports that something listens on at the loopback address."""
    found = []
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(port)
    return found

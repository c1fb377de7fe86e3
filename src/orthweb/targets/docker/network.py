"""The containers' private networks: addresses that nothing else on this machine uses, the same at every start."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import psutil

from orthweb.errors import OrthwebError

POOLS = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""Private networks (RFC 1918); a hospital's own routes may cover one of them as a whole."""

ENGINE_DEFAULT = IPv4Network("172.17.0.0/16")
"""What an engine takes for itself when it starts next, though it may not have it now."""

PREFIX = 24
ATTEMPTS = 200
_ROUTES = Path("/proc/net/route")
_UP = 1


@dataclass(frozen=True)
class Addresses:
    """Who has which address in a site's network, which is divided in four.

    front: the edge alone, with the way to the outside. middle: the edge and the archive. back: the archive and the
    index.
    """

    network: IPv4Network

    @property
    def _parts(self) -> list[IPv4Network]:
        return list(self.network.subnets(prefixlen_diff=2))

    @property
    def front(self) -> IPv4Network:
        """The edge's way outside."""
        return self._parts[0]

    @property
    def middle(self) -> IPv4Network:
        """Between edge and archive."""
        return self._parts[1]

    @property
    def back(self) -> IPv4Network:
        """Between archive and index."""
        return self._parts[2]

    @property
    def gateway(self) -> str:
        """This machine's own address in the front network."""
        return str(self.front[1])

    @staticmethod
    def _number(service: str) -> int:
        """Give a service's place in each of its networks: by its name, so that another one more changes none."""
        if service == "edge":
            return 2
        if service == "index":
            return 3
        role, _, number = service.partition("-")
        return {"archive": 10, "reader": 30}[role] + int(number or 1)

    def in_middle(self, service: str) -> str:
        """Give a service's address between edge and archive."""
        return str(self.middle[self._number(service)])

    def in_back(self, service: str) -> str:
        """Give a service's address between archive and index."""
        return str(self.back[self._number(service)])

    def in_front(self, service: str) -> str:
        """Give a service's address in the network that leads outside."""
        return str(self.front[self._number(service)])


def taken() -> list[IPv4Network]:
    """List the IPv4 networks that this machine has an address in or a route to, but for the default route."""
    return [*_of_interfaces(), *_of_routes(_ROUTES.read_text() if _ROUTES.exists() else "")]


def _of_interfaces() -> Iterator[IPv4Network]:
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family == socket.AF_INET and entry.netmask:
                yield IPv4Interface(f"{entry.address}/{entry.netmask}").network


def _of_routes(table: str) -> Iterator[IPv4Network]:
    """Read the kernel's table (proc_net_route(5)): addresses are hexadecimal in the machine's own byte order."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) < 8 or not int(words[3], 16) & _UP:
            continue
        address, mask = (socket.inet_ntoa(struct.pack("=I", int(words[number], 16))) for number in (1, 7))
        network = IPv4Network(f"{address}/{mask}")
        if network.prefixlen:
            yield network


def is_free(network: IPv4Network, others: Collection[IPv4Network]) -> bool:
    """Tell whether a network overlaps none of the others."""
    return not any(network.overlaps(other) for other in others)


def choose(others: Collection[IPv4Network]) -> IPv4Network:
    """Choose a network that overlaps none of the others.

    Raises
    ------
    OrthwebError : all private networks are taken.
    """
    generator = random.SystemRandom()
    for pool in POOLS:
        first = int(pool.network_address)
        for _ in range(ATTEMPTS):
            start = first + generator.randrange(pool.num_addresses >> (32 - PREFIX)) * 2 ** (32 - PREFIX)
            found = IPv4Network((start, PREFIX))
            if is_free(found, [*others, ENGINE_DEFAULT]):
                return found
    raise OrthwebError(
        "no private IPv4 network is free: this machine's routes cover all of them",
        "name one for the containers: docker.subnet in the site file",
    )

"""Whether this machine lets the edge listen where the site file wants it to."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Set
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

import psutil

from orthweb.site import Site
from orthweb.tomltext import printable

Address = IPv4Address | IPv6Address

UNPRIVILEGED_START: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
"""The first TCP port that needs no privilege (ip-sysctl: ip_unprivileged_port_start); rules IPv6 too."""


def check_ports(site: Site, in_use_by_us: Set[int] = frozenset(), *, privileged: bool = False) -> list[str]:
    """Try every address and port that the edge of a site is to listen on.

    Parameters
    ----------
    in_use_by_us : ports that the running site itself holds: that these are taken is no problem.
    privileged : whether it is not the caller who will listen there but somebody who may use every port.

    Returns
    -------
    One line for each problem: a port that needs a privilege, or is taken (and by whom, where the system tells), or an
    address that this machine does not have. Nothing when all is well.
    """
    return [
        problem
        for key, port in (("edge.https_port", site.edge.https_port), ("edge.dicom_port", site.edge.dicom_port))
        for problem in _port_problems(key, port, site.edge.listen, port in in_use_by_us, privileged)
    ] + [problem for address in site.edge.listen if (problem := _address_problem(address)) is not None]


def first_unprivileged() -> int:
    """Give the first port that an ordinary user may listen on."""
    try:
        return int(UNPRIVILEGED_START.read_text())
    except (OSError, ValueError):
        return 1024


def _port_problems(key: str, port: int, addresses: tuple[Address, ...], ours: bool, privileged: bool) -> Iterator[str]:
    for address in addresses:
        reason = _listen_error(address, port)
        if reason in (errno.EACCES, errno.EPERM) and not privileged:
            yield (
                f"{key}: {port}: ports below {first_unprivileged()} are for root; "
                f"choose {port + 8000 if port < 1000 else first_unprivileged()} or another, or run as root"
            )
            return
        if reason == errno.EADDRINUSE and not ours:
            yield f"{key}: {port}: taken on {address} by {_holder(address, port)}; stop that, or choose another port"


def _address_problem(address: Address) -> str | None:
    reason = _listen_error(address, 0)
    if reason is None:
        return None
    if reason == errno.EADDRNOTAVAIL:
        return f"edge.listen: {address}: is no address of this machine; it has {', '.join(_own(address.version))}"
    if reason == errno.EAFNOSUPPORT:
        return f"edge.listen: {address}: this machine has no IPv{address.version}"
    return f"edge.listen: {address}: cannot be listened on: {os.strerror(reason)}"


def _listen_error(address: Address, port: int) -> int | None:
    """Bind as Envoy would; give the error number, or None."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections of a site that was just stopped may linger in TIME_WAIT: they are no obstacle to a server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # getaddrinfo knows zone identifiers (fe80::1%eth0).
            target = socket.getaddrinfo(str(address), port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
            probe.bind(target[0][4])
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno
    return None


def _holder(address: Address, port: int) -> str:
    """Name the process that listens there, as far as this user may know."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.laddr.port != port:
                continue
            if connection.pid is not None and _overlap(ip_address(connection.laddr.ip), address):
                return f"{printable(psutil.Process(connection.pid).name())} (process {connection.pid})"
    except (psutil.Error, OSError, ValueError):
        pass
    return "a process of another user"


def _overlap(one: Address, other: Address) -> bool:
    # An unspecified IPv6 address takes IPv4 connections too, unless its socket says otherwise.
    return one == other or one.is_unspecified or other.is_unspecified


def _own(version: int) -> list[str]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return sorted(
        each.address for card in psutil.net_if_addrs().values() for each in card if each.family == family
    ) or [f"no IPv{version} address"]

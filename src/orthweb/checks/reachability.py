"""Group ``security``: what can be reached, and from where."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from orthweb.checks import probe
from orthweb.checks.check import CheckFailed, NotApplicable, check

if TYPE_CHECKING:
    from orthweb.checks.context import Context
    from orthweb.checks.facts import HostFacts, InternalPort, PublishedPort, ServiceFacts


_LISTEN = "0A"
"""The state TCP_LISTEN in /proc/net/tcp."""


def other_addresses() -> list[str]:
    """List this machine's addresses that are not loopback, without link-local ones."""
    found = []
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address:
                address = ip_address(entry.address)
                if not (address.is_loopback or address.is_link_local or address.is_unspecified):
                    found.append(str(address))
    return found


@check(
    "security.reach",
    "Nothing but the edge reachable",
    "From another address of this machine, or at its own in a private network, each internal port refuses: "
    "no connection, no data, no association",
    hint="run `orthweb up`: the archive must refuse remote access and demand mutual TLS",
)
def reach(context: Context) -> str:
    """Knock at each internal port from each address that is not loopback."""
    facts = context.facts
    addresses = other_addresses()
    if not addresses:
        raise NotApplicable("this machine has no address but loopback")
    seen: dict[str, dict[str, None]] = {}
    for port in facts.internal_ports:
        # A service with a network of its own is not at this machine's addresses, where others may use its port.
        for address in addresses if port.address is None else [port.address]:
            seen.setdefault(port.name, {})[_knock(context, port, address)] = None
    for address in addresses:
        for public in (context.access.https_port, context.access.dicom_port):
            if not _listens_on(facts, address) and _open(address, public):
                raise CheckFailed(f"{address}:{public} is open, though edge.listen does not name it")
    details = ", ".join(f"{name}: {' / '.join(what)}" for name, what in seen.items())
    return f"{len(addresses)} addresses; {details}"


def _listens_on(facts: HostFacts, address: str) -> bool:
    wanted = [ip_address(name) for name in facts.listen]
    own = ip_address(address)
    return own in wanted or any(name.is_unspecified and name.version in (own.version, 6) for name in wanted)


def _open(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def _knock(context: Context, port: InternalPort, address: str) -> str:
    if not _open(address, port.port):
        return "no connection"
    if port.kind == "http":
        return _knock_http(port, address)
    if port.kind == "dicom":
        return _knock_dicom(context, port, address)
    if port.kind == "postgresql" and port.address is not None:
        return _knock_postgresql(context, port, address)
    raise CheckFailed(f"{port.name} is open on {address}:{port.port}")


def _knock_postgresql(context: Context, port: InternalPort, address: str) -> str:
    """Ask for a session without TLS and password, as PostgreSQL's own role would (message formats, StartupMessage)."""
    words = b"user\0" + context.index.user.encode() + b"\0database\0" + context.index.dbname.encode() + b"\0\0"
    request = struct.pack(">ii", 8 + len(words), 3 << 16) + words
    answer = probe.plaintext_answer(address, port.port, request)
    if answer[:1] not in (b"", b"E"):
        raise CheckFailed(f"{port.name} on {address}:{port.port} lets a stranger begin a session without TLS")
    return "refuses a session without TLS"


def _knock_http(port: InternalPort, address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    question = f"GET /patients HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    answer = probe.plaintext_answer(address, port.port, question)
    status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.") else ""
    if status and status not in ("401", "403"):
        raise CheckFailed(f"{port.name} on {address}:{port.port} answers {status} to a stranger")
    return f"HTTP {status}" if status else "no answer"


def _knock_dicom(context: Context, port: InternalPort, address: str) -> str:
    request = probe.association_request(context.access.aet, "STRANGER")
    answer = probe.plaintext_answer(address, port.port, request)
    if answer and answer[0] in probe.DICOM_ANSWERS:
        raise CheckFailed(f"{port.name} on {address}:{port.port} {probe.DICOM_ANSWERS[answer[0]]} without TLS")
    # The inner certificate is of no interest here: only whether a stranger without a certificate gets in.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    try:
        with probe.connection(address, port.port) as plain, tls.wrap_socket(plain) as secure:
            secure.sendall(request)
            first = secure.recv(1)
    except OSError:
        first = b""
    if first and first[0] in probe.DICOM_ANSWERS:
        raise CheckFailed(f"{port.name} on {address}:{port.port} {probe.DICOM_ANSWERS[first[0]]} without a certificate")
    return "refuses plain DICOM and TLS without the edge's certificate"


@check(
    "security.listeners",
    "Listening sockets",
    "The services listen on the edge's ports, on known internal ports and on loopback, and nowhere else",
    hint="the configuration is not what orthweb renders: `orthweb up`",
)
def listeners(context: Context) -> str:
    """List the listening TCP sockets of the services' processes and their children."""
    facts = context.facts
    public = {context.access.https_port, context.access.dicom_port}
    internal = {port.port for port in facts.internal_ports if port.kind in ("http", "dicom")}
    if facts.published is not None:
        return _published(context, facts, facts.published)
    seen = {socket for service in facts.services for socket in _sockets(service)}
    if not public <= {port for _, port in seen}:
        raise CheckFailed("no service of the site listens on the edge's ports: another program does")
    for address, port in sorted(seen):
        where = ip_address(address)
        if not (where.is_loopback or port in internal or (port in public and _listens_on(facts, address))):
            raise CheckFailed(f"{address}:{port} is neither the edge's nor loopback")
    return f"{len(seen)} sockets: the edge's, known internal ones, loopback"


def _published(context: Context, facts: HostFacts, published: Sequence[PublishedPort]) -> str:
    """Judge services that have networks of their own: what each listens on there, and what this machine opens."""
    if not published:
        raise CheckFailed("no port of the edge is published")
    public = (context.access.https_port, context.access.dicom_port)
    for open_port in published:
        where = f"{open_port.service}: {open_port.address}:{open_port.port}"
        if open_port.service != "edge" or open_port.port not in public:
            raise CheckFailed(f"{where} is published, and only the edge's two ports should be")
        if not _listens_on(facts, open_port.address):
            raise CheckFailed(f"{where} is published, though edge.listen does not name it")
    internal = {(each.address, each.port) for each in facts.internal_ports}
    outside = {each.inside for each in published}
    count = 0
    for service in facts.services:
        if service.pid is None:
            raise CheckFailed(f"{service.name} does not run", "`orthweb up`")
        for address, number in _in_namespace(service.pid):
            count += 1
            own = ip_address(address)
            known = any(number == port and (own.is_unspecified or address == place) for place, port in internal)
            if not (own.is_loopback or known or (service.name == "edge" and number in outside)):
                raise CheckFailed(f"{service.name} listens on {address}:{number}, which is no port of this site")
    if not count:
        raise NotApplicable("the sockets of the services' own networks cannot be seen")
    return f"{len(published)} published ports, all the edge's; {count} sockets inside, all known"


def _in_namespace(pid: int) -> set[tuple[str, int]]:
    """List the listening sockets of the network that a process is in (proc(5): /proc/net/tcp)."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for words in (line.split() for line in lines):
            if words[3] == _LISTEN:
                address, _, port = words[1].partition(":")
                # Groups of four bytes, each in the machine's own order.
                groups = [int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)]
                found.add((str(ip_address(b"".join(groups))), int(port, 16)))
    return found


def _sockets(service: ServiceFacts) -> set[tuple[str, int]]:
    if service.pid is None:
        raise CheckFailed(f"{service.name} does not run", "`orthweb up`")
    main = psutil.Process(service.pid)
    seen: set[tuple[str, int]] = set()
    try:
        for process in [main, *main.children(recursive=True)]:
            seen |= _listening(process)
    except psutil.AccessDenied:
        raise NotApplicable(f"the sockets of {service.name} can be seen by its own user and root alone") from None
    return seen


def _listening(process: psutil.Process) -> set[tuple[str, int]]:
    try:
        entries = process.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        # PostgreSQL's processes come and go.
        return set()
    return {(entry.laddr.ip, entry.laddr.port) for entry in entries if entry.status == psutil.CONN_LISTEN}


CHECKS = (reach, listeners)

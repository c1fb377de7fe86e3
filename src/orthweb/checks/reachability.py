"""Group ``security``: what can be reached, and from where."""

from __future__ import annotations

import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING

import psutil

from orthweb.checks import probe
from orthweb.checks.check import CheckFailed, NotApplicable, check

if TYPE_CHECKING:
    from orthweb.checks.context import Context
    from orthweb.checks.facts import HostFacts, InternalPort


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
    "From another address of this machine each internal port refuses: no connection, no data, no association",
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
        for address in addresses:
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
    raise CheckFailed(f"{port.name} is open on {address}:{port.port}")


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
    seen: set[tuple[str, int]] = set()
    for service in facts.services:
        if service.pid is None:
            raise CheckFailed(f"{service.name} does not run", "`orthweb up`")
        main = psutil.Process(service.pid)
        try:
            for process in [main, *main.children(recursive=True)]:
                seen |= _listening(process)
        except psutil.AccessDenied:
            raise NotApplicable(f"the sockets of {service.name} can be seen by its own user and root alone") from None
    if not public <= {port for _, port in seen}:
        raise CheckFailed("no service of the site listens on the edge's ports: another program does")
    for address, port in sorted(seen):
        where = ip_address(address)
        if not (where.is_loopback or port in internal or (port in public and _listens_on(facts, address))):
            raise CheckFailed(f"{address}:{port} is neither the edge's nor loopback")
    return f"{len(seen)} sockets: the edge's, known internal ones, loopback"


def _listening(process: psutil.Process) -> set[tuple[str, int]]:
    try:
        entries = process.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        # PostgreSQL's processes come and go.
        return set()
    return {(entry.laddr.ip, entry.laddr.port) for entry in entries if entry.status == psutil.CONN_LISTEN}


CHECKS = (reach, listeners)

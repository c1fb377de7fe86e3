"""What a Network Load Balancer does for hosts: TCP passed through, to those that say that they are well.

What is open to one that no longer says so goes on, as the target groups of Terraform have it (target_health_state).
"""

from __future__ import annotations

import csv
import io
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.front import process
from host.machine import Machine

CONFIGURATION = """\
global
    log stderr format raw local0 warning
    stats socket {socket} mode 600 level admin
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    timeout check 8s
    option httpchk
    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host {address}
    http-check expect status 200
    default-server check port 443 check-ssl verify none inter 10s fastinter 2s fall 3 rise 2
listen https
    bind {address}:443
    stick-table type ip size 1m expire 10m
    stick on src
    balance roundrobin
{servers}
listen dicom
    bind {address}:11112
    balance roundrobin
{dicom}
"""


@dataclass(frozen=True)
class Balancer:
    """A running balancer.

    Parameters
    ----------
    address : where it listens.
    control : HAProxy's own socket.
    """

    address: str
    control: Path

    def states(self, service: str) -> dict[str, str]:
        """Give the state of each host, by its address: UP, DOWN, or on its way."""
        return {row["svname"]: row["status"] for row in self._rows(service)}

    def sessions(self, service: str) -> dict[str, int]:
        """Give how many connections each host was given so far, by its address."""
        return {row["svname"]: int(row["stot"]) for row in self._rows(service)}

    def open(self, service: str) -> dict[str, int]:
        """Give how many connections to each host are open, by its address."""
        return {row["svname"]: int(row["scur"]) for row in self._rows(service)}

    def _rows(self, service: str) -> list[dict[str, str]]:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self.control))
            asked.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return [row for row in rows if row["pxname"] == service and row["svname"] not in ("FRONTEND", "BACKEND")]


@contextmanager
def balancer(folder: Path, program: Path, address: str, hosts: Sequence[Machine]) -> Iterator[Balancer]:
    """Run a balancer in front of hosts.

    Parameters
    ----------
    folder : where its configuration, log and socket go.
    program : haproxy.
    """
    folder.mkdir()
    control = folder / "control"
    lines = {
        port: "\n".join(f"    server {host.address} {host.address}:{port}" for host in hosts) for port in (443, 11112)
    }
    text = CONFIGURATION.format(socket=control, address=address, servers=lines[443], dicom=lines[11112])
    (folder / "haproxy.cfg").write_text(text)
    with process([str(program), "-db", "-f", str(folder / "haproxy.cfg")], folder / "log", address, 443):
        yield Balancer(address, control)

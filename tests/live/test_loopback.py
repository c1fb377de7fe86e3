"""Nothing but the edge can be reached from another machine: tried from a network namespace, as another host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live.edge_clients import until
from live.sites import LiveSite, live_site

HERE, THERE = "10.213.77.1", "10.213.77.2"
NAMESPACE = f"orthweb-test-{os.getpid()}"
OURS, THEIRS = f"owa{os.getpid()}", f"owb{os.getpid()}"
"""Names of the two ends of the cable; Linux takes 15 characters."""

TRY = """
import json, socket, sys
found = {}
for port in map(int, sys.argv[2:]):
    with socket.socket() as probe:
        probe.settimeout(2)
        found[port] = probe.connect_ex((sys.argv[1], port))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def other_host(as_root: None, program: Callable[[str], Path]) -> Iterator[Callable[..., dict[int, int]]]:
    """Connect to ports of this machine from another one; gives the error number of each (0: connected)."""
    ip = str(program("ip"))
    link = ["link", "add", OURS, "type", "veth", "peer", "name", THEIRS, "netns", NAMESPACE]
    subprocess.run([ip, "netns", "add", NAMESPACE], check=True)
    try:
        subprocess.run([ip, *link], check=True)
        subprocess.run([ip, "addr", "add", f"{HERE}/30", "dev", OURS], check=True)
        subprocess.run([ip, "link", "set", OURS, "up"], check=True)
        inside = [ip, "netns", "exec", NAMESPACE]
        subprocess.run([*inside, ip, "addr", "add", f"{THERE}/30", "dev", THEIRS], check=True)
        subprocess.run([*inside, ip, "link", "set", THEIRS, "up"], check=True)

        def attempt(*ports: int) -> dict[int, int]:
            command = [*inside, sys.executable, "-c", TRY, HERE, *map(str, ports)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return {int(port): number for port, number in json.loads(done.stdout).items()}

        yield attempt
    finally:
        subprocess.run([ip, "netns", "del", NAMESPACE], check=True)


@pytest.fixture(scope="module")
def open_site() -> Iterator[LiveSite]:
    """A site that serves the network."""
    with live_site(edge={"listen": ["0.0.0.0"]}) as made:
        yield made


def _internal(site: LiveSite) -> list[int]:
    return [port.port for port in site.target.host_facts().internal_ports]


def _archive(site: LiveSite) -> int:
    return int(site.target.place.supervisor.services()["archive"]["pid"])


def test_internal_ports_when_another_machine_connects_then_nothing_listens_there(
    open_site: LiveSite, other_host: Callable[..., dict[int, int]]
) -> None:
    edge = (open_site.https_port, open_site.dicom_port)
    found = other_host(*edge, *_internal(open_site))
    assert {port for port, number in found.items() if number == 0} == set(edge)


def test_archive_ports_when_orthanc_was_killed_and_restarted_then_they_are_closed_again(
    open_site: LiveSite, other_host: Callable[..., dict[int, int]]
) -> None:
    before = _archive(open_site)
    subprocess.run(["kill", "-9", str(before)], check=True)
    until(lambda: _archive(open_site) not in (0, before), "the archive's restart")
    until(lambda: open_site.target.status().answers, "the site's answer")
    found = other_host(*_internal(open_site))
    assert not [port for port, number in found.items() if number == 0]


def test_archive_ports_when_this_machine_connects_then_they_answer(open_site: LiveSite) -> None:
    chosen = open_site.target.place.layout().ports
    for port in (chosen.http["archive"], chosen.dicom["archive"]):
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            pass

"""Two hosts of one site behind a load balancer: one dies, both change, and nobody who asks or sends loses anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host.balancer import Balancer, balancer
from host.conftest import measured
from host.machine import Machine
from host.visitors import Held, asking
from host.world import ROLES, World
from live.counting import TIMEOUTS, account, client, eventually, samples, sending
from live.docker_engine import DockerEngine
from orthweb.access import SiteAccess
from orthweb.dicom.peer import Peer

JOINS = 240
ROLLED = 600
"""Seconds in which both have changed: each waits until the load balancer sends nothing more, and for what is open."""

HELD = 37
"""Seconds for which an association stays open on a host that drains: the load balancer has noticed by then."""


@pytest.fixture(scope="module")
def hosts(the_world: World, host: Machine, second: Machine) -> list[Machine]:
    """The host of the tests before, and one that has booted into the same site meanwhile."""

    def same() -> bool:
        first, other = the_world.status(host), the_world.status(second)
        assert "failed" not in (first.get("state"), other.get("state")), (first, other)
        return first["state"] == other.get("state") == "ready" and bool(first["applied"] == other["applied"])

    second.wait(same, "joins", JOINS)
    return [host, second]


@pytest.fixture(scope="module")
def balanced(the_world: World, hosts: list[Machine], program: Callable[[str], Path]) -> Iterator[Balancer]:
    """Both behind a load balancer, which has the site's name from now on."""
    address = the_world.network.add_here(3)
    with balancer(the_world.folder / "balancer", program("haproxy"), address, hosts) as made:
        the_world.network.name(the_world.hostname, address)
        eventually(lambda: set(made.states("dicom").values()) == {"UP"}, 60, str(made.states("dicom")))
        yield made


def test_hosts_share_secrets_certificates_and_images(
    the_world: World, hosts: list[Machine], balanced: Balancer, site: SiteAccess, tmp_path: Path
) -> None:
    sent = samples(tmp_path, 40, seed="both")
    for start in range(0, len(sent), 10):  # one association each
        with sending(Peer.of_site(site, timeouts=TIMEOUTS), sent[start : start + 10], associations=1) as books:
            pass
        assert books.lost_associations == 0
    taken = balanced.sessions("dicom")
    assert all(taken[host.address] for host in hosts), taken
    for host in hosts:
        the_world.network.name(the_world.hostname, host.address)
        found = account(client(site), sent, {sample.uid for sample in sent})
        assert found.kept, (host.name, found)
    the_world.network.name(the_world.hostname, balanced.address)


def test_nothing_acknowledged_is_lost_when_a_host_dies_in_the_middle_of_a_send(
    the_world: World,
    hosts: list[Machine],
    balanced: Balancer,
    site: SiteAccess,
    tmp_path: Path,
    record_property: Callable[..., None],
) -> None:
    sent = samples(tmp_path, 400, seed="dies")
    victim = hosts[1]
    with sending(Peer.of_site(site, timeouts=TIMEOUTS), sent, associations=4, patience=180) as books:
        books.wait_for(100)
        victim.kill()
        died = time.monotonic()
        before = len(books.acknowledged)
        books.wait_for(before + 100, 120)
        measured["a host dies: the next 100 images are taken after"] = time.monotonic() - died
    assert len(books.acknowledged) == len(sent), books
    assert books.lost_associations > 0, "it had none: nothing was tried"
    # Until then a load balancer sends on to the dead one who was there before.
    eventually(lambda: balanced.states("https")[victim.address] == "DOWN", 60, "nobody has noticed that it is dead")
    found = account(client(site), sent, books.acknowledged)
    record_property("account", str(found))
    assert found.kept, found
    started, said = time.monotonic(), the_world.status(victim)["at"]
    victim.start()
    victim.wait(lambda: the_world.serves(victim, said), "is back", 240)
    measured["cut off: serves again"] = time.monotonic() - started
    eventually(lambda: set(balanced.states("dicom").values()) == {"UP"}, 120, str(balanced.states("dicom")))


def hold(balanced: Balancer, site: SiteAccess, count: int) -> dict[str, Held]:
    """Open associations until each host has one; give them by its address."""
    found: dict[str, Held] = {}
    for _ in range(2 * count):
        before, made = balanced.open("dicom"), Held(site)
        after = balanced.open("dicom")
        [address] = [each for each in after if after[each] > before[each]]
        if address in found:
            made.finish()
        else:
            found[address] = made
    assert len(found) == count, list(found)
    return found


def test_both_change_to_new_images_one_after_the_other_and_nothing_fails_or_is_cut_off(
    the_world: World,
    hosts: list[Machine],
    balanced: Balancer,
    site: SiteAccess,
    docker_engine: DockerEngine,
    record_property: Callable[..., None],
) -> None:
    new = "1.1.0"
    for role in ROLES:
        source = f"FROM {the_world.pushed(role)}\nLABEL org.orthweb.test=new\n"
        docker_engine.engine.run("build", "--quiet", "--tag", the_world.pushed(role, new), "-", stdin=source)
        docker_engine.docker("push", "--quiet", the_world.pushed(role, new))
    before = the_world.status(hosts[0])["applied"]
    held = hold(balanced, site, len(hosts))
    drains: dict[str, float] = {}
    started = time.monotonic()
    with asking(site) as asked:
        the_world.topology = "ha"
        the_world.write_deployment()  # first: hosts of a single site would not drain
        the_world.write_images(new)

        def rolled() -> bool:
            said = [the_world.status(host) for host in hosts]
            assert "failed" not in {each["state"] for each in said}, said
            for host, each in zip(hosts, said, strict=True):
                if (
                    each["state"] == "draining"
                    and time.monotonic() - drains.setdefault(host.name, time.monotonic()) > HELD
                ):
                    held[host.address].finish()
            return all(each["state"] == "ready" and each["applied"] != before for each in said)

        hosts[0].wait(rolled, "both have changed", ROLLED)
    measured["two hosts: rolled to new images"] = time.monotonic() - started
    record_property("asked", str(asked))
    for host in hosts:
        running = host.run("docker", "ps", "--format", "{{.Image}}").split()
        assert all(image.endswith(f":{new}") for image in running), running
    assert len(drains) == len(hosts), drains
    assert [each.failure for each in held.values()] == ["", ""]
    assert asked.failures == [], asked
    assert asked.count > 100, asked

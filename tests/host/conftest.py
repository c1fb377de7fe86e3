"""Hosts that boot: one world for all tests here, which a second host joins at the end."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host import root
from host.machine import Machine
from host.visitors import access, resolving
from host.world import ROLES, World, world
from live.docker_engine import DockerEngine
from orthweb import image
from orthweb.access import SiteAccess

SLOW = 1500
"""Seconds that the first test may take: the container images and the machine image may have to be made for it."""

measured: dict[str, float] = {}
"""Seconds of what happened, for the summary."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests here the time to make what they need."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW))


@pytest.fixture(scope="session")
def machine_image(as_root: None, program: Callable[[str], Path]) -> Path:
    """The root file system of the hosts."""
    program("debootstrap")
    return root.image(print)


@pytest.fixture(scope="session")
def the_world(machine_image: Path, program: Callable[[str], Path]) -> Iterator[World]:
    """An account with everything but the database and the images, and a network without hosts."""
    programs = {name: program(name) for name in ("dnsmasq", "docker-registry", "haproxy")}
    folder = Path(tempfile.mkdtemp(prefix="orthweb-world-", dir="/var/tmp"))
    folder.chmod(0o711)
    try:
        with world(folder, machine_image, programs) as made, resolving(made.network):
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def push(engine: DockerEngine, images: dict[str, image.Built], there: World) -> None:
    """Put the images into the account's registry, as `orthweb up` does."""
    for role in ROLES:
        engine.docker("tag", images[role].reference, there.pushed(role))
        engine.docker("push", "--quiet", there.pushed(role))


@pytest.fixture(scope="session")
def pushed(the_world: World, docker_engine: DockerEngine, images: dict[str, image.Built]) -> None:
    """The images are in the account's registry."""
    push(docker_engine, images, the_world)


@pytest.fixture(scope="session")
def host(the_world: World, pushed: None) -> Machine:
    """A host that has booted for the first time and serves; images were at hand, the database was made meanwhile."""
    made = the_world.host(11)
    the_world.network.name(the_world.hostname, made.address)
    started = time.monotonic()
    made.start()
    made.wait(lambda: the_world.status(made), "says something", 240)
    measured["first boot: packages and ops image, the agent runs"] = time.monotonic() - started
    # RDS takes longer than this in the real world; what matters is that nothing of the boot waits for it.
    made.wait(lambda: the_world.status(made).get("state") == "waiting-for-database", "waits for the database", 240)
    measured["first boot: all images, waits for the database"] = time.monotonic() - started
    the_world.make_database()
    made.wait(lambda: the_world.status(made).get("state") in ("ready", "failed"), "ready", 240)
    measured["first boot: ready, the database included"] = time.monotonic() - started
    said = the_world.status(made)
    assert said["state"] == "ready", said
    return made


@pytest.fixture(scope="session", autouse=True)
def _second(request: pytest.FixtureRequest) -> None:
    """Let the second host boot while the first is tested, when somebody asks for it: most of that is waiting."""
    if any("hosts" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("second")


@pytest.fixture(scope="session")
def second(the_world: World, host: Machine) -> Machine:
    """Another host of the same site, which boots."""
    made = the_world.host(12)
    made.start()
    return made


@pytest.fixture(scope="session")
def site(the_world: World, host: Machine) -> SiteAccess:
    """How the running site is reached from outside."""
    return access(the_world, the_world.folder / "visitor")


@pytest.fixture(scope="session")
def outside(the_world: World) -> Iterator[str]:
    """Another machine on the network: the name of its namespace."""
    with the_world.network.outside(77) as namespace:
        yield namespace


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if measured:
        terminalreporter.section("hosts")
        for what, seconds in measured.items():
            terminalreporter.write_line(f"{what}: {seconds:.0f} s")

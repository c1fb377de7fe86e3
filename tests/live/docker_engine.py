"""A Docker engine for tests: private, on a socket of its own, gone with everything in it when the tests end.

It does not touch an engine that the machine has. Without packet filter rules, published ports go through docker-proxy
alone; where no cgroups are mounted (a plain chroot), they are in a mount namespace of the
engine's own.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from orthweb import image
from orthweb.image.engine import Engine, find

PATHS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
START_SECONDS = 60
STOP_SECONDS = 60

# The engine gets a mount namespace of its own, whose root is what `/` is here. In a chroot it would be another, and
# what Docker runs inside a container (exec, health checks) would end up there, outside of container and chroot.
ENTER = """
import ctypes, os, platform, sys

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


NEW_MOUNTS, PRIVATE, BIND, RECURSIVE, DETACH = 0x20000, 0x40000, 0x1000, 0x4000, 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[platform.machine()]
call("unshare", NEW_MOUNTS)
root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
call("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), NEW_MOUNTS)
call("mount", None, b"/", None, PRIVATE | RECURSIVE, None)
if not os.path.samestat(os.stat("/"), os.fstat(root)):
    os.fchdir(root)
    path = os.getcwd()
    call("mount", path.encode(), path.encode(), None, BIND | RECURSIVE, None)
    os.chdir(path)
    call("syscall", PIVOT_ROOT, b".", b".")
    call("umount2", b".", DETACH)
os.chdir("/")
os.execvp(sys.argv[1], sys.argv[1:])
"""

# A chroot has no cgroups mounted.
CGROUPS = """
set -eu
groups=/sys/fs/cgroup
if ! grep -q " $groups" /proc/self/mountinfo; then
    mount -t tmpfs -o mode=0755 cgroup $groups
    for name in $(awk '!/^#/ && $2 > 0 && $4 == 1 { print $1 }' /proc/cgroups); do
        mkdir $groups/$name
        mount -t cgroup -o $name cgroup $groups/$name
    done
    if [ -z "$(ls $groups)" ]; then
        umount $groups
        mount -t cgroup2 cgroup2 $groups
    fi
fi
exec "$@"
"""

UNFILTERED = "--iptables=false"
ATTEMPTS: tuple[tuple[str, ...], ...] = ((), (UNFILTERED,), (UNFILTERED, "--storage-driver=vfs"))
"""Options of dockerd, the plainer ones for machines that deny packet filter rules, or lack overlays."""


@dataclass(frozen=True)
class DockerEngine:
    """A running private engine.

    Parameters
    ----------
    host : its address, as DOCKER_HOST has it.
    folder : its sockets and its log.
    pid : of dockerd, as it was first started.
    options : of dockerd, besides those that every private engine has.
    processes : dockerd, and what was started in its place; the last one runs.
    filters : whether it writes packet filter rules, which keep its networks apart and published ports reachable from
        other machines. It does not where the machine's own engine has rules: the two would overwrite each other's.
    """

    host: str
    folder: Path
    storage: Path
    pid: int
    filters: bool
    engine: Engine
    options: tuple[str, ...] = ()
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def power_cut(self, *, containers: bool) -> None:
        """Kill dockerd, with all that it runs or alone, as a power cut does, and start it again on the same storage.

        Parameters
        ----------
        containers : whether containerd and every container die too; else they go on without their engine.
        """
        dockerd = self.processes[-1]
        victims = [psutil.Process(dockerd.pid)]
        if containers:
            mark = str(self.folder / "exec")
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if process.pid != dockerd.pid and any(mark in word for word in process.cmdline()):
                        victims += [process, *process.children(recursive=True)]
        for process in victims:
            with contextlib.suppress(psutil.Error):
                process.kill()
        dockerd.wait()
        psutil.wait_procs(victims, timeout=10)
        # containerd ends with dockerd; where nobody reaps it, the next dockerd would take it for alive.
        for name in ("containerd.pid", "containerd.sock"):
            (self.folder / "exec" / "containerd" / name).unlink(missing_ok=True)
        again = start(self.folder, self.storage, self.options)
        assert again is not None, (self.folder / "log").read_text()[-3000:]
        self.processes.append(again)

    def docker(self, *words: str) -> str:
        """Run a docker command against it."""
        return self.engine.run(*words)


def _storage() -> Path:
    """Give a place for images that an overlay can lie on: not one itself, not memory."""
    for place in ("/var/tmp", "/var/lib", "/srv"):
        kind = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=False)
        if kind.stdout.strip() not in ("overlayfs", "tmpfs", ""):
            return Path(place)
    return Path("/var/tmp")


@contextmanager
def bridge() -> Iterator[str]:
    """Make a bridge for containers of no network: docker0 belongs to the engine that the machine has."""
    taken = subprocess.run(["ip", "-4", "-br", "address"], capture_output=True, text=True, check=True).stdout
    number = next(each for each in random.sample(range(1, 255), 254) if f" 10.213.{each}." not in taken)
    name = f"orthweb-t{number}"
    for words in (
        f"link add {name} type bridge",
        f"address add 10.213.{number}.1/24 dev {name}",
        f"link set {name} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False)


def command(folder: Path, storage: Path, extra: Sequence[str] = ()) -> list[str]:
    """Give the command of a private engine."""
    dockerd = [
        "dockerd",
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={storage}",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/dockerd.pid",
        *extra,
    ]
    return [sys.executable, "-c", ENTER, "sh", "-c", CGROUPS, "sh", *dockerd]


def start(folder: Path, storage: Path, extra: Sequence[str] = ()) -> subprocess.Popen[bytes] | None:
    """Start an engine and wait until it answers; None when it ended instead (its log is in `folder`)."""
    environment = {key: value for key, value in os.environ.items() if key != "DOCKER_HOST"} | {"PATH": PATHS}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command(folder, storage, extra), stdout=log, stderr=log, env=environment, start_new_session=True
        )
    until = time.monotonic() + START_SECONDS
    answers = ["docker", "--host", f"unix://{folder}/docker.sock", "version"]
    while process.poll() is None:
        if subprocess.run(answers, capture_output=True, check=False).returncode == 0:
            return process
        if time.monotonic() > until:
            process.kill()
            pytest.fail(f"dockerd does not answer after {START_SECONDS} s:\n{(folder / 'log').read_text()[-3000:]}")
        time.sleep(0.2)
    return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """End an engine in order, and its containers with it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _bridged(iptables: str) -> Iterator[None]:
    """Let frames pass within a bridge: another engine's rules drop those of bridges that it does not know."""
    rule = ["FORWARD", "-m", "physdev", "--physdev-is-bridged", "-j", "ACCEPT"]
    subprocess.run([iptables, "-I", *rule], capture_output=True, check=False)
    try:
        yield
    finally:
        subprocess.run([iptables, "-D", *rule], capture_output=True, check=False)


@contextmanager
def _packet_filter() -> Iterator[bool]:
    """Put the packet filter back as it was; False where another engine's rules are in it: then it is left alone."""
    save, restore = (shutil.which(f"iptables-{verb}", path=PATHS) for verb in ("save", "restore"))
    if save is None or restore is None:
        yield False
        return
    before = subprocess.run([save], capture_output=True, text=True, check=False)
    if before.returncode != 0:
        yield False
        return
    if "DOCKER" in before.stdout:
        with _bridged(save.replace("-save", "")):
            yield False
        return
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    was = forwarding.read_text()
    try:
        yield True
    finally:
        # A table that had no rules is not in what was saved: it is emptied by name.
        chains = {
            "filter": ("INPUT", "FORWARD", "OUTPUT"),
            "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        }
        empty = "".join(
            f"*{table}\n" + "".join(f":{chain} ACCEPT\n" for chain in names) + "COMMIT\n"
            for table, names in chains.items()
            if f"*{table}" not in before.stdout
        )
        subprocess.run([restore], input=empty + before.stdout, text=True, capture_output=True, check=False)
        with contextlib.suppress(OSError):
            forwarding.write_text(was)


@contextmanager
def running_engine() -> Iterator[DockerEngine]:
    """Start an engine, hand it out, stop it and remove what it kept."""
    with ExitStack() as stack:
        filters = stack.enter_context(_packet_filter())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orthweb-docker-")))
        own = f"--bridge={stack.enter_context(bridge())}"
        storage = Path(tempfile.mkdtemp(prefix="orthweb-docker-", dir=_storage()))
        stack.callback(shutil.rmtree, storage, ignore_errors=True)
        for extra in ATTEMPTS[0 if filters else 1 :]:
            process = start(folder, storage, (own, *extra))
            if process is not None:
                break
        else:
            pytest.fail(f"dockerd does not start:\n{(folder / 'log').read_text()[-3000:]}")
        host = f"unix://{folder}/docker.sock"
        engine = find(host)
        try:
            processes = [process]
            options = (own, *extra)
            yield DockerEngine(host, folder, storage, process.pid, UNFILTERED not in extra, engine, options, processes)
        finally:
            try:
                _empty(engine)
            finally:
                stop(processes[-1])


def _empty(engine: Engine) -> None:
    """Remove containers and networks: bridges of an engine that ended would stay on the machine."""
    containers = engine.run("ps", "--all", "--quiet").split()
    if containers:
        engine.run("rm", "--force", "--volumes", *containers)
    engine.run("network", "prune", "--force")


@pytest.fixture(scope="session")
def docker_engine(program: Callable[[str], Path], as_root: None) -> Iterator[DockerEngine]:
    """A private engine. The environment does not name it: `docker_host` does, for one module."""
    for name in ("dockerd", "docker", "unshare", "ip", "debootstrap"):
        program(name)
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def docker_host(docker_engine: DockerEngine) -> Iterator[str]:
    """Let everything that a module's tests start find the private engine (DOCKER_HOST)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", docker_engine.host)
        yield docker_engine.host


@pytest.fixture(scope="session")
def images(docker_engine: DockerEngine) -> dict[str, image.Built]:
    """All images by role, built once, from the Debian mirror that this machine uses."""
    said: list[str] = []
    built = image.build(docker_engine.engine, said.append, base="bootstrap", boms=docker_engine.folder / "sbom")
    return {each.role: each for each in built}

"""A network of its own for machines: a bridge in a network namespace, with a cable to this machine.

Nothing of it is in this machine's own namespace but the end of that cable, so that neither a Docker engine's packet
filter here matters to it, nor its metadata address hides one that this machine has.

    10.N.M.1    this machine, as the machines see it: AWS's services, the database, the registry, names (DNS)
    10.N.M.254  the bridge; 169.254.169.254 is here too
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

METADATA = "169.254.169.254"
INTERFACE = "ens5"
"""As EC2 instances of today's types call their first."""


def ip(*words: str) -> str:
    """Run ip(8)."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


@dataclass
class Network:
    """The network.

    Parameters
    ----------
    label : what the names of its parts begin with.
    prefix : the first three numbers of its addresses.
    folder : where its processes keep their files.
    dnsmasq : the program that answers for names.
    """

    label: str
    prefix: str
    folder: Path
    dnsmasq: Path
    _domains: dict[str, str] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)
    _dns: subprocess.Popen[bytes] | None = None

    @property
    def here(self) -> str:
        """This machine's address."""
        return self.address(1)

    @property
    def namespace(self) -> str:
        """The namespace that the bridge is in."""
        return f"{self.label}-vpc"

    def address(self, number: int) -> str:
        """Give an address."""
        return f"{self.prefix}.{number}"

    @staticmethod
    def hardware(address: str) -> str:
        """Give the hardware address of whoever has an address."""
        return "02:" + ":".join(f"{number:02x}" for number in (0, *(int(part) for part in address.split("."))))

    def add_here(self, number: int) -> str:
        """Give this machine one more address on the network, and give that."""
        ip("address", "add", f"{self.address(number)}/24", "dev", f"{self.label}h")
        return self.address(number)

    def name(self, name: str, *addresses: str) -> None:
        """Let a name have these addresses, from now on, and no others."""
        self._names[name] = list(addresses)
        lines = [f"{address} {each}\n" for each, found in self._names.items() for address in found]
        (self.folder / "hosts").write_text("".join(lines))
        if self._dns is not None:
            self._dns.send_signal(signal.SIGHUP)

    def join(self, namespace: str, address: str) -> None:
        """Make a namespace, in place of one of that name, and give it a cable to the bridge."""
        self.leave(namespace)
        cable = f"{self.label}{address.rpartition('.')[2]}"
        # The kernel takes its time to remove the former one with the namespace.
        subprocess.run(["ip", "-n", self.namespace, "link", "delete", cable], capture_output=True, check=False)
        ip("netns", "add", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "link", "add", cable, "type", "veth", "peer", "name", INTERFACE, "netns", namespace)
        ip("-n", self.namespace, "link", "set", cable, "master", "bridge", "up")
        ip("-n", namespace, "link", "set", INTERFACE, "address", self.hardware(address), "up")
        ip("-n", namespace, "address", "add", f"{address}/24", "brd", "+", "dev", INTERFACE)
        ip("-n", namespace, "route", "add", METADATA, "dev", INTERFACE)
        ip("-n", namespace, "route", "add", "default", "via", self.here)

    @staticmethod
    def leave(namespace: str) -> None:
        """Remove a namespace, when it is there."""
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)

    def lookup(self, name: object) -> str | None:
        """Give the first address of a name."""
        return next(iter(self._names.get(str(name), ())), None)

    def domain(self, domain: str, address: str) -> None:
        """Let every name of a domain have this address, from now on."""
        self._domains[domain] = address
        self._stop_answering()
        self._start_answering()

    @contextmanager
    def outside(self, number: int) -> Iterator[str]:
        """Make a namespace that is another machine on the network; give its name.

        What ``ip netns exec`` runs there asks the network for names (ip-netns(8): /etc/netns).
        """
        namespace = f"{self.label}-n{number}"
        settings = Path("/etc/netns") / namespace
        try:
            self.join(namespace, self.address(number))
            settings.mkdir(parents=True)
            (settings / "resolv.conf").write_text(f"nameserver {self.here}\n")
            yield namespace
        finally:
            self.leave(namespace)
            (settings / "resolv.conf").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                settings.rmdir()
                settings.parent.rmdir()

    def _start_answering(self) -> None:
        options = ["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--no-daemon", "--pid-file="]
        options += [f"--listen-address={self.here}", "--bind-interfaces", f"--addn-hosts={self.folder / 'hosts'}"]
        options += [f"--address=/{domain}/{address}" for domain, address in self._domains.items()]
        (self.folder / "hosts").touch()
        with (self.folder / "names.log").open("ab") as log:
            self._dns = subprocess.Popen([self.dnsmasq, *options], stdout=log, stderr=log)

    def _stop_answering(self) -> None:
        if self._dns is not None:
            self._dns.terminate()
            self._dns.wait(10)
            self._dns = None

    @contextmanager
    def _metadata(self) -> Iterator[None]:
        (self.folder / "instances").mkdir()
        script = Path(__file__).with_name("metadata_service.py")
        words = ["ip", "netns", "exec", self.namespace, sys.executable, str(script), str(self.folder / "instances")]
        with (self.folder / "metadata.log").open("wb") as log:
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n", (self.folder / "metadata.log").read_text()
            yield
        finally:
            process.terminate()
            process.wait(10)


def _free_prefix() -> str:
    taken = ip("-4", "-br", "address") + ip("-4", "route")
    numbers = random.sample(range(1, 255), 254)
    return next(f"10.214.{each}" for each in numbers if f"10.214.{each}." not in taken)


@contextmanager
def network(folder: Path, dnsmasq: Path) -> Iterator[Network]:
    """Make a network, with its names and its metadata service; remove it afterwards.

    Parameters
    ----------
    dnsmasq : the program that answers for names.
    """
    folder.mkdir(parents=True)
    made = Network(f"ow{random.randrange(1 << 16):04x}", _free_prefix(), folder, dnsmasq)
    ours, theirs = f"{made.label}h", f"{made.label}v"
    with ExitStack() as stack:
        stack.callback(made.leave, made.namespace)
        ip("netns", "add", made.namespace)
        ip("-n", made.namespace, "link", "set", "lo", "up")
        # Without one of its own, its hardware address changes when a machine joins: nobody finds it for a minute then.
        fixed = ("address", made.hardware(made.address(254)))
        ip("-n", made.namespace, "link", "add", "bridge", *fixed, "type", "bridge", "forward_delay", "0")
        ip("-n", made.namespace, "link", "set", "bridge", "up")
        ip("-n", made.namespace, "address", "add", f"{made.address(254)}/24", "dev", "bridge")
        ip("-n", made.namespace, "address", "add", f"{METADATA}/32", "dev", "bridge")
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", made.namespace)
        stack.callback(subprocess.run, ["ip", "link", "delete", ours], capture_output=True, check=False)
        ip("-n", made.namespace, "link", "set", theirs, "master", "bridge", "up")
        ip("address", "add", f"{made.here}/24", "dev", ours)
        ip("link", "set", ours, "up")
        made._start_answering()
        stack.callback(made._stop_answering)
        stack.enter_context(made._metadata())
        yield made

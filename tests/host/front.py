"""AWS's own host names on the network of the machines: TLS as AWS has it, and behind it what stands in for a service.

    ...amazonaws.com            the emulator
    ...dkr.ecr...               Debian's container registry, which wants ECR's login
    BUCKET.s3...                the tests' S3 server, which wants the role's credentials

So that nothing in a host is told other addresses: it finds these by their names, and trusts their CA as it trusts
Amazon's.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from host.network import Network
from live.sites import free_port
from orthweb.pki.issue import SERVER, Identity, Leaf, certificate_pem, key_pem, new_authority, new_leaf

DOMAIN = "amazonaws.com"

REGISTRY = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
"""

CONFIGURATION = """\
global
    maxconn 2000
    log stderr format raw local0 warning
defaults
    mode http
    log global
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout http-request 30s
userlist ecr
    user AWS insecure-password {password}
frontend aws
    bind {address}:443 ssl crt {certificate}
    acl registry hdr(host) -m sub .dkr.ecr.
    acl images hdr(host) -m beg {bucket}.s3.
    http-request auth realm ecr if registry !{{ http_auth(ecr) }}
    http-request set-header X-Forwarded-Proto https
    use_backend registry if registry
    use_backend images if images
    default_backend emulator
backend registry
    server registry 127.0.0.1:{registry}
backend images
    server images 127.0.0.1:{images}
backend emulator
    server emulator 127.0.0.1:{emulator}
"""


def authority() -> Identity:
    """Make the CA that vouches for AWS's names here."""
    return new_authority("Somebody's Amazon CA", datetime.now(UTC))


def wait_port(address: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a process listens."""
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


@contextmanager
def process(words: list[str], log: Path, address: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; it ends with this process."""
    with log.open("ab") as output:
        running = subprocess.Popen(["setpriv", "--pdeathsig=KILL", *words], stdout=output, stderr=output)
    try:
        wait_port(address, port, running, log)
        yield running
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@dataclass(frozen=True)
class Front:
    """The names.

    Parameters
    ----------
    registry : HOST:PORT at which this machine's own engine can push, without a login.
    ca : of the names' certificates (PEM).
    """

    registry: str
    ca: bytes


@contextmanager
def front(
    folder: Path,
    network: Network,
    programs: Mapping[str, Path],
    *,
    region: str,
    bucket: str,
    password: str,
    emulator: int,
    images: int,
) -> Iterator[Front]:
    """Serve the names of a region.

    Parameters
    ----------
    programs : haproxy and docker-registry.
    password : of ECR's login.
    emulator, images : ports of the emulator and of the S3 server, on the loopback.
    """
    folder.mkdir()
    made = authority()
    base = f"{region}.{DOMAIN}"
    names = [DOMAIN, *(f"*.{prefix}{base}" for prefix in ("", "ecr.", "dkr.ecr.", "s3.")), f"*.{DOMAIN}"]
    leaf = new_leaf(Leaf("AWS", tuple(names), (SERVER,)), made, datetime.now(UTC))
    certificate = folder / "certificate.pem"
    certificate.touch(0o600)
    certificate.write_bytes(certificate_pem(leaf.chain) + key_pem(leaf.key))
    port = free_port()
    (folder / "registry.yml").write_text(REGISTRY.format(folder=folder / "registry", port=port))
    address = network.add_here(2)
    network.domain(base, address)
    values = {"password": password, "address": address, "certificate": certificate, "bucket": bucket}
    ports = {"registry": port, "images": images, "emulator": emulator}
    (folder / "haproxy.cfg").write_text(CONFIGURATION.format(**values, **ports))
    registry = [str(programs["docker-registry"]), "serve", str(folder / "registry.yml")]
    proxy = [str(programs["haproxy"]), "-db", "-f", str(folder / "haproxy.cfg")]
    with (
        process(registry, folder / "registry.log", "127.0.0.1", port),
        process(proxy, folder / "haproxy.log", address, 443),
    ):
        yield Front(f"127.0.0.1:{port}", certificate_pem(made.chain))

"""The Compose file: a site's containers, each with as little as it needs, and no secret.

The keys are those of the Compose specification that docker-compose 1.29 knows too, in its older spelling where there
are two (``mem_limit``, not ``deploy``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import yaml

SITE_LABEL = "org.orthweb.site"
"""Label of all that belongs to a site: its identity."""

SERVICE_LABEL = "org.orthweb.service"

DEFINITION_LABEL = "org.orthweb.definition"
"""Label that tells one definition of a container or network from another."""

LOG_SIZE, LOG_FILES = "20m", 5
"""Each container's log: so much, so often, then the oldest goes."""

PIDS = 2048
"""Most processes and threads of one container: far more than Orthanc with all its threads has."""


@dataclass(frozen=True)
class Network:
    """A private network.

    Parameters
    ----------
    internal : whether nothing in it can reach, or be reached from, any other network.
    """

    name: str
    subnet: IPv4Network
    internal: bool


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine that a container sees."""

    source: Path
    target: Path
    writable: bool = False


@dataclass(frozen=True)
class Published:
    """A port of a container that this machine opens to others, at one of its addresses."""

    address: str
    port: int
    inside: int

    def __str__(self) -> str:
        """Give it as Compose's short syntax has it, which alone has room for an address everywhere."""
        host = f"[{self.address}]" if isinstance(ip_address(self.address), IPv6Address) else self.address
        return f"{host}:{self.port}:{self.inside}/tcp"


@dataclass(frozen=True)
class Limits:
    """What a container may take of this machine: bytes of memory and processor cores; None for no limit."""

    memory: int | None = None
    cpus: int | None = None


@dataclass(frozen=True)
class Logging:
    """Where the engine writes what containers say: to files that it rotates, or to a log group of CloudWatch.

    Parameters
    ----------
    prefix : what the names of this machine's streams in the group begin with.
    """

    group: str = ""
    region: str = ""
    prefix: str = ""

    def of(self, service: str) -> dict[str, Any]:
        """Give a service's own."""
        files = {"max-size": LOG_SIZE, "max-file": str(LOG_FILES)}
        if not self.group:
            return {"driver": "json-file", "options": files}
        place = {"awslogs-group": self.group, "awslogs-region": self.region}
        # A service must not wait for CloudWatch. The cache is what `orthweb logs` reads.
        cache = {"cache-disabled": "false"} | {f"cache-{key}": value for key, value in files.items()}
        stream = {"awslogs-stream": f"{self.prefix}/{service}"}
        return {"driver": "awslogs", "options": place | stream | {"mode": "non-blocking"} | cache}


@dataclass(frozen=True)
class Container:
    """One service.

    Parameters
    ----------
    name : index, archive, archive-2, reader, edge.
    user : ids of user and group.
    networks : names, each with the container's address there; the first leads outside.
    sockets : whether ``/run/orthweb`` is a file system in memory; else one of the mounts is.
    after : services that must be healthy first.
    stop_signal : what asks it to end in order, and how many seconds that may take.
    shared_memory : bytes of ``/dev/shm``.
    entrypoint : what runs instead of the image's own, under an init of the engine's; nothing: the image's own.
    health : command that tells whether it works; nothing: the image's own.
    """

    name: str
    image: str
    command: Sequence[str]
    user: tuple[int, int]
    networks: Mapping[str, str]
    mounts: Sequence[Mount]
    stop_signal: str
    stop_seconds: int
    sockets: bool = True
    published: Sequence[Published] = ()
    limits: Limits = Limits()
    after: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    shared_memory: int | None = None
    entrypoint: Sequence[str] = ()
    health: Sequence[str] = ()


@dataclass(frozen=True)
class Stack:
    """All containers of a site.

    Parameters
    ----------
    project : prefix of the names that the engine shows.
    site : the site's identity.
    """

    project: str
    site: str
    networks: Sequence[Network]
    containers: Sequence[Container]
    logging: Logging = Logging()

    def container_name(self, service: str) -> str:
        """Give the name that the engine knows a service's container by."""
        return container_name(self.project, service)


def container_name(project: str, service: str) -> str:
    """Give the name that the engine knows a service's container by."""
    return f"{project}-{service}"


def _dollars(text: str) -> str:
    """Keep Compose from replacing what looks like a variable."""
    return text.replace("$", "$$")


def _health(command: Sequence[str]) -> dict[str, Any]:
    """Give the check of an image that has none of ours (its Dockerfile says the same)."""
    if not command:
        return {}
    times = {"interval": "10s", "timeout": "8s", "start_period": "120s"}
    return {"test": ["CMD", *(_dollars(word) for word in command)]} | times


def _service(stack: Stack, container: Container) -> dict[str, Any]:
    user, group = container.user
    temporary = [f"/tmp:uid={user},gid={group},mode=0700,size=256m"]  # noqa: S108  its own, in memory
    if container.sockets:
        temporary.append(f"/run/orthweb:uid={user},gid={group},mode=0700,size=1m")
    # The network that leads outside comes first: its gateway becomes the container's way out.
    networks = {
        name: {"ipv4_address": address, "priority": 1000 - 100 * number}
        for number, (name, address) in enumerate(container.networks.items())
    }
    memory = None if container.limits.memory is None else int(container.limits.memory)
    values: dict[str, Any] = {
        "image": container.image,
        "container_name": stack.container_name(container.name),
        "hostname": container.name,
        "labels": {SITE_LABEL: stack.site, SERVICE_LABEL: container.name},
        "entrypoint": [_dollars(word) for word in container.entrypoint],
        "init": True if container.entrypoint else None,
        "command": [_dollars(word) for word in container.command],
        "user": f"{user}:{group}",
        "environment": {name: _dollars(value) for name, value in container.environment.items()},
        "healthcheck": _health(container.health),
        "depends_on": {name: {"condition": "service_healthy"} for name in container.after},
        "networks": networks,
        "ports": [str(port) for port in container.published],
        "volumes": [
            {
                "type": "bind",
                "source": _dollars(str(mount.source)),
                "target": str(mount.target),
                "read_only": not mount.writable,
                # With this, Docker Compose 2 does not let the engine make a folder in the place of what is missing.
                "bind": {"propagation": "rprivate"},
            }
            for mount in container.mounts
        ],
        "tmpfs": temporary,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": PIDS,
        "mem_limit": memory,
        # Without this a container may take as much again of swap.
        "memswap_limit": memory,
        "cpus": container.limits.cpus,
        "shm_size": container.shared_memory,
        # "unless-stopped" would leave down what an engine finds running that was killed itself (20.10, tried).
        "restart": "always",
        "stop_signal": container.stop_signal,
        "stop_grace_period": f"{container.stop_seconds}s",
        "logging": stack.logging.of(container.name),
    }
    return {key: value for key, value in values.items() if value not in (None, {}, [])}


def _network(stack: Stack, network: Network) -> dict[str, Any]:
    return {
        "name": f"{stack.project}-{network.name}",
        "internal": network.internal,
        "labels": {SITE_LABEL: stack.site},
        "ipam": {"config": [{"subnet": str(network.subnet), "gateway": str(network.subnet[1])}]},
    }


def _labelled(definition: dict[str, Any]) -> dict[str, Any]:
    """Add the label that tells this definition from another."""
    text = json.dumps(definition, sort_keys=True)
    labels = definition["labels"] | {DEFINITION_LABEL: hashlib.sha256(text.encode()).hexdigest()[:16]}
    return definition | {"labels": labels}


def _document(stack: Stack) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        "services": {container.name: _labelled(_service(stack, container)) for container in stack.containers},
        "networks": {network.name: _labelled(_network(stack, network)) for network in stack.networks},
    }


def compose(stack: Stack) -> str:
    """Give the Compose file (YAML)."""
    return yaml.safe_dump(_document(stack), sort_keys=False, width=120, allow_unicode=True)


def definitions(stack: Stack) -> tuple[dict[str, str], dict[str, str]]:
    """Give the value of `DEFINITION_LABEL` of each service, and of each network by the name that the engine shows."""
    document = _document(stack)
    services = {name: str(values["labels"][DEFINITION_LABEL]) for name, values in document["services"].items()}
    networks = {
        str(values["name"]): str(values["labels"][DEFINITION_LABEL]) for values in document["networks"].values()
    }
    return services, networks

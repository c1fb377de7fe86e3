"""Changing the index's schema in containers of the site's own images, which reach nothing but each other's socket."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from orthweb.capabilities.schema import Upgrade
from orthweb.render.compose import SITE_LABEL
from orthweb.targets.docker import inspection, services
from orthweb.targets.docker.place import Place, ids
from orthweb.targets.host import cluster, migration
from orthweb.targets.host.accounts import Accounts


def runner(place: Place, users: Accounts) -> cluster.Run:
    """Give what runs PostgreSQL's programs on a data directory, each in a container that can reach nothing else."""
    uid, gid = ids(users.index)
    image = place.images.references["index"]

    def run(data: Path, words: Sequence[str], text: str | None) -> subprocess.CompletedProcess[str]:
        inside = "/var/lib/orthweb/index"
        command = [str(place.engine.program), "run", "--rm", "--interactive", "--network", "none", "--read-only"]
        command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--user", f"{uid}:{gid}"]
        command += ["--label", f"org.orthweb.site={place.identity}", "--tmpfs", f"/tmp:uid={uid},gid={gid},mode=0700"]  # noqa: S108
        command += ["--mount", f"type=bind,source={place.state.index / 'passwd'},target=/etc/passwd,readonly"]
        command += ["--mount", f"type=bind,source={data},target={inside}", "--entrypoint", words[0], image]
        command += [inside if word == cluster.DATA else word for word in words[1:]]
        environment = place.engine.environment()
        return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)

    return run


def due(place: Place, users: Accounts) -> Upgrade | None:
    """Say how the schema of a site's index will change; see `migration.due`."""
    if cluster.is_complete(place.data):
        # PostgreSQL asks for its user's name, also when it only answers a question.
        place.passwd(users).put(users.index)
    facts = inspection.index_facts(place) if place.running() else None
    return migration.due(place.state, place.data, place.build, facts, runner(place, users))


def ground(place: Place, users: Accounts, password: str) -> migration.Ground:
    """Give what the change of a stopped site's index needs."""

    def launch(service: str, words: Sequence[str], work: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        uid, gid = ids(users.of(service))
        name = f"{place.project}-schema-{service}-{uuid.uuid4().hex[:8]}"
        mounts = [f"type=bind,source={work},target={work}"]
        if service == "index":
            mounts.append(f"type=bind,source={place.data},target={place.data}")
            mounts.append(f"type=bind,source={place.state.index / 'passwd'},target=/etc/passwd,readonly")
        elif place.libraries:
            mounts.append(f"type=bind,source={place.state.plugins},target={services.PLUGINS},readonly")
        # The docker command hands signals on to the program, which is the container's first process.
        # It reaches nothing but the index: over a socket, or, where that is somebody else's, over the network.
        network = "none" if place.site.index.host is None else "bridge"
        command = [str(place.engine.program), "run", "--rm", "--name", name, "--network", network, "--read-only"]
        command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--user", f"{uid}:{gid}"]
        command += ["--label", f"{SITE_LABEL}={place.identity}", *(word for it in mounts for word in ("--mount", it))]
        command += ["--entrypoint", words[0], place.images.references[service], *words[1:]]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=place.engine.environment(),
        )

    run = runner(place, users) if place.site.index.host is None else cluster.no_programs
    return migration.Ground(
        place.site.name, place.state, place.data, place.build, users, password, run, launch, place.site.index
    )

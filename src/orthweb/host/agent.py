"""This host: what a round of the agent does to it, with the account, the database and the Docker target."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orthweb.errors import OrthwebError
from orthweb.host import (
    authorities,
    composition,
    edge,
    figures,
    lifecycle,
    parameters,
    rds,
    refusal,
    registry,
    shared,
    succession,
    vault,
)
from orthweb.host.account import AwsAccount
from orthweb.host.index import Index
from orthweb.host.inputs import Inputs, Known
from orthweb.host.loop import StoppedError, WaitError, Wanted
from orthweb.host.metadata import Instance
from orthweb.host.parameters import Deployment, Parameters
from orthweb.host.rds import Rds
from orthweb.host.routes import Routes
from orthweb.host.settings import HostSettings
from orthweb.host.status import State, StatusParameter
from orthweb.host.vault import Vault, Version
from orthweb.image import engine as engines

if TYPE_CHECKING:
    from orthweb.image.engine import Engine
    from orthweb.targets.docker import DockerTarget

RARELY: Final = 60.0
"""Seconds after which secrets that hardly ever change are looked at again; the index's is in each round."""

REFUSALS: Final = 15
"""After so many answers that nobody waits for this instance, it is in service: its agent was started again."""

BEAT: Final = timedelta(minutes=20)
"""How often a host that waits for others says so to its auto scaling group, which gives it up after an hour."""

MADE: Final = f"{composition.OWN}/made"
"""File in memory: since the machine started, what the engine had of before has been removed."""


@dataclass
class _Cached:
    """Secrets that are read rarely."""

    at: float = float("-inf")
    versions: dict[str, Version | None] = field(default_factory=dict)


class Agent:
    """What `loop.Loop` does its rounds with.

    Parameters
    ----------
    settings : whose host this is.
    instance : this host.
    run : folder in memory: the site file, the state folder, every secret.
    kept : folder on the disk: copies of the bucket's objects, and which ops image runs; nothing secret.
    report : told what is being done.
    ops : reference of the image that this agent runs in; empty when it runs in none.
    stop : set when the agent should end: what it only waits for then ends with `StoppedError`.
    """

    def __init__(
        self,
        settings: HostSettings,
        instance: Instance,
        run: Path,
        kept: Path,
        report: Callable[[str], None],
        ops: str = "",
        stop: threading.Event | None = None,
    ) -> None:
        self.account = AwsAccount(settings)
        self.settings = settings
        self.instance = instance
        self.vault = Vault(self.account)
        self.index = Index(self.vault, run / composition.INDEX_CA, report)
        self.inputs = Inputs(run, kept, settings.name, instance.identity)
        self._status = StatusParameter(self.account, instance.identity)
        self._run, self._kept, self._report, self._ops = run, kept, report, ops
        self._stop = stop or threading.Event()
        self._known: Known | None = None
        self._deployment = Deployment()
        self._others: dict[str, parameters.HostReport] = {}
        self._rarely = _Cached()
        self._routes = Routes(report)
        self._refused = 0
        self._beat: datetime | None = None

    # --- what is wanted ------------------------------------------------------------------------------------------

    @property
    def log_group(self) -> str:
        """Name of the log group of the agents themselves."""
        return self.settings.parameter("host")

    @property
    def engine(self) -> Engine:
        """The host's Docker engine.

        Raises
        ------
        UsageError : there is none.
        """
        return engines.find()

    def fetch(self) -> Wanted:
        """Ask the account; see `loop.Host`."""
        found = parameters.read(self.account)
        self._deployment = found.deployment
        mine = self.instance.identity
        self._others = {name: report for name, report in found.others.items() if name != mine}
        wanted = {role: reference for role, reference in found.images.items() if role != "index"}
        if not self._ops:
            wanted.pop("ops", None)
        registry.pull(self.account, self.engine, wanted.values(), self._run / "docker", self._report)
        self._succeed(found.images.get("ops", ""))
        server = rds.find(self.account, found.deployment.database_identifier)
        if isinstance(server, str):
            raise WaitError("waiting-for-database", server)
        self._put_authority(found)
        self._known = known = self._read_secrets(found, server)
        parts = [
            found.digest,
            [server.host, server.port],
            # Never their values: the digest stands in a parameter that is no secret.
            *(version.identity for version in (known.admin, known.site, known.certificate) if version is not None),
        ]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return Wanted(digest, found.site_digest, found.images, found.deployment.highly_available, self._others)

    def _succeed(self, wanted: str) -> None:
        """Let another version of the agent go on, where it should: on one host of those that serve first."""
        if succession.differs(wanted, self._ops) and self._deployment.highly_available and self.serving() is None:
            first = succession.before(self.instance.identity, wanted, self._others, datetime.now(UTC))
            if first is not None:
                raise WaitError("ready", f"serving as before: {first} changes to {wanted} first")
        succession.take_over(self.engine, wanted, self._ops, self._kept)
        succession.confirm(self._kept, self._ops)

    def _put_authority(self, found: Parameters) -> None:
        name = found.deployment.rds_ca
        if name and name not in found.files:
            raise OrthwebError(f"files/{name}: is the CA of the database, and there is no such parameter")
        region = found.deployment.region or self.settings.region
        pem = found.files[name].encode() if name else authorities.roots(region)
        (self._run / composition.OWN).mkdir(mode=0o700, parents=True, exist_ok=True)
        shared.write({self._run / composition.INDEX_CA: pem}, 0o644)

    def _read_secrets(self, found: Parameters, server: Rds) -> Known:
        """Read the secrets; fill what is empty, when it is this host's turn."""
        needed = (vault.ADMIN, vault.SITE)
        names = (*needed, vault.TLS, vault.CERTIFICATE)
        versions = self._rarely.versions
        if time.monotonic() - self._rarely.at > RARELY or any(versions.get(name) is None for name in names[:-1]):
            self._rarely = _Cached(time.monotonic(), {name: self.vault.poll(name, "AWSCURRENT")[0] for name in names})
        index = self.index.look(server, found.deployment.rotation_days, self._fill)
        if any(self._rarely.versions[name] is None for name in needed):
            self.index.fill(self._fill)
            self._rarely.versions |= {name: self.vault.read(name) for name in needed}
        versions = self._rarely.versions
        admin, site = versions[vault.ADMIN], versions[vault.SITE]
        assert admin is not None
        assert site is not None
        return Known(found, server, index, admin, site, versions[vault.TLS], versions[vault.CERTIFICATE])

    def _fill(self) -> None:
        shared.fill(self.vault)
        self._rarely.versions |= {name: self.vault.read(name) for name in (vault.ADMIN, vault.SITE)}

    @property
    def known(self) -> Known:
        """What the last round read; of the index's secret, what this host knows now."""
        assert self._known is not None, "nothing is applied before it was fetched"
        return self._known

    def lock(self) -> AbstractContextManager[bool]:
        """Hold the site's lock, and let the archive's user be as it should; see `loop.Host`."""
        return self.index.lock()

    # --- what is done --------------------------------------------------------------------------------------------

    @property
    def _target(self) -> DockerTarget:
        return self.inputs.target

    def check(self) -> None:
        """Refuse what cannot be applied; see `loop.Host`."""
        refusal.check(self.inputs.propose(self._current()), self._others)

    def remembered(self) -> Wanted | None:
        """Give what was applied last; see `loop.Host`."""
        return self.inputs.remembered()

    def remember(self, wanted: Wanted | None) -> None:
        """Note what is applied; see `loop.Host`."""
        self.inputs.remember(wanted)

    def _current(self) -> Known:
        """Give what is known, with the index's password as the lock or a rotation has left it."""
        self.known.index = self.index.current
        return self.known

    def apply(self) -> None:
        """Make the host be as it should; see `loop.Host`."""
        self.index.keep_turn()
        if self._rarely.versions.get(vault.TLS) is None:
            self._read_certificates()
        if self.index.due():
            self.index.rotate()
        self._write()
        if not (self._run / MADE).exists():  # what the engine has of before looks for files that were in memory
            containers = self._target.place.containers
            containers.remove_all()
            containers.remove_networks()
            (self._run / MADE).touch(0o600)
        self._up()
        self._share_certificates()
        self._prune()

    def _read_certificates(self) -> None:
        """Read the certificates again: the host whose turn it was before may have made them."""
        self.known.tls = self._rarely.versions[vault.TLS] = self.vault.read(vault.TLS)

    def _write(self) -> bool:
        """Write what `up` reads; tell whether something secret of it waits for an `up`."""
        return self.inputs.write(self._current())

    def _up(self) -> None:
        self._kept.mkdir(parents=True, exist_ok=True)
        for item in self._target.up(self._report):
            self._report(f"{item.action} {item.what}: {item.why}")
        self.inputs.unused = False
        self._set_routes()

    def _set_routes(self) -> None:
        if self._ops:
            store = self._deployment.store
            self._routes.ensure(self.engine, self._ops, self._target.place.states(), credentials=store == "s3")

    def _share_certificates(self) -> None:
        """Let the other hosts have the certificates that this one has made."""
        made = shared.certificates(self._target.state.pki)
        if self.known.tls is None or dict(self.known.tls.values) != made:
            self.vault.put(vault.TLS, made)
            self._read_certificates()

    def _prune(self) -> None:
        """Make room on the disk of a host; nothing depends on it. Elsewhere the images are somebody's own."""
        if not self._ops:
            return
        kept = {*self.known.parameters.images.values(), self._ops, succession.read(self._kept, succession.GOOD)} - {""}
        try:
            registry.prune(self.engine, kept, self._report)
        except OrthwebError as error:
            self._report(f"images of before are still there: {error.message}")

    def tend(self) -> None:
        """Do what becomes due by itself; see `loop.Host`."""
        from orthweb import pki

        if self._write():
            self._report("using a changed password or certificate")
            self.index.let_in()
            self._write()
            self._up()
        self._set_routes()
        target = self._target
        renew = any(change.action != "keep" for change in pki.plan(target.state.pki, target.site, target.place.base))
        if not self.index.due() and not renew:
            return
        with self.lock() as ours:
            if not ours:
                return
            if self.index.due():  # still, with what was read under the lock
                self.index.rotate()
            if renew:
                self._read_certificates()
            self._write()
            self._up()
            self._share_certificates()

    def statistics(self) -> dict[str, float]:
        """Give what the archive counts of itself; see `figures.archive`."""
        return figures.archive(self._target.access())

    # --- what others see -----------------------------------------------------------------------------------------

    def _where(self) -> set[str]:
        from orthweb.targets.host import rolling

        found = self._target.place.kept_endpoints()
        return {address for process in found.archives for address in rolling.addresses(process)}

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError

    def drain(self) -> None:
        """Take no new work, and wait until what was begun has ended; see `loop.Host`."""
        edge.drain(self._target.place.admin, self._where(), self._report, sleep=self._sleep)

    def undrain(self) -> None:
        """Take work again; see `loop.Host`."""
        if not (self._run / composition.SITE_FILE).exists():
            return
        with contextlib.suppress(OrthwebError):  # an edge that does not run is made by the next round
            edge.undrain(self._target.place.admin)

    def serving(self) -> str | None:
        """Ask whether the site answers on this host; see `loop.Host`."""
        from orthweb.targets.host.readiness import ready

        if not (self._run / composition.SITE_FILE).exists():
            return "not started yet"
        try:
            return ready(self._target.access())
        except OrthwebError as error:
            return error.message

    def ready(self) -> bool:
        """Tell whoever waits for this instance that it serves; see `loop.Host`."""
        if not self._deployment.autoscaling_group:
            return True
        if lifecycle.complete(self.account, self._deployment, self.instance.identity):
            self._report("the auto scaling group knows that this host serves")
            return True
        self._refused += 1
        return self._refused >= REFUSALS

    def tell(self, state: State, message: str, wanted: Wanted | None, running: Wanted | None, lines: list[str]) -> None:
        """Write the host's status; see `loop.Host`."""
        if state in ("waiting-for-database", "pulling"):
            self._say_that_it_waits()
        hidden = self._known.passwords() if self._known is not None else []
        self._status.tell(
            state,
            message,
            images=running.images if running else {},
            site=running.site if running else "",
            applied=wanted.digest if wanted else "",
            agent=self._ops,
            lines=lines,
            hidden=hidden,
        )

    def _say_that_it_waits(self) -> None:
        now = datetime.now(UTC)
        if self._beat is None or now - self._beat > BEAT:
            self._beat = now
            with contextlib.suppress(OrthwebError):  # one that serves already is not waited for
                lifecycle.beat(self.account, self._deployment, self.instance.identity)

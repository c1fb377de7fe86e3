"""This host: what a round of the agent does to it, with the account, the database and the Docker target."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orthweb.errors import NotRunningError, OrthwebError
from orthweb.host import (
    authorities,
    composition,
    database,
    edge,
    lifecycle,
    parameters,
    rds,
    registry,
    rotation,
    shared,
    vault,
)
from orthweb.host.account import AwsAccount
from orthweb.host.database import Login, Server
from orthweb.host.loop import WaitError, Wanted
from orthweb.host.metadata import Instance
from orthweb.host.parameters import Parameters
from orthweb.host.rds import Rds
from orthweb.host.settings import HostSettings
from orthweb.host.status import State, StatusParameter
from orthweb.host.vault import Vault, Version
from orthweb.image import engine as engines
from orthweb.state import FOLDER_NAME

if TYPE_CHECKING:
    from orthweb.image.engine import Engine
    from orthweb.targets.docker import DockerTarget

SITE_FILE: Final = "site.toml"

RARELY: Final = 300.0
"""Seconds after which secrets that hardly ever change are read again; the index's is in each round."""


@dataclass
class _Known:
    """What the last round read."""

    parameters: Parameters
    rds: Rds
    index: Version
    admin: Version
    site: Version
    tls: Version | None
    certificate: Version | None

    def passwords(self) -> list[str]:
        """Give what must appear nowhere."""
        found = [self.index.values.get("password", ""), self.admin.values.get("password", "")]
        return [value for value in found if value]


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
    """

    def __init__(
        self,
        settings: HostSettings,
        instance: Instance,
        run: Path,
        kept: Path,
        report: Callable[[str], None],
        ops: str = "",
    ) -> None:
        self.account = AwsAccount(settings)
        self.settings = settings
        self.instance = instance
        self.vault = Vault(self.account)
        self._status = StatusParameter(self.account, instance.identity)
        self._run, self._kept, self._report, self._ops = run, kept, report, ops
        self._known: _Known | None = None
        self._rarely = _Cached()
        self._quick = ""
        self._unused = False
        """Whether a password or certificate was written that the containers have not been given yet."""

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
        ops = found.images.get("ops", "")
        wanted = {role: reference for role, reference in found.images.items() if role != "index"}
        if not self._ops:
            wanted.pop("ops", None)
        registry.pull(self.account, self.engine, wanted.values(), self._run / "docker", self._report)
        registry.take_over(self.engine, ops, self._ops, self._kept / "ops-image")
        server = rds.find(self.account, found.deployment.database_identifier)
        if isinstance(server, str):
            raise WaitError("waiting-for-database", server)
        self._put_authority(found, server)
        self._known = known = self._read_secrets(found, server)
        parts = [
            found.digest,
            [server.host, server.port],
            # Never their values: the digest stands in a parameter that is no secret.
            *(version.identity for version in (known.admin, known.site, known.certificate) if version is not None),
        ]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        mine = self.instance.identity
        others = {name: report for name, report in found.others.items() if name != mine}
        return Wanted(digest, found.site_digest, found.images, found.deployment.highly_available, others)

    def _put_authority(self, found: Parameters, server: Rds) -> None:  # noqa: ARG002
        name = found.deployment.rds_ca
        if name and name not in found.files:
            raise OrthwebError(f"files/{name}: is the CA of the database, and there is no such parameter")
        region = found.deployment.region or self.settings.region
        pem = found.files[name].encode() if name else authorities.roots(region)
        (self._run / composition.OWN).mkdir(mode=0o700, parents=True, exist_ok=True)
        shared.write({self._run / composition.INDEX_CA: pem}, 0o644)

    def _server(self, found: Rds) -> Server:
        return Server(found.host, found.port, self._run / composition.INDEX_CA)

    def _master(self, found: Rds) -> Login:
        version = self.vault.read_named(found.master_secret)
        if version is None:
            raise WaitError("waiting-for-database", "the secret of the database's master is empty")
        return rotation.login_of(version)

    def _read_secrets(self, found: Parameters, server: Rds) -> _Known:
        """Read the secrets; fill what is empty, when it is this host's turn."""
        if time.monotonic() - self._rarely.at > RARELY or any(
            self._rarely.versions.get(name) is None for name in (vault.ADMIN, vault.SITE, vault.TLS)
        ):
            names = (vault.ADMIN, vault.SITE, vault.TLS, vault.CERTIFICATE)
            self._rarely = _Cached(time.monotonic(), {name: self.vault.read(name) for name in names})
        index = self.vault.read(vault.INDEX)
        if index is None or any(self._rarely.versions[name] is None for name in (vault.ADMIN, vault.SITE)):
            self._fill(server)
            index = self.vault.read(vault.INDEX)
            self._rarely.versions |= {name: self.vault.read(name) for name in (vault.ADMIN, vault.SITE)}
        versions = self._rarely.versions
        admin, site = versions[vault.ADMIN], versions[vault.SITE]
        assert index is not None
        assert admin is not None
        assert site is not None
        return _Known(found, server, index, admin, site, versions[vault.TLS], versions[vault.CERTIFICATE])

    def _fill(self, server: Rds) -> None:
        master = self._master(server)
        database.ensure_database(self._server(server), master)
        with database.connect(self._server(server), master) as connection, database.lock(connection) as ours:
            if not ours:
                raise WaitError("starting", "another host makes the site's secrets")
            self._report("making the site's secrets")
            shared.fill(self.vault)

    @property
    def known(self) -> _Known:
        """What the last round read."""
        assert self._known is not None, "nothing is applied before it was fetched"
        return self._known

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold the site's lock, and let the archive's user be as it should; see `loop.Host`."""
        known, server = self.known, self._server(self.known.rds)
        login = rotation.login_of(known.index)
        try:
            connection = database.connect(server, login)
        except database.SignInError:
            master = self._master(known.rds)
            database.ensure_database(server, master)
            connection = database.connect(server, master)
        except NotRunningError as error:
            raise WaitError("waiting-for-database", error.message) from error
        with connection, database.lock(connection) as ours:
            if ours and connection.info.user != login.user:
                self._mend_user(server, login)
            yield ours

    def _mend_user(self, server: Server, login: Login) -> None:
        """Make the archive's user; where a rotation was cut off, its password is the pending one."""
        pending = self.vault.read(vault.INDEX, "AWSPENDING")
        if pending is not None and database.signs_in(server, rotation.login_of(pending)):
            self._rotate()
            return
        for line in database.ensure_user(server, self._master(self.known.rds), login):
            self._report(f"made: {line}")

    # --- what is done --------------------------------------------------------------------------------------------

    @property
    def _target(self) -> DockerTarget:
        from orthweb.sitefile import load
        from orthweb.targets.docker import DockerTarget

        return DockerTarget(load(self._run / SITE_FILE), self._run, SITE_FILE)

    def apply(self) -> None:
        """Make the host be as it should; see `loop.Host`."""
        if self._rarely.versions.get(vault.TLS) is None:
            self._known = self._with_tls()
        if self._rotation_due():
            self._rotate()
        rebooted = not (self._run / FOLDER_NAME).exists()
        self._write()
        if rebooted:  # what the engine has of before looks for files that were in memory
            containers = self._target.place.containers
            containers.remove_all()
            containers.remove_networks()
        self._up()
        self._share_certificates()

    def _with_tls(self) -> _Known:
        """Read the certificates again: the host whose turn it was before may have made them."""
        known = self.known
        known.tls = self._rarely.versions[vault.TLS] = self.vault.read(vault.TLS)
        return known

    def _write(self) -> bool:
        """Write what `up` reads; tell whether something secret of it waits for an `up`."""
        from orthweb.targets.host import folder

        known = self.known
        files = {composition.inside(name): text for name, text in known.parameters.files.items()}
        for path, text in files.items():
            (self._run / path).parent.mkdir(parents=True, exist_ok=True)
            shared.write({self._run / path: text.encode()}, 0o600)
        password = f"{rotation.login_of(known.index).password}\n".encode()
        # Noted before the next file is written: whatever fails from here on, the next round goes on with an `up`.
        self._unused |= shared.write({self._run / composition.PASSWORD: password}, 0o600)
        own = known.certificate is not None and bool(known.certificate.values.get("certificate"))
        if own:
            assert known.certificate is not None
            pem, key = (known.certificate.values.get(name, "").encode() for name in ("certificate", "key"))
            self._unused |= shared.write(
                {self._run / composition.CERTIFICATE: pem, self._run / composition.KEY: key}, 0o600
            )
        values = composition.values(
            known.parameters.site,
            known.parameters,
            known.rds,
            name=self.settings.name,
            instance=self.instance.identity,
            kept=self._kept,
            own=own,
        )
        shared.write({self._run / SITE_FILE: composition.text(values).encode()}, 0o600)
        # Where the services' users cannot pass, root's state would lie elsewhere: on the disk.
        where = folder.locate(self._run).root
        if where != self._run.resolve() / FOLDER_NAME:
            raise OrthwebError(
                f"{where}: the state folder would lie there, and secrets belong into {self._run} alone",
                f"chmod o+x {self._run} and the folders above it",
            )
        state = folder.make(self._run)
        shared.write({state.root / folder.IDENTITY: f"{shared.identity(known.site)}\n".encode()}, 0o600)
        self._unused |= shared.write_passwords(state.secrets, known.admin, known.site)
        self._unused |= shared.write_certificates(state.pki, known.tls)
        return self._unused

    def _up(self) -> None:
        self._kept.mkdir(parents=True, exist_ok=True)
        for item in self._target.up(self._report):
            self._report(f"{item.action} {item.what}: {item.why}")
        self._unused = False
        self._quicken()

    def _share_certificates(self) -> None:
        """Let the other hosts have the certificates that this one has made."""
        made = shared.certificates(self._target.state.pki)
        if self.known.tls is None or dict(self.known.tls.values) != made:
            self.vault.put(vault.TLS, made)
            self._with_tls()

    def _quicken(self) -> None:
        """Set the edge's route, once for each time that its container was started; nothing depends on it."""
        if not self._ops:
            return
        target = self._target
        state = target.place.states().get("edge")
        if state is None or not state.runs or self._quick == f"{state.name} {state.started}":
            return
        try:
            edge.acknowledge_at_once(self.engine, self._ops, state.name)
            self._quick = f"{state.name} {state.started}"
        except OrthwebError as error:
            self._report(f"quickack is not set: {error.message}")

    def tend(self) -> None:
        """Do what becomes due by itself; see `loop.Host`."""
        from orthweb import pki

        if self._write():
            self._report("using a changed password or certificate")
            self._up()
        self._quicken()
        rotate = self._rotation_due()
        target = self._target
        renew = any(change.action != "keep" for change in pki.plan(target.state.pki, target.site, target.place.base))
        if not rotate and not renew:
            return
        with self.lock() as ours:
            if not ours:
                return
            if rotate:
                self._rotate()
            if renew:
                self._with_tls()
            self._write()
            self._up()
            self._share_certificates()

    def _rotation_due(self) -> bool:
        current, pending = self.known.index, self.vault.read(vault.INDEX, "AWSPENDING")
        return rotation.due(current, pending, self.known.parameters.deployment.rotation_days, datetime.now(UTC))

    def _rotate(self) -> None:
        known = self.known
        rotation.rotate(self.vault, self._server(known.rds), lambda: self._master(known.rds), self._report)
        made = self.vault.read(vault.INDEX)
        assert made is not None
        known.index = made

    # --- what others see -----------------------------------------------------------------------------------------

    def _where(self) -> set[str]:
        from orthweb.targets.host import rolling

        found = self._target.place.kept_endpoints()
        return {address for process in found.archives for address in rolling.addresses(process)}

    def drain(self) -> None:
        """Take no new work, and wait until what was begun has ended; see `loop.Host`."""
        edge.drain(self._target.place.admin, self._where(), self._report)

    def undrain(self) -> None:
        """Take work again; see `loop.Host`."""
        with contextlib.suppress(OrthwebError):  # an edge that does not run is made by the next round
            edge.undrain(self._target.place.admin)

    def serving(self) -> str | None:
        """Ask whether the site answers on this host; see `loop.Host`."""
        from orthweb.targets.host.readiness import ready

        if not (self._run / SITE_FILE).exists():
            return "not started yet"
        try:
            return ready(self._target.access())
        except OrthwebError as error:
            return error.message

    def ready(self) -> None:
        """Tell whoever waits for this instance that it serves; see `loop.Host`."""
        if lifecycle.complete(self.account, self.known.parameters.deployment, self.instance.identity):
            self._report("the auto scaling group knows that this host serves")

    def tell(self, state: State, message: str, wanted: Wanted | None, lines: list[str]) -> None:
        """Write the host's status; see `loop.Host`."""
        hidden = self._known.passwords() if self._known is not None else []
        self._status.tell(
            state,
            message,
            images=wanted.images if wanted else {},
            site=wanted.site if wanted else "",
            applied=wanted.digest if wanted else "",
            lines=lines,
            hidden=hidden,
        )

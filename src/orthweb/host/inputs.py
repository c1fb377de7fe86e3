"""What `up` reads on a host, written from what the account says: site file, what it names, passwords, certificates."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orthweb.errors import OrthwebError
from orthweb.host import composition, rotation, shared
from orthweb.host.composition import SITE_FILE
from orthweb.host.loop import Wanted
from orthweb.host.parameters import Parameters
from orthweb.host.rds import Rds
from orthweb.host.vault import Version
from orthweb.state import FOLDER_NAME

if TYPE_CHECKING:
    from orthweb.site import Site
    from orthweb.targets.docker import DockerTarget


UNUSED: Final = f"{composition.OWN}/unused"
APPLIED: Final = f"{composition.OWN}/applied.json"


@dataclass
class Known:
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


class Inputs:
    """The files of one host that `up` reads.

    Parameters
    ----------
    run : folder in memory.
    kept : folder on the disk, for copies of the bucket's objects.
    name : of the site.
    instance : this host's id.
    """

    def __init__(self, run: Path, kept: Path, name: str, instance: str) -> None:
        self._run, self._kept, self._name, self._instance = run, kept, name, instance

    @property
    def unused(self) -> bool:
        """Whether a password or certificate was written that the containers have not been given yet.

        In a file, since an agent may be killed between the one and the other.
        """
        return (self._run / UNUSED).exists()

    @unused.setter
    def unused(self, value: bool) -> None:
        if value:
            (self._run / UNUSED).touch(0o600)
        else:
            (self._run / UNUSED).unlink(missing_ok=True)

    def remembered(self) -> Wanted | None:
        """Give what was applied last, by this agent or the one before; None when that is not known."""
        try:
            found = json.loads((self._run / APPLIED).read_text())
            return Wanted(found["digest"], found["site"], found["images"], found["shared"], {})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, wanted: Wanted | None) -> None:
        """Note what is applied; None: something is about to change."""
        if wanted is None:
            (self._run / APPLIED).unlink(missing_ok=True)
            return
        text = json.dumps({name: getattr(wanted, name) for name in ("digest", "site", "images", "shared")})
        shared.write({self._run / APPLIED: text.encode()}, 0o600)

    @property
    def target(self) -> DockerTarget:
        """The site as it is: a site file that was wrong is never in its place."""
        from orthweb.sitefile import load
        from orthweb.targets.docker import DockerTarget

        return DockerTarget(load(self._run / SITE_FILE), self._run, SITE_FILE)

    def write(self, known: Known) -> bool:
        """Write all of them; tell whether something secret waits for an `up`.

        Raises
        ------
        OrthwebError : something is wrong; the site file that is in use stays.
        """
        text, _ = self._propose(known)
        shared.write({self._run / SITE_FILE: text.encode()}, 0o600)
        return self.unused

    def propose(self, known: Known) -> DockerTarget:
        """Write all but the site file; give the site as that will say.

        Raises
        ------
        OrthwebError : something is wrong.
        """
        from orthweb.targets.docker import DockerTarget

        return DockerTarget(self._propose(known)[1], self._run, SITE_FILE)

    def _propose(self, known: Known) -> tuple[str, Site]:
        from orthweb.sitefile import parse

        self._write_files(known)
        own = self._write_certificate(known)
        bucket_ca = self._write_bucket_ca()
        self._write_state(known)
        values = composition.values(
            known.parameters.site,
            known.parameters,
            known.rds,
            name=self._name,
            instance=self._instance,
            kept=self._kept,
            own=own,
            bucket_ca=bucket_ca,
        )
        text = composition.text(values)
        return text, parse(text, self._run / SITE_FILE)[0]

    def _write_files(self, known: Known) -> None:
        files = {composition.inside(name): text for name, text in known.parameters.files.items()}
        for path, text in files.items():
            (self._run / path).parent.mkdir(parents=True, exist_ok=True)
            shared.write({self._run / path: text.encode()}, 0o600)
        password = f"{rotation.login_of(known.index).password}\n".encode()
        # Noted before the next file is written: whatever fails from here on, the next round goes on with an `up`.
        self.unused |= shared.write({self._run / composition.PASSWORD: password}, 0o600)

    def _write_certificate(self, known: Known) -> bool:
        """Write the certificate of the owner's own; tell whether there is one."""
        if known.certificate is None or not known.certificate.values.get("certificate"):
            return False
        pem, key = (known.certificate.values.get(name, "").encode() for name in ("certificate", "key"))
        self.unused |= shared.write({self._run / composition.CERTIFICATE: pem, self._run / composition.KEY: key}, 0o600)
        return True

    def _write_bucket_ca(self) -> bool:
        """Let the archive trust for the bucket what the agent trusts for AWS; tell whether that is told at all."""
        bundle = os.environ.get("AWS_CA_BUNDLE")
        if not bundle:
            return False
        try:
            shared.write({self._run / composition.BUCKET_CA: Path(bundle).read_bytes()}, 0o600)
        except OSError as error:
            raise OrthwebError(f"AWS_CA_BUNDLE: {bundle}: {error.strerror}", "see /etc/orthweb/environment") from error
        return True

    def _write_state(self, known: Known) -> None:
        from orthweb.targets.host import folder

        # Where the services' users cannot pass, root's state would lie elsewhere: on the disk.
        where = folder.locate(self._run).root
        if where != self._run.resolve() / FOLDER_NAME:
            raise OrthwebError(
                f"{where}: the state folder would lie there, and secrets belong into {self._run} alone",
                f"chmod o+x {self._run} and the folders above it",
            )
        state = folder.make(self._run)
        shared.write({state.root / folder.IDENTITY: f"{shared.identity(known.site)}\n".encode()}, 0o600)
        self.unused |= shared.write_passwords(state.secrets, known.admin, known.site)
        self.unused |= shared.write_certificates(state.pki, known.tls)

"""Where a site on AWS has its files on the person's machine, and what is remembered of it there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orthweb import pki
from orthweb.aws.session import Session
from orthweb.errors import OrthwebError
from orthweb.files import write_whole
from orthweb.site import Site
from orthweb.state import StateFolder
from orthweb.targets.aws import tfstate, work
from orthweb.targets.host import folder

VERSION = 1


@dataclass(frozen=True)
class Memory:
    """What a later call must find again.

    Parameters
    ----------
    name, region, account, network, store : of the site as it is in the account; another one would be another site.
    given : SHA-256 of the own certificate that was handed over last; empty for none.
    secrets_version : how many times one was.
    outputs : what Terraform said of the site at the last apply; empty before the first.
    """

    name: str = ""
    region: str = ""
    account: str = ""
    network: str = ""
    store: str = ""
    given: str = ""
    secrets_version: int = 1
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, outputs: Mapping[str, Any]) -> Memory:
        """Rebuild it from the outputs in Terraform's state."""
        name, region, account, network, store = (
            str(outputs.get(each) or "") for each in ("name", "region", "account_id", "vpc_cidr", "storage")
        )
        return cls(name, region, account, network, store, outputs=outputs)

    @property
    def known(self) -> bool:
        """Whether there is, or may be, something of the site in an account."""
        return bool(self.account)

    def output(self, name: str) -> str:
        """Give an output that is text; empty when there is none."""
        value = self.outputs.get(name)
        return "" if value is None else str(value)


@dataclass(frozen=True)
class Place:
    """Paths of a site on AWS on this machine.

    Parameters
    ----------
    site : what the site file says.
    base : folder of the site file, absolute.
    file_name : name of the site file in it.
    """

    site: Site
    base: Path
    file_name: str = "site.toml"

    @cached_property
    def state(self) -> StateFolder:
        """The state folder."""
        return folder.locate(self.base)

    @property
    def folder(self) -> Path:
        """What is about AWS in the state folder (0700)."""
        return self.state.root / "aws"

    @property
    def work(self) -> Path:
        """Terraform's configuration, variables and plans; nothing secret (0700)."""
        return self.folder / "work"

    @property
    def plan_json(self) -> Path:
        """The last plan, for `orthweb cost` and `orthweb policy`."""
        return self.folder / "plan.json"

    @property
    def log(self) -> Path:
        """What Terraform said at the last command, in its own words."""
        return self.folder / "terraform.log"

    @property
    def prices(self) -> Path:
        """Prices that `orthweb cost refresh` read."""
        return self.folder / "prices.json"

    @property
    def memory_file(self) -> Path:
        """See `Memory`."""
        return self.folder / "site.json"

    @property
    def pki(self) -> pki.Pki:
        """The parts of the site's PKI that a person needs: what to trust, and the pair of the checks."""
        return pki.paths(self.state.pki, self.site, self.base)

    @property
    def prefix(self) -> str:
        """What the names of the site's parameters begin with."""
        return f"/orthweb/{self.site.name}"

    def memory(self) -> Memory:
        """Give what is remembered, or else what Terraform's state says, wherever it is kept; nothing without a site.

        Raises
        ------
        OrthwebError : the file, or the state, is damaged, or of a newer orthweb.
        AwsError : the state is in a bucket, and cannot be read.
        """
        found = self._noted()
        if found is not None:
            return found
        state = tfstate.local(self.work)
        if state is None or not state.resources:
            state = self._kept_state
        return Memory.of(state.outputs) if state is not None and state.resources else Memory()

    @cached_property
    def _kept_state(self) -> tfstate.TerraformState | None:
        """The state in the bucket that the site file names: another machine may have made the site."""
        bucket = self.site.aws.state_bucket if self.site.target == "aws" else None
        if bucket is None:
            return None
        return tfstate.kept(Session(self.site.aws.region), bucket, work.state_key(self.site.name))

    def _noted(self) -> Memory | None:
        try:
            data = json.loads(self.memory_file.read_text())
            version = data["version"]
            known = {each.name for each in fields(Memory)}
            found = Memory(**{name: value for name, value in data.items() if name in known})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OrthwebError(
                f"{self.memory_file}: is damaged", "delete it: Terraform's state has the rest"
            ) from error
        if version != VERSION:
            raise OrthwebError(f"{self.memory_file}: version {version} is newer than this orthweb", "upgrade orthweb")
        return found

    def remember(self, memory: Memory) -> None:
        """Keep what a later call must find again; to be called with the lock held."""
        text = json.dumps({"version": VERSION, **asdict(memory)}, indent=2)
        write_whole(self.memory_file, f"{text}\n".encode())
        facts = folder.read_facts(self.state)
        noted = replace(facts, target="aws", site_file=self.file_name, store_kind=memory.store)
        if noted != facts:
            folder.write_facts(self.state, noted)

    def make(self) -> None:
        """Make the folders; to be called with the lock held."""
        folder.make(self.base)
        for path in (self.folder, self.work):
            folder.inspect(path)
            folder.folder(path, 0o700)

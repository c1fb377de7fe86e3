"""The life of a site that is driven by ``orthweb`` alone, in a thread of its own; the tests judge what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aws.emulator import Emulator, emulator
from aws.standins import Hosts
from orthweb.pki.issue import SERVER, Leaf, certificate_pem, key_pem, new_authority, new_leaf

REGION = "eu-central-1"
NAME = "clinic"
HOSTNAME = "pacs.clinic.example"
IMAGES = """
[aws.images]
archive = "registry.example.org/orthweb/archive:1"
edge = "registry.example.org/orthweb/edge:1"
ops = "registry.example.org/orthweb/ops:1"
"""
SITE = f"""\
name = "{NAME}"
hostname = "{HOSTNAME}"
target = "aws"

[tls]
certificate = "own.pem"
key = "own.key"

[aws]
region = "{REGION}"
https_from = ["203.0.113.0/24"]
dicom_from = ["0.0.0.0/0"]
{IMAGES}"""
CHANGED = (
    SITE.replace('https_from = ["203.0.113.0/24"]', 'https_from = ["203.0.113.0/24", "192.0.2.0/28"]').replace(
        "[aws]\n", '[aws]\ninstance_type = "t3.xlarge"\n'
    )
    + '[dicom]\naet = "CLINIC"\n'
)

STEPS = (
    *("planned", "untouched", "interrupted", "up", "again", "status", "credentials", "trust", "client", "issued"),
    *("logs", "validated"),
    *("refused", "changed", "settled", "failed", "mended", "stopped", "paused", "started"),
    *("kept", "guarded", "destroyed", "left"),
)


@dataclass(frozen=True)
class Said:
    """What a command said: exit code, standard output and error; and how long it took (seconds)."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Issued:
    """A client's certificate (PEM), and the names of all keys that lay in the state folder then."""

    certificate: bytes
    keys: Sequence[str]


class Driven:
    """See `STEPS`: what each command said, or what lies in the account then."""

    name: ClassVar = NAME
    steps: ClassVar[tuple[str, ...]] = STEPS

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.aws: Emulator | None = None
        self.hosts: Hosts | None = None
        self.exposed: set[str] = set()
        self.environment = dict(environment)
        self._results: dict[str, Future[Any]] = {step: Future() for step in self.steps}
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._live, name="driven", daemon=True)
        self.secrets: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it, wherever it is."""
        self._stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._thread.join()

    def __getattr__(self, step: str) -> Any:
        """Wait for a step and give what came of it."""
        if step not in self.steps:
            raise AttributeError(step)
        if (error := self._results[step].exception()) is not None:
            pytest.fail(str(error), pytrace=False)
        return self._results[step].result()

    def said(self) -> dict[str, Said]:
        """Give what all commands said, once everything is over."""
        assert self.left is not None
        return {step: result for step in self.steps if isinstance(result := self._results[step].result(), Said)}

    def orthweb(self, *words: str, interrupt: str = "") -> Said:
        """Run a verb.

        Parameters
        ----------
        interrupt : send SIGINT, as Ctrl-C does, when the command says this.
        """
        assert self.aws is not None
        if self._stopped:
            raise RuntimeError("stopped")
        started = time.monotonic()
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "aws.driven", str(self.folder), *words],
            cwd=self.site,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stdout is not None
        lines: list[str] = []
        out: list[str] = []
        reader = threading.Thread(target=lambda: out.append(process.stdout.read() if process.stdout else ""))
        reader.start()
        for line in process.stderr:
            lines.append(line)
            self._look_around()
            if interrupt and interrupt in line:
                process.send_signal(signal.SIGINT)
                interrupt = ""
        reader.join()
        return Said(process.wait(), "".join(out), "".join(lines), time.monotonic() - started)

    def _environment(self) -> dict[str, str]:
        assert self.aws is not None
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "COLUMNS": "100",
            **self.environment,
            **self.aws.environment(REGION),
        }

    def _look_around(self) -> None:
        """Look into every process's arguments and environment for a secret."""
        for path in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    found = (path / name).read_bytes()
                except OSError:
                    continue
                if any(secret.encode() in found for secret in self.secrets):
                    self.exposed.add(f"{name} of {found[:60]!r}")

    def texts(self) -> dict[str, bytes]:
        """Give what was written beside the state folder's own secrets: the work folder, state, logs, all output."""
        below = self.site / ".orthweb" / "aws"
        found = {str(path): path.read_bytes() for path in below.rglob("*") if path.is_file() and not path.is_symlink()}
        return {name: content for name, content in found.items() if "/providers/" not in name}

    def _live(self) -> None:
        step = ""
        try:
            with emulator(self.folder / "emulator") as self.aws, Hosts(self.aws, self.name, REGION) as self.hosts:
                for step, result in self._steps():
                    self._results[step].set_result(result)
        except BaseException as error:
            late = RuntimeError(f"driven: after {step or 'the start'}: {type(error).__name__}: {error}")
            for future in self._results.values():
                if not future.done():
                    future.set_exception(late)

    def _write(self, text: str) -> None:
        (self.site / "site.toml").write_text(text)

    def _given(self) -> None:
        """Make a certificate of the owner's own; its key must be nowhere but in its file."""
        self.site.mkdir()
        now = datetime.now(UTC)
        authority = new_authority("Clinic CA", now)
        leaf = new_leaf(Leaf(HOSTNAME, (HOSTNAME,), (SERVER,)), authority, now)
        (self.site / "own.pem").write_bytes(certificate_pem([leaf.certificate, authority.certificate]))
        key = self.site / "own.key"
        key.touch(0o600)
        key.write_bytes(key_pem(leaf.key))
        self.secrets = [key_pem(leaf.key).decode().splitlines()[1]]

    def _steps(self) -> Iterator[tuple[str, Any]]:
        assert self.aws is not None
        assert self.hosts is not None
        aws = self.aws
        self._given()
        self._write(SITE)
        before = aws.resources(REGION)
        yield "planned", self.orthweb("plan")
        yield "untouched", aws.resources(REGION) - before
        yield "interrupted", self.orthweb("up", interrupt="making database")
        yield "up", self.orthweb("up")
        self.secrets.append(self.hosts.password)
        yield "again", self.orthweb("plan")
        yield "status", self.orthweb("status")
        yield "credentials", self.orthweb("credentials", "--json")
        yield "trust", self.orthweb("trust", "dcmtk")
        yield "client", (said := self.orthweb("certificates", "client", "ct1", "--json"))
        yield "issued", self._issued(said)
        self._log_something()
        yield "logs", self.orthweb("logs", "-n", "5")
        yield "validated", self.orthweb("validate")
        yield "refused", self._refused()
        self._write(CHANGED)
        yield "changed", self.orthweb("up")
        yield "settled", self.orthweb("plan")
        self.hosts.failing = "no space left on device"
        yield "failed", self.orthweb("up")
        self.hosts.failing = ""
        yield "mended", self.orthweb("up")
        yield "stopped", self.orthweb("down")
        yield "paused", self.orthweb("status")
        yield "started", self.orthweb("up")
        kept = self.texts()
        yield "kept", kept
        yield "guarded", self.orthweb("destroy", "--data", "--yes")
        yield "destroyed", self.orthweb("destroy", "--data", "--even-production", "--yes")
        yield "left", aws.resources(REGION) - before

    def _issued(self, said: Said) -> Issued:
        """Look at what a command made; it is gone with the site."""
        made = Path(resources_of(said)["certificate"])
        return Issued(made.read_bytes(), sorted(path.name for path in made.parents[1].rglob("*.key")))

    def _refused(self) -> dict[str, Said]:
        """Try changes that would cost the site its data; put the file back."""
        found = {}
        for what, (old, new) in {
            "name": (f'name = "{NAME}"', 'name = "other"'),
            "network": ("[aws]\n", '[aws]\nnetwork = "10.90.0.0/16"\n'),
            "region": (f'region = "{REGION}"', 'region = "eu-west-1"'),
            "store": ("[aws]\n", '[store]\nkind = "database"\n[aws]\n'),
            "target": ('target = "aws"', 'target = "local"'),
        }.items():
            self._write(SITE.replace(old, new, 1))
            found[what] = self.orthweb("up")
        self._write(SITE)
        return found

    def _log_something(self) -> None:
        assert self.aws is not None
        client = self.aws.client("logs", REGION)
        now = int(time.time() * 1000)
        for group, stream, text in (
            ("containers", "i-1/archive", "archive says this"),
            ("containers", "i-1/edge", "edge says that"),
            ("host", "i-1", "host says something"),
        ):
            name = f"/orthweb/{NAME}/{group}"
            client.create_log_stream(logGroupName=name, logStreamName=stream)
            client.put_log_events(
                logGroupName=name, logStreamName=stream, logEvents=[{"timestamp": now, "message": text}]
            )


def resources_of(said: Said) -> dict[str, Any]:
    """Read what a command printed as JSON."""
    found: dict[str, Any] = json.loads(said.out)
    return found

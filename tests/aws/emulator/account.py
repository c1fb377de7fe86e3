"""The emulator as the tests see it: a process, its address, what was asked of it and what lies in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aws.emulator.inventory import resources

ACCOUNT = "123456789012"
"""moto's only account."""

REGION = "us-east-1"
"""Where clients look unless told otherwise: the region that AWS documents as the default of most services."""

DEPLOYER = "deployer"
"""How programs call themselves that are started with `Emulator.environment` (AWS_SDK_UA_APP_ID)."""

START_DEADLINE = 60.0
STOP_DEADLINE = 10.0
TESTS = Path(__file__).parents[2]


@dataclass(frozen=True)
class Call:
    """A request that was answered: the service's signing name, the API operation, and how it went."""

    service: str
    operation: str
    region: str
    status: int
    error: str
    """The error's code (``NoSuchBucket``), empty when it went well."""
    seconds: float
    terraform: bool
    """Whether Terraform asked, and not another client."""
    deployer: bool = False
    """Whether a program asked that was started with `Emulator.environment`: Terraform or orthweb, and not a test."""
    resources: list[list[str | None]] = field(default_factory=list)
    """ARNs that a deployer's request named, each with the value of its site's tag (None: it had none)."""
    context: dict[str, str] = field(default_factory=dict)
    """Condition keys of IAM that the request said itself."""


class Emulator:
    """The running server; see the package. Its files (`calls.jsonl`, `server.log`) lie in `folder`."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], host: str, port: int) -> None:
        self.folder = folder
        self.process = process
        self.url = f"http://{host}:{port}"
        self._clients: dict[tuple[str, str], Any] = {}

    def environment(self, region: str = REGION) -> dict[str, str]:
        """Give the variables that send every AWS client here, whatever the user's own configuration says."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SDK_UA_APP_ID": DEPLOYER,
            "NO_PROXY": "*",
            "no_proxy": "*",
        }

    def client(self, service: str, region: str = REGION) -> Any:
        """Give a boto3 client; there is one for each service and region. (boto3 makes its clients' types up.)"""
        key = service, region
        if key not in self._clients:
            import boto3
            from botocore.config import Config

            self._clients[key] = boto3.session.Session().client(
                service,
                endpoint_url=self.url,
                region_name=region,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
                config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1}),
            )
        return self._clients[key]

    def database(
        self, identifier: str, *, address: str | None = None, port: int | None = None, status: str | None = None
    ) -> None:
        """Say what DescribeDBInstances answers about a database, also before it is made; None leaves a thing as it is.

        The status is one of RDS's own words (``creating``, ``available``, ``rebooting``, ``stopped``, ...).
        """
        self._tell("database", identifier=identifier, address=address, port=port, status=status)

    def registry(self, address: str) -> None:
        """Say which HOST:PORT the repositories' addresses and the logins of ECR name from now on."""
        self._tell("registry", address=address)

    def refuse(self, operation: str, code: str, message: str = "refused by the test", status: int = 403) -> None:
        """Answer an operation (``ec2:CreateVpc``) with an error of AWS from now on; no code: as usual again."""
        self._tell("refuse", operation=operation, code=code, message=message, status=status)

    def calls(self) -> list[Call]:
        """List every request so far, in the order of the answers."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [Call(**json.loads(line)) for line in lines]

    def failures(self) -> list[str]:
        """Name the operations that moto does not have or that broke in it, each once, with what it said."""
        broken = [call for call in self.calls() if call.status >= 500]
        return sorted({f"{call.service}:{call.operation} ({call.status} {call.error})" for call in broken})

    def check(self) -> None:
        """Fail when there was a call that moto cannot answer, or when the server has died."""
        failures = self.failures()
        assert not failures, f"the emulator lacks these operations: {', '.join(failures)}; see {self.log}"
        assert self.process.poll() is None, f"the emulator has ended: see {self.log}"

    def resources(self, region: str = REGION) -> set[str]:
        """List what lies in the account, as ``type id``, but what is on its way out (terminated, pending deletion)."""
        return resources(partial(self.client, region=region))

    @property
    def log(self) -> Path:
        """What the server and moto have written, with the tracebacks."""
        return self.folder / "server.log"

    def _tell(self, what: str, **values: str | int | None) -> None:
        request = urllib.request.Request(f"{self.url}/_emulator/{what}", json.dumps(values).encode(), method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            assert answer.status == 200, answer.status


@contextmanager
def emulator(folder: Path, host: str = "127.0.0.1") -> Iterator[Emulator]:
    """Run an emulator on a free port of `host`; its files are put into `folder`, which is made.

    Raises AssertionError when it does not start, and at the end when an operation was missing in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calls.jsonl").touch()
    port_file = folder / "port"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aws.emulator.server", "--host", host, "--folder", str(folder)],
            cwd=TESTS,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(TESTS), "HOME": str(folder)},
        )
    try:
        _wait(process, port_file)
        running = Emulator(folder, process, host, int(port_file.read_text()))
        yield running
        running.check()
    finally:
        process.terminate()
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port_file: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while not port_file.exists():
        log = port_file.with_name("server.log")
        assert process.poll() is None, f"the emulator has not started:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"the emulator has not started in {START_DEADLINE} s:\n{log.read_text()}"
        time.sleep(0.05)

"""The life of a deployment from `init` to `destroy`, in a thread of its own: what happened is kept, the tests judge it.

Most of the time passes in waits of Terraform's provider (for the database above all), so that several lives go on at
once, and other tests beside them. Asking for a step waits for it; a step that failed fails every test that asks.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aws.emulator import REGION, Emulator, emulator
from aws.resources import resources as managed
from aws.terraform import Terraform

Json = dict[str, Any]
Prepare = Callable[[Emulator], Json]
Use = Callable[[Emulator, set[str]], None]


@dataclass(frozen=True)
class Plot:
    """What a life is to be.

    Parameters
    ----------
    variables : what the deployment is made with.
    changes : what is changed while it runs.
    secrets : ephemeral variables; they are given in a file outside the configuration's folder, as orthweb does.
    readme : init, apply and destroy as the configuration's README says it, word for word; then there is no `planned`.
    prepare : makes in the account what a person has there beforehand, and gives further variables.
    use : does what happens to a site that runs, told what is in the account.
    """

    name: str
    variables: Json
    changes: Json = field(default_factory=dict)
    secrets: Json = field(default_factory=dict)
    readme: bool = False
    region: str = REGION
    prepare: Prepare = field(default=lambda _: {})
    use: Use = field(default=lambda _, __: None)


STEPS = (
    "planned",
    "state",
    "calls",
    "resources",
    "secrets",
    "again",
    "change",
    "changed",
    "settled",
    "refused",
    "left",
)


class Lifecycle:
    """A running or finished life; see `STEPS`.

    planned : the first plan; again, change, settled : what later plans would do (`Terraform.changes`).
    calls : how often the first apply and what led to it asked for each operation.
    state, changed : the state after the first apply and after the change.
    resources : what is in the account then, besides what was in it before; left : the same after `destroy`.
    refused : what `destroy` said while the site was in production, and what was in the account before it and after it.
    secrets : what Secrets Manager holds after the first apply, by the secret's name.
    """

    def __init__(self, plot: Plot, source: Path, folder: Path, environment: Mapping[str, str], program: Path) -> None:
        self.plot = plot
        self.folder = folder
        self.aws: Emulator | None = None
        self.terraform = Terraform.of(source, folder / "terraform", environment, program)
        self.resource_count = 0
        self._results: dict[str, Future[Any]] = {step: Future() for step in STEPS}
        self._thread = threading.Thread(target=self._live, name=plot.name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it, wherever it is."""
        self.terraform.stop()
        self._thread.join()

    def __getattr__(self, step: str) -> Any:
        """Wait for a step and give what came of it."""
        if step not in STEPS:
            raise AttributeError(step)
        if (error := self._results[step].exception()) is not None:
            pytest.fail(str(error), pytrace=False)
        return self._results[step].result()

    @property
    def seconds(self) -> dict[str, float]:
        """How long each command took."""
        return self.terraform.seconds

    def texts(self) -> dict[str, bytes]:
        """Give everything that was written: the folder's files, Terraform's output, the emulator's own notes."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def _live(self) -> None:
        step = ""
        try:
            with emulator(self.folder / "emulator") as aws:
                self.aws = aws
                for step, result in self._steps(aws):
                    self._results[step].set_result(result)
        except BaseException as error:
            for future in self._results.values():
                if not future.done():
                    future.set_exception(_late(error, self.plot.name, step))

    def _steps(self, aws: Emulator) -> Any:
        plot, terraform = self.plot, self.terraform
        terraform.environment = {**terraform.environment, **aws.environment(plot.region)}
        prepared = plot.prepare(aws)
        before = aws.resources(plot.region)
        given = self._given()
        if plot.readme:
            block = readme_block(terraform.folder, "Start")
            terraform.environment = {**terraform.environment, **block.exported}
            for line in block.lines:
                terraform.type_in(line, "yes\n")
        else:
            terraform.init()
            terraform.variables(**plot.variables, **prepared)
            yield "planned", terraform.plan("first", *given)
            terraform.apply("first", *given)
        made = terraform.state()
        self.resource_count = len(managed(made))
        yield "state", made
        yield "calls", Counter(call.operation for call in aws.calls() if call.terraform)
        yield "resources", aws.resources(plot.region) - before
        yield "secrets", _secrets(aws, plot.region)
        yield "again", terraform.changes("again", *given)
        if plot.variables.get("production"):
            there = aws.resources(plot.region)
            yield "refused", (terraform.refused(terraform.destroy), there, aws.resources(plot.region))
        if plot.changes:
            terraform.variables(**plot.changes)
            yield "change", terraform.changes("change", *given)
            terraform.apply("change", *given)
            yield "changed", terraform.state()
            yield "settled", terraform.changes("settled", *given)
        plot.use(aws, aws.resources(plot.region))
        if plot.readme:
            for line in readme_block(terraform.folder, "Destroy").lines:
                terraform.type_in(line, "yes\n")
        else:
            terraform.destroy()
        yield "left", aws.resources(plot.region) - before

    def _given(self) -> list[str]:
        if not self.plot.secrets:
            return []
        path = self.folder.with_name(f"{self.folder.name}.secret.tfvars.json")
        path.touch(0o600)
        path.write_text(json.dumps(self.plot.secrets))
        return [f"-var-file={os.path.relpath(path, self.terraform.folder)}"]


def _late(error: BaseException, name: str, step: str) -> Exception:
    return RuntimeError(f"{name}: after {step or 'the start'}: {type(error).__name__}: {error}")


def _secrets(aws: Emulator, region: str) -> dict[str, str]:
    client = aws.client("secretsmanager", region)
    found = {}
    for page in client.get_paginator("list_secrets").paginate():
        for each in page["SecretList"]:
            if each.get("SecretVersionsToStages"):
                found[each["Name"]] = client.get_secret_value(SecretId=each["ARN"])["SecretString"]
    return found


@dataclass(frozen=True)
class Block:
    """Commands of a document: what they export, and the other lines."""

    exported: dict[str, str]
    lines: list[str]


def readme_block(folder: Path, title: str) -> Block:
    """Read the first block of commands below a title of the configuration's README."""
    text = (folder / "README.md").read_text()
    found = re.search(rf"^## {title}$.*?^```sh$\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"no commands below {title}"
    lines = [line for line in found[1].splitlines() if line.strip()]
    pairs = [shlex.split(line)[1].split("=", 1) for line in lines if line.startswith("export ")]
    return Block(dict(pairs), [line for line in lines if not line.startswith("export ")])

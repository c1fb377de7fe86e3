"""Terraform in a folder of its own: what a person types, with how long each command took.

    terraform = Terraform.of(source, folder, environment)
    terraform.init(); terraform.plan("first"); terraform.apply("first"); terraform.destroy()
    terraform.seconds["apply"], terraform.output                  # times, and all that was printed

A command that fails raises `TerraformError` with Terraform's own words.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "terraform"
"""The configuration that the tests are about."""

NOT_COPIED = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars*", "tests", ".terraform.tfstate.lock.info")
DEADLINE = 900.0


class TerraformError(Exception):
    """A command of Terraform's that failed."""


@dataclass
class Terraform:
    """A copy of the configuration in `folder`, run with `environment` alone (and PATH)."""

    folder: Path
    environment: Mapping[str, str]
    program: Path = Path("terraform")
    seconds: dict[str, float] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)
    """What each command has written, standard error included; `terraform.log` beside the folder has it as well."""
    _running: subprocess.Popen[str] | None = None
    _stopped: bool = False

    @classmethod
    def of(cls, source: Path, folder: Path, environment: Mapping[str, str], program: Path | None = None) -> Terraform:
        """Copy a configuration without what a person may have left in it (states, variables, installed providers)."""
        shutil.copytree(source, folder, ignore=NOT_COPIED)
        return cls(folder, dict(environment), program or Path("terraform"))

    def init(self) -> None:
        """Install modules and providers."""
        self.run("init", "init", "-input=false", "-no-color")

    def validate(self) -> None:
        """Check the configuration without variables or an account."""
        self.run("validate", "validate", "-no-color")

    def variables(self, **values: Any) -> None:
        """Write the values that plans take from now on (`terraform.tfvars.json`); earlier ones are kept."""
        path = self.folder / "terraform.tfvars.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**kept, **values}, indent=2))

    def plan(self, name: str, *options: str) -> dict[str, Any]:
        """Write a plan to `name`.tfplan and give it as JSON (developer.hashicorp.com: internals/json-format)."""
        self.run(f"plan {name}", "plan", "-input=false", "-no-color", f"-out={name}.tfplan", *options)
        shown: dict[str, Any] = json.loads(self.run(f"show {name}", "show", "-json", "-no-color", f"{name}.tfplan"))
        return shown

    def changes(self, name: str, *options: str) -> dict[str, str]:
        """Write a plan to `name`.tfplan and tell what it does: address to create, update, replace or delete.

        This is half the work of `plan`: a start of Terraform and its provider less. A changed output counts too
        (``output.NAME``), as it does for ``terraform plan -detailed-exitcode``.
        """
        told = self.run(f"plan {name}", "plan", "-input=false", "-json", f"-out={name}.tfplan", *options)
        found: dict[str, str] = {}
        for line in map(json.loads, told.splitlines()):
            if line["type"] == "planned_change":
                found[line["change"]["resource"]["addr"]] = line["change"]["action"]
            elif line["type"] == "outputs":
                found.update({f"output.{output}": said.get("action", "") for output, said in line["outputs"].items()})
        return {address: action for address, action in found.items() if action not in ("noop", "read", "")}

    def apply(self, name: str, *options: str) -> None:
        """Carry out a plan. (Ephemeral variables are in no plan: they are given here once more.)"""
        self.run(f"apply {name}", "apply", "-input=false", "-json", *options, f"{name}.tfplan")

    def destroy(self, *options: str) -> None:
        """Remove everything."""
        self.run("destroy", "destroy", "-auto-approve", "-input=false", "-json", *options)

    def refused(self, command: Callable[[], object]) -> str:
        """Run a command that must fail; give what Terraform said."""
        try:
            command()
        except TerraformError as error:
            return str(error)
        raise AssertionError("it did not fail")

    def state(self) -> dict[str, Any]:
        """Give the state as it lies on the disk, with every sensitive value in it."""
        found: dict[str, Any] = json.loads((self.folder / "terraform.tfstate").read_text())
        return found

    def type_in(self, line: str, answer: str = "") -> str:
        """Run a line as a person types it into a shell, who answers the question that comes."""
        step = line.removeprefix("terraform ")
        return self._run(step, ["bash", "-c", line], answer)

    def run(self, step: str, *arguments: str) -> str:
        """Run a command; give its standard output, and keep its time as that of `step`."""
        return self._run(step, [str(self.program), *arguments], "")

    def _run(self, step: str, command: list[str], answer: str) -> str:
        started = time.monotonic()
        if self._stopped:
            raise TerraformError(f"{step}: stopped")
        self._running = subprocess.Popen(
            command,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, errors = self._running.communicate(answer, timeout=DEADLINE)
        self.seconds[step] = time.monotonic() - started
        self.output.append(out + errors)
        with self.folder.with_name("terraform.log").open("a") as log:
            log.write(f"$ {' '.join(command)}\n{out}{errors}")
        if self._running.returncode:
            raise TerraformError(f"terraform {step} failed:\n{_complaint(out) or errors or out}")
        return out

    def stop(self) -> None:
        """End the command that runs, without its leave; none starts any more."""
        self._stopped = True
        if self._running is not None and self._running.poll() is None:
            self._running.kill()


def _complaint(output: str) -> str:
    """Pick the errors out of an output of JSON lines."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    errors = [line for line in lines if line.get("@level") == "error"]
    return "\n".join(f"{line['@message']}\n{line.get('diagnostic', {}).get('detail', '')}" for line in errors)

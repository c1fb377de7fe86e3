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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """What each command has written, standard error included."""

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
        return self.show(f"{name}.tfplan")

    def show(self, path: str = "") -> dict[str, Any]:
        """Give a plan, or else the state, as JSON."""
        shown: dict[str, Any] = json.loads(self.run("show", "show", "-json", "-no-color", *([path] if path else [])))
        return shown

    def apply(self, name: str) -> None:
        """Carry out a plan."""
        self.run(f"apply {name}", "apply", "-input=false", "-json", f"{name}.tfplan")

    def destroy(self, *options: str) -> None:
        """Remove everything."""
        self.run("destroy", "destroy", "-auto-approve", "-input=false", "-json", *options)

    def outputs(self) -> dict[str, Any]:
        """Give the outputs' values."""
        found = json.loads(self.run("output", "output", "-json", "-no-color"))
        return {name: output["value"] for name, output in found.items()}

    def run(self, step: str, *arguments: str) -> str:
        """Run a command; give its standard output, and keep its time as that of `step`."""
        started = time.monotonic()
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.seconds[step] = time.monotonic() - started
        self.output.append(done.stdout + done.stderr)
        if done.returncode:
            raise TerraformError(f"terraform {arguments[0]} failed ({done.returncode}):\n{_complaint(done)}")
        return done.stdout


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Pick the errors out of an output of JSON lines, or give the text."""
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    errors = [line for line in lines if line.get("@level") == "error"]
    told = [f"{line['@message']}\n{line.get('diagnostic', {}).get('detail', '')}" for line in errors]
    return "\n".join(told) or (done.stderr or done.stdout)

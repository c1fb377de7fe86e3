"""Terraform (or OpenTofu) as a program: found, told what to do, and followed while it does it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orthweb.errors import OrthwebError, UsageError
from orthweb.targets.aws import process, work
from orthweb.targets.aws.diagnostics import Diagnostic, TerraformError, problem
from orthweb.targets.base import Report, quiet

LEAST: Final = (1, 11)
"""The first with write-only arguments."""

PLAN: Final = "orthweb.tfplan"
INSTALL: Final = "install it: https://developer.hashicorp.com/terraform/install (or OpenTofu 1.11)"

Listener = Callable[[Mapping[str, Any]], None]

_NOT_OURS: Final = re.compile(r"TF_(CLI_ARGS.*|DATA_DIR|WORKSPACE|VAR_.*|LOG.*)")
"""Variables of the person's own work with Terraform, which would change what is done here."""


@dataclass(frozen=True)
class Program:
    """A Terraform that is new enough.

    Parameters
    ----------
    name : for people.
    """

    path: Path
    name: str
    version: str

    def __str__(self) -> str:
        """Name it with its version."""
        return f"{self.name} {self.version}"


def find() -> Program:
    """Find Terraform, or else OpenTofu.

    Raises
    ------
    UsageError : there is none that is new enough.
    """
    old = ""
    for command, name in (("terraform", "Terraform"), ("tofu", "OpenTofu")):
        path = shutil.which(command)
        if path is None:
            continue
        version = _version(path)
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if numbers >= LEAST:
            return Program(Path(path), name, version)
        old = f"{name} {version or 'of unknown version'} is too old: only from 1.11 on secrets stay out of the state"
    raise UsageError(old or "neither terraform nor tofu is on this machine", INSTALL)


def _version(path: str) -> str:
    try:
        done = subprocess.run([path, "version", "-json"], capture_output=True, text=True, timeout=60, check=False)
        return str(json.loads(done.stdout)["terraform_version"])
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return ""


class Terraform:
    """A configuration's folder, and the program that works in it.

    Parameters
    ----------
    folder : see `work`.
    log : gets everything that the last command wrote.
    """

    def __init__(self, program: Program, folder: Path, log: Path, report: Report = quiet) -> None:
        self._program = program
        self._folder = folder
        self._log = log
        self._report = report
        self._environment = _environment()

    def init(self, *, move: bool = False) -> None:
        """Install modules and providers, unless it is done; wait for a Terraform that an earlier call left at work.

        Parameters
        ----------
        move : the state is to be moved to where the configuration says now; otherwise it lies there already.

        Raises
        ------
        TerraformError : a provider, or the state's bucket, cannot be reached.
        """
        process.wait_for_earlier(self._log, self._report)
        if work.initialised(self._folder, str(self._program)):
            return
        self._report(f"{self._program}: getting ready")
        elsewhere = work.state_is_elsewhere(self._folder)
        options = ["-migrate-state", "-force-copy"] if move else (["-reconfigure"] if elsewhere else [])
        lines: list[str] = []
        words = ["init", "-input=false", "-no-color", *options]
        if self._start(words, lines.append) != 0:
            raise self._plain_problem("init", "\n".join(lines))
        work.note_initialised(self._folder, str(self._program))
        if move:
            work.note_moved(self._folder)

    def plan(
        self, listener: Listener, given: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Plan, keep the plan for `apply`, and give it as JSON.

        Parameters
        ----------
        given : secret variables; they are in no file, argument or environment variable.

        Raises
        ------
        TerraformError : what is wrong.
        """
        self._run(["plan", "-input=false", "-json", f"-out={PLAN}", *options], listener, given)
        return self.shown(PLAN)

    def apply(self, listener: Listener, given: Mapping[str, str] | None = None) -> None:
        """Carry out what was planned.

        Raises
        ------
        TerraformError : what is wrong; what was made until then is in the state.
        """
        try:
            self._run(["apply", "-input=false", "-json", PLAN], listener, given)
        finally:
            (self._folder / PLAN).unlink(missing_ok=True)

    def untaint(self, address: str) -> None:
        """Take the mark from a resource whose making was interrupted."""
        self._quietly("untaint", "-no-color", address)

    def drop(self, address: str) -> None:
        """Take a resource out of the state; in the account it stays as it is."""
        self._quietly("state", "rm", address)

    def adopt(self, address: str, identity: str, given: Mapping[str, str] | None = None) -> None:
        """Take a resource that is in the account, and in no state, into the state.

        Parameters
        ----------
        identity : what the provider's documentation says of the import of this type.

        Raises
        ------
        TerraformError : what is wrong.
        """
        lines: list[str] = []
        with _handed(given or {}) as (options, descriptors):
            words = ["import", "-input=false", "-no-color", *options, address, identity]
            if self._start(words, lines.append, descriptors) != 0:
                raise self._plain_problem("import", "\n".join(lines))

    def outputs(self) -> dict[str, Any]:
        """Give the outputs of the last apply."""
        found = json.loads(self._quietly("output", "-json", "-no-color") or "{}")
        return {name: value["value"] for name, value in found.items()}

    def resources(self) -> list[str]:
        """List the addresses of what is in the state."""
        try:
            said = self._quietly("state", "list")
        except OrthwebError as error:
            if "No state file was found" in str(error):
                return []
            raise
        return [line for line in said.splitlines() if line and ".data." not in f".{line}"]

    def shown(self, plan: str = "") -> dict[str, Any]:
        """Give a plan, or without a name the state, as JSON."""
        found: dict[str, Any] = json.loads(self._quietly("show", "-json", "-no-color", *([plan] if plan else [])))
        return found

    def _quietly(self, *words: str) -> str:
        with process.interrupts() as asked:
            done = subprocess.run(
                [str(self._program.path), *words],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                start_new_session=True,
            )
        if asked.count:
            raise KeyboardInterrupt
        if done.returncode != 0:
            raise self._plain_problem(words[0], done.stderr)
        return done.stdout

    def _run(self, words: Sequence[str], listener: Listener, given: Mapping[str, str] | None) -> None:
        found: list[Diagnostic] = []

        def take(line: str) -> None:
            message = _message(line)
            if message.get("type") == "diagnostic":
                found.append(Diagnostic.of(message))
            elif message:
                listener(message)

        with _handed(given or {}) as (options, descriptors):
            # Options stand before a plan's name.
            code = self._start([words[0], *options, *words[1:]], take, descriptors)
        if code != 0:
            raise problem(f"{self._program.name} {words[0]}", found, self._log.read_text(errors="replace"))

    def _start(self, words: Sequence[str], line: Callable[[str], None], descriptors: Sequence[int] = ()) -> int:
        command = [str(self._program.path), *words]
        return process.run(command, self._folder, self._environment, self._log, line, self._report, descriptors)

    def _plain_problem(self, word: str, text: str) -> TerraformError:
        return problem(f"{self._program.name} {word}", _plain_errors(text), text)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _NOT_OURS.fullmatch(name)}
    return {**kept, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}


def _message(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _plain_errors(text: str) -> list[Diagnostic]:
    """Read the complaints of a command that has no JSON: boxes that begin with ``Error:``."""
    lines = [line.strip("╷│╵ ").rstrip() for line in text.splitlines()]
    found: list[Diagnostic] = []
    summary, detail = "", list[str]()
    for line in [*lines, "Error: "]:
        if line.startswith(("Error: ", "Warning: ")):
            if summary:
                found.append(Diagnostic("error", summary, " ".join(filter(None, detail))))
            summary, detail = (line.removeprefix("Error: "), []) if line.startswith("Error: ") else ("", [])
        elif summary:
            detail.append(line)
    return found


@contextlib.contextmanager
def _handed(given: Mapping[str, str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """Give Terraform secret variables in a file that has no name and lies on no disk."""
    if not given:
        yield [], ()
        return
    descriptor = os.memfd_create("orthweb")
    try:
        text = "".join(f"{name} = {_hcl(value)}\n" for name, value in given.items())
        os.write(descriptor, text.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield [f"-var-file=/dev/fd/{descriptor}"], (descriptor,)
    finally:
        os.close(descriptor)


def _hcl(text: str) -> str:
    """Write a text as HCL does: JSON's escapes, and no templates."""
    return json.dumps(text).replace("${", "$${").replace("%{", "%%{")

"""What Terraform complains of, put in one line for each thing, with the next step.

https://developer.hashicorp.com/terraform/internals/machine-readable-ui#diagnostic
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orthweb.aws.errors import MFA, explain_text
from orthweb.errors import OrthwebError
from orthweb.targets.aws.words import named

MOST: Final = 6
"""So many complaints are shown; the log has all."""


@dataclass(frozen=True)
class Diagnostic:
    """One complaint.

    Parameters
    ----------
    address : the resource that it is about; empty when it is about none.
    """

    severity: str
    summary: str
    detail: str
    address: str = ""

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Diagnostic:
        """Read a message of type ``diagnostic``."""
        found = message.get("diagnostic") or {}
        texts = (str(found.get(key) or "") for key in ("severity", "summary", "detail", "address"))
        return cls(*texts)

    @property
    def text(self) -> str:
        """All of it, on one line."""
        return " ".join(f"{self.summary}: {self.detail}".split()).strip(": ")


class TerraformError(OrthwebError):
    """Terraform, or AWS through it, refused something.

    Parameters
    ----------
    diagnostics : in Terraform's own words.
    """

    def __init__(self, message: str, hint: str | None, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message, hint)
        self.diagnostics = tuple(diagnostics)
        for each in diagnostics:  # what --debug shows
            self.add_note(f"{each.address}\n{each.summary}\n{each.detail}".strip())


_SPECIAL: Final = (
    (
        re.compile(r"Failed to (query available|install) provider|Could not retrieve the list of available versions"),
        "Terraform cannot get its AWS provider",
        "check this machine's way to registry.terraform.io, or give Terraform a mirror (provider_installation in its "
        "configuration)",
    ),
    (
        re.compile(r"AWS account ID not allowed"),
        "Terraform finds credentials for another account than orthweb does",
        "AWS_PROFILE, AWS_DEFAULT_PROFILE and AWS_ACCESS_KEY_ID contradict each other: leave one of them",
    ),
    (
        re.compile(r"AssumeRoleTokenProvider|assume role with MFA"),
        "the profile asks for an MFA code, which Terraform cannot be given",
        MFA,
    ),
    (
        re.compile(r"Unsupported Terraform Core version"),
        "this Terraform is too old",
        "install Terraform 1.11 or newer",
    ),
    (
        re.compile(r"Saved plan is stale"),
        "the site was changed by somebody else meanwhile",
        "repeat the command",
    ),
    (
        re.compile(r"S3 bucket \S+ does not exist|NoSuchBucket.*backend|Failed to get existing workspaces"),
        "aws.state_bucket: there is no such bucket, or you may not use it",
        "make it, with versioning: aws s3api create-bucket, aws s3api put-bucket-versioning",
    ),
    (
        re.compile(r"operation (was )?cancell?ed|interrupted|execution halted", re.IGNORECASE),
        "was interrupted",
        "repeat the command: it goes on where it was",
    ),
)


_LOCKED: Final = re.compile(r"Error acquiring the state lock|Error locking state")
_LOCK: Final = re.compile(r"\bID:\s+(\S+).*?\bWho:\s+(.+?)\s+Version:.*?\bCreated:\s+(\S+ [\d:]+)", re.DOTALL)
"""https://developer.hashicorp.com/terraform/language/state/locking"""


def _locked(what: str, text: str) -> tuple[str, str]:
    """Say who holds the state's lock, since when, and how it is broken."""
    wait = "wait until they have finished; if nobody is at it"
    found = _LOCK.search(text)
    program = "tofu" if what.startswith("OpenTofu") else "terraform"
    unlock = f"cd .orthweb/aws/work && {program} force-unlock"
    if found is None:
        words = "somebody else is changing this site, or was interrupted at it"
        return words, f"{wait}: {unlock} with the lock's id (orthweb --debug shows it)"
    who = f"{found[2]} is changing this site since {found[3]} UTC, or was interrupted at it"
    return who, f"{wait}: {unlock} {found[1]}"


def problem(what: str, diagnostics: Sequence[Diagnostic], output: str = "") -> TerraformError:
    """Make one error of what Terraform complains of.

    Parameters
    ----------
    what : the command, such as ``terraform apply``.
    output : what it wrote besides; shown when there are no complaints.
    """
    errors = [each for each in diagnostics if each.severity == "error"]
    if not errors:
        last = next((line for line in reversed(output.splitlines()) if line.strip(" ╷│╵")), "no reason given")
        return TerraformError(f"{what} failed: {last.strip()}", "orthweb --debug shows Terraform's own words", errors)
    lines: list[str] = []
    hint: str | None = None
    for each in errors:
        line, step = _locked(what, each.text) if _LOCKED.search(each.text) else _line(each)
        hint = hint or step
        if line not in lines:
            lines.append(line)
    more = len(lines) - MOST
    if more > 0:
        lines = [*lines[:MOST], f"and {more} more"]
    return TerraformError("\n".join(lines), hint or "repeat the command when it is mended", errors)


def _line(found: Diagnostic) -> tuple[str, str | None]:
    for pattern, words, hint in _SPECIAL:
        if pattern.search(found.text):
            return f"{_subject(found)}{words}", hint
    if found.summary == "Invalid value for variable":
        # The variables' own validations say what should be; the rest of the text is where Terraform found it.
        words = found.detail.split("This was checked by")[0].strip()
        return " ".join(words.split()), "change the site file"
    explained = explain_text(found.detail if found.detail and not found.summary.startswith("creating") else found.text)
    if not explained.code and found.summary and found.detail:
        whole = explain_text(found.text)
        explained = whole if whole.code or whole.hint else explained
    return f"{_subject(found)}{explained.words or found.summary}", explained.hint


def _subject(found: Diagnostic) -> str:
    if not found.address:
        return ""
    type_ = re.sub(r"^(module\.[\w-]+(\[[^]]*])?\.)*(data\.)?", "", found.address).split(".", 1)[0]
    return f"{named(type_, found.address)} ({found.address}): "

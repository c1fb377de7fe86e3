"""What every verb prints with: facts to standard output, progress and problems to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthweb.errors import OrthwebError


@dataclass
class Settings:
    """The options that stand before the verb."""

    site_file: Path = Path("site.toml")
    debug: bool = False


settings = Settings()


def out(line: str = "") -> None:
    """Print one line of result, as it is."""
    sys.stdout.write(line + "\n")


def facts(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print facts as JSON (``--json``)."""
    out(json.dumps(value, indent=2, default=str))


def note(line: str) -> None:
    """Print one line of progress or warning to standard error."""
    sys.stderr.write(line + "\n")


def problem(error: OrthwebError) -> None:
    """Print an error the way all errors are printed: what, then the next step."""
    for line in error.message.splitlines():
        note(f"error: {line}")
    if error.hint:
        note(f"  next: {error.hint}")

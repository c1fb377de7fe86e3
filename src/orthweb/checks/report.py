"""What a run found, for programs (JSON) and for auditors (one HTML file that needs nothing else)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthweb import __version__
from orthweb.checks.check import GROUP_WORDS, GROUPS, Result
from orthweb.files import write_whole

if TYPE_CHECKING:
    from orthweb.access import SiteAccess

FORMAT = 1
"""Version of the JSON document; a change that could break a reader raises it (docs/validate.md)."""

SCHEMA = Path(__file__).with_name("validate.schema.json")
"""JSON Schema (2020-12) of the document."""


@dataclass(frozen=True)
class Report:
    """One finished run.

    Parameters
    ----------
    started : when it began.
    seconds : how long it took in all.
    """

    access: SiteAccess
    results: Sequence[Result]
    started: datetime
    seconds: float

    def count(self, status: str) -> int:
        """Count the results with a status."""
        return sum(result.status == status for result in self.results)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return self.count("fail") == 0

    @property
    def summary(self) -> str:
        """Put the run into one line."""
        counts = [f"{self.count('pass')} passed"]
        if self.count("fail"):
            counts.append(f"{self.count('fail')} failed")
        if self.count("n/a"):
            counts.append(f"{self.count('n/a')} not applicable")
        return f"{len(self.results)} checks: {', '.join(counts)}"

    def document(self) -> dict[str, Any]:
        """Give the run as the JSON document of docs/validate.md."""
        access = self.access
        return {
            "format": FORMAT,
            "orthweb": __version__,
            "site": {
                "name": access.name,
                "host": access.host,
                "https_port": access.https_port,
                "dicom_port": access.dicom_port,
                "aet": access.aet,
                "tls_profile": access.tls_profile,
                "client_certificates": access.client_certificates,
            },
            "started": self.started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": round(self.seconds, 3),
            "passed": self.passed,
            "summary": {
                "checks": len(self.results),
                "pass": self.count("pass"),
                "fail": self.count("fail"),
                "n/a": self.count("n/a"),
            },
            "checks": [dataclasses.asdict(result) for result in self.results],
        }

    def html(self) -> str:
        """Give the run as one HTML page: no script, no request to anywhere, for screen and paper."""
        import jinja2

        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        groups = [
            (GROUP_WORDS[group], found)
            for group in GROUPS
            if (found := [result for result in self.results if result.group == group])
        ]
        return environment.get_template("report.html.j2").render(
            report=self,
            document=self.document(),
            groups=groups,
            failures=[result for result in self.results if result.status == "fail"],
            words={"pass": "pass", "fail": "fail", "n/a": "not applicable"},
        )

    def write(self, path: Path) -> None:
        """Write the page; it tells an attacker where a site is weak, so it is its owner's alone (0600).

        Raises
        ------
        OSError : it cannot be written.
        """
        write_whole(path, self.html().encode())

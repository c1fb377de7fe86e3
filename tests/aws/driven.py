"""``orthweb`` in a process of its own against the emulator; what nobody can do here stands in for it.

    python -m aws.driven FOLDER up     # as `orthweb up`; how the site would be asked from outside is noted in FOLDER

A site's public name is AWS's and leads nowhere: instead of the site, a note is written of how it would be asked (over
verified HTTPS and DICOM TLS), and the second answer is yes. Waits between two looks are short.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cryptography import x509

from orthweb.access import SiteAccess
from orthweb.cli import app
from orthweb.targets.aws import bringup, hosts
from orthweb.targets.aws.target import AwsTarget


def asked(folder: Path, access: SiteAccess) -> str | None:
    """Note how the site would be asked; it answers from the second time on."""
    notes = folder / "asked.jsonl"
    authority = x509.load_pem_x509_certificate(access.ca.read_bytes())
    note = {
        "url": access.url,
        "dicom": f"{access.aet}@{access.host}:{access.dicom_port}",
        "user": access.credentials.user,
        "calling": access.check_aet,
        "ca": authority.subject.rfc4514_string(),
        "client": access.client is not None and access.client.key.stat().st_mode & 0o777,
    }
    first = not notes.exists()
    with notes.open("a") as stream:
        stream.write(json.dumps(note) + "\n")
    return "HTTPS: not yet" if first else None


def main() -> None:
    """Run a verb."""
    folder = Path(sys.argv.pop(1))
    defaults = AwsTarget.__init__.__kwdefaults__
    assert defaults is not None
    defaults["probe"] = lambda access: asked(folder, access)
    defaults["patience"] = bringup.Patience(ready=240, failed=8, answer=30)
    hosts.POLL = 1.0  # type: ignore[misc]
    app(standalone_mode=True)


if __name__ == "__main__":
    main()

"""Real sites for live tests: each in a folder of its own, on free ports, gone when the test is."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from orthweb.access import SiteAccess
from orthweb.targets.local import LocalTarget
from orthweb.targets.local.ports import is_free
from orthweb.tomltext import toml

ORTHWEB = [sys.executable, "-m", "orthweb"]


@functools.cache
def _claims() -> IO[bytes]:
    """Open the file in which every process of tests on this machine locks the ports that it chose (a byte each)."""
    path = Path(tempfile.gettempdir()) / f"orthweb-test-ports-{os.getuid()}"
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


def _claim(port: int) -> bool:
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def free_port(*, besides: int = 0) -> int:
    """Give a port that nobody listens on, outside the range that sites choose internal ports from.

    Often nobody listens on it for a while yet: other tests that run at the same time do not get it either, until this
    process ends.
    """
    while True:
        port = random.randint(15000, 19999)
        if port != besides and is_free(port) and _claim(port):
            return port


class LiveSite:
    """A site in a folder, with the verbs as a person calls them and the target as code calls it."""

    def __init__(self, folder: Path, **site: Any) -> None:
        self.folder = folder
        self.file = folder / "site.toml"
        self.https_port = free_port()
        self.dicom_port = free_port(besides=self.https_port)
        self.write(**site)

    def write(self, **site: Any) -> None:
        """Write the site file: tables as dictionaries; the edge's ports and the target are filled in."""
        edge = {"https_port": self.https_port, "dicom_port": self.dicom_port} | site.pop("edge", {})
        plain = {key: value for key, value in site.items() if not isinstance(value, Mapping)}
        plain = {"target": "local"} | plain  # whatever engines answer on this machine
        tables = {"edge": edge} | {key: value for key, value in site.items() if isinstance(value, Mapping)}
        lines = [f"{key} = {toml(value)}" for key, value in plain.items()]
        for name, table in tables.items():
            nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
            lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items() if key not in nested)]
            for key, inner in nested.items():
                lines += [f"[{name}.{key}]", *(f"{word} = {toml(value)}" for word, value in inner.items())]
        self.file.write_text("\n".join(lines) + "\n")

    @property
    def state(self) -> Path:
        """The state folder."""
        return (self.folder / ".orthweb").resolve()

    @property
    def target(self) -> LocalTarget:
        """The target, opened anew: the site file may have changed."""
        from orthweb.targets import open_site

        target = open_site(self.file)
        assert isinstance(target, LocalTarget)
        return target

    @property
    def access(self) -> SiteAccess:
        """How to reach the running site."""
        return self.target.access()

    def orthweb(self, *words: str, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Call the command as a person would."""
        command = [*ORTHWEB, "--site", str(self.file), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if check:
            assert done.returncode == 0, f"orthweb {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Call the command and do not wait for it."""
        command = [*ORTHWEB, "--site", str(self.file), *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def live_site(*, up: bool = True, **site: Any) -> Iterator[LiveSite]:
    """Give a site, brought up unless told otherwise; stop it and delete its folder afterwards.

    The folder is one that the services' users can reach (pytest's own temporary folders are closed to others).
    """
    folder = Path(tempfile.mkdtemp(prefix="orthweb-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    made = LiveSite(folder, **site)
    try:
        if up:
            made.orthweb("up")
        yield made
    finally:
        made.target.down()
        if os.environ.get("ORTHWEB_KEEP_SITES") is None:
            shutil.rmtree(folder, ignore_errors=True)

"""The Orthanc on this machine: its plugins, found by their files, and a place to try others in."""

from __future__ import annotations

import hashlib
import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orthweb.capabilities import probing
from orthweb.capabilities.build import IDENTIFIERS, OrthancBuild, Plugin, Version
from orthweb.render.supervisor import Account

PLUGIN_FOLDERS: Final = (Path("/usr/lib/orthanc"), Path("/usr/share/orthanc/plugins"))
"""Where Debian's packages put the plugins and the links to them."""


def version_of(program: Path) -> Version:
    """Ask an Orthanc for its version; () when it does not say one."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return version_in(said.stdout)


def version_in(text: str) -> Version:
    """Find a version in a text, such as a file's name; () when there is none."""
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def plugins(folders: Sequence[Path] = PLUGIN_FOLDERS) -> tuple[Plugin, ...]:
    """Find the newest library of each plugin; the version stands in the name of the real file."""
    found = (_plugin(name, folders) for name in IDENTIFIERS)
    return tuple(plugin for plugin in found if plugin is not None)


def _plugin(name: str, folders: Sequence[Path]) -> Plugin | None:
    found = [
        Plugin(name, path.resolve(), version_in(path.resolve().name) or (0,))
        for folder in folders
        for path in folder.glob(f"lib{'' if name == 'StoneWebViewer' else 'Orthanc'}{name}.so*")
    ]
    return max(found, key=lambda plugin: plugin.version, default=None)


CONFIGURATION: Final = "orthanc.json"


@dataclass(frozen=True)
class MachineScratch:
    """Starts this machine's Orthanc on its own, as the archive's user when root calls.

    Parameters
    ----------
    build : the Orthanc with its packaged plugins.
    account : who it runs as; None for the caller.
    folder : where its temporary folder is made; None for the system's place.
    """

    build: OrthancBuild
    setpriv: Path
    account: Account | None
    folder: Path | None = None

    @property
    def identity(self) -> str:
        """Binary and packaged plugins: path, size and time of change."""
        digest = hashlib.sha256()
        for path in (self.build.program, *(plugin.library for plugin in self.build.plugins)):
            found = path.stat()
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def start(self, configuration: str, libraries: Mapping[str, bytes]) -> tuple[str, int | None]:
        """Start Orthanc until it has started or ends, and end it; see `probing.Scratch`."""
        with tempfile.TemporaryDirectory(prefix="orthweb-trial-", dir=self.folder) as name:
            work = Path(name)
            lay_out(work, configuration.replace(str(probing.WORK), name), libraries)
            if self.account is not None:
                os.chown(work / probing.DATA.name, self.account.uid, self.account.gid)
            said, code = self._run(work)
            return said.replace(name, str(probing.WORK)), code

    def _run(self, work: Path) -> tuple[str, int | None]:
        who: list[str] = []
        if self.account is not None:
            who = ["--reuid", str(self.account.uid), "--regid", str(self.account.gid), "--clear-groups"]
        command = [str(self.setpriv), *who, "--no-new-privs", "--pdeathsig", "KILL"]
        command += ["--", str(self.build.program), str(work / CONFIGURATION)]
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(work)}
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
        ) as process:
            try:
                return listen(process)
            finally:
                process.kill()


def lay_out(work: Path, configuration: str, libraries: Mapping[str, bytes]) -> None:
    """Fill the folder of a trial, so that another user can read it and write to its data folder once it is theirs."""
    work.chmod(0o755)
    (work / probing.DATA.name).mkdir(0o700)
    for file, content in {CONFIGURATION: configuration.encode(), **libraries}.items():
        (work / file).write_bytes(content)
        (work / file).chmod(0o644)


def listen(process: subprocess.Popen[bytes]) -> tuple[str, int | None]:
    """Read what a process says until it says that it has started, or ends."""
    assert process.stdout is not None
    said = b""
    until = time.monotonic() + probing.SECONDS
    while (left := until - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        more = os.read(process.stdout.fileno(), 65536)
        said += more
        if probing.STARTED.encode() in said:
            return said.decode(errors="replace"), None
        if not more:
            return said.decode(errors="replace"), process.wait()
    return said.decode(errors="replace") + f"\nit did not start within {probing.SECONDS:.0f} seconds", 1

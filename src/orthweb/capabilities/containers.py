"""The Orthanc in an image, started in a container that reaches nothing and keeps nothing."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orthweb.capabilities import machine, probing
from orthweb.errors import OrthwebError
from orthweb.image.engine import Engine

NOBODY: Final = 65534


@dataclass(frozen=True)
class ContainerScratch:
    """Starts the Orthanc of an image on its own, as nobody.

    Parameters
    ----------
    image : its id.
    program : Orthanc's binary in it.
    folder : where its temporary folder is made, which the engine must see; None for the system's place.
    """

    engine: Engine
    image: str
    program: Path
    folder: Path | None = None

    @property
    def identity(self) -> str:
        """The image's id."""
        return self.image

    def start(self, configuration: str, libraries: Mapping[str, bytes]) -> tuple[str, int | None]:
        """Start Orthanc until it has started or ends, and end it; see `probing.Scratch`."""
        with tempfile.TemporaryDirectory(prefix="orthweb-trial-", dir=self.folder) as name:
            work = Path(name)
            machine.lay_out(work, configuration, libraries)
            label = f"orthweb-trial-{uuid.uuid4().hex[:12]}"
            try:
                with subprocess.Popen(
                    [str(self.engine.program), *self._command(label, work)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=self.engine.environment(),
                ) as process:
                    try:
                        said, code = machine.listen(process)
                    finally:
                        process.kill()
            finally:
                with contextlib.suppress(OrthwebError):  # it may have ended, and removed itself
                    self.engine.run("rm", "--force", label)
            # A shell's way to tell a signal, which docker has too.
            return said, code if code is None or code <= 128 or code == 255 else 128 - code

    def _command(self, label: str, work: Path) -> list[str]:
        own = f"uid={NOBODY},gid={NOBODY},mode=0700"
        return [
            *("run", "--rm", "--name", label, "--network", "none", "--read-only"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--user", f"{NOBODY}:{NOBODY}"),
            *("--mount", f"type=bind,source={work},target={probing.WORK},readonly"),
            *("--tmpfs", f"{probing.DATA}:{own}", "--tmpfs", f"/tmp:{own}"),  # noqa: S108  its own, in memory
            *("--entrypoint", str(self.program), self.image, str(probing.WORK / machine.CONFIGURATION)),
        ]

"""The containers' logs, which the engine keeps and rotates."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from orthweb.image.engine import Engine
from orthweb.logs import Tail

ACCESS = "edge-access"
"""The edge writes requests to its standard output, and what it says of itself to its standard error."""


class ContainerLogs:
    """Logs of containers.

    Parameters
    ----------
    containers : their names by service; those that exist.
    """

    def __init__(self, engine: Engine, containers: dict[str, str]) -> None:
        self._engine = engine
        self._containers = containers

    def names(self) -> Sequence[str]:
        """Name the logs that there are."""
        return [*self._containers, *([ACCESS] if "edge" in self._containers else [])]

    def tail(self, name: str, lines: int, *, follow: bool = False) -> Tail:
        """Open a log at its last lines."""
        return _ContainerTail(self._start(name, ["--tail", str(lines), *(["--follow"] if follow else [])]), follow)

    def end(self, name: str, size: int) -> bytes:
        """Give the last bytes of a log; none when there is no such log."""
        if name not in self.names():
            return b""
        # An access log's line has some 500 bytes.
        with self._start(name, ["--tail", str(size // 100)]) as process:
            return process.communicate()[0][-size:]

    def _start(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        access, edge = name == ACCESS, name == "edge"
        command = [str(self._engine.program), "logs", *words, self._containers["edge" if access else name]]
        if edge:
            output, errors = subprocess.DEVNULL, subprocess.PIPE
        else:
            output, errors = subprocess.PIPE, subprocess.DEVNULL if access else subprocess.STDOUT
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=self._engine.environment()
        )
        if edge:
            process.stdout, process.stderr = process.stderr, None
        return process


class _ContainerTail:
    """What ``docker logs`` writes, as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], follow: bool) -> None:
        self._process = process
        self._follow = follow
        self._rest = b""

    def new(self) -> list[str]:
        """Give the lines that came since the last call; at first the last ones."""
        stream = self._process.stdout
        assert stream is not None
        if not self._follow:
            return stream.read().decode(errors="replace").splitlines()
        os.set_blocking(stream.fileno(), False)
        *lines, self._rest = (self._rest + (stream.read() or b"")).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """Stop looking."""
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

"""``orthweb logs``: what the services say."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from orthweb.cli import console
from orthweb.errors import NotRunningError, UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(logs)


def logs(
    service: Annotated[str | None, typer.Argument(help="One service; all when none is named.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Print the services' logs: index, archive, edge, edge-access, supervisor."""
    from orthweb.targets import open_site

    files = dict(open_site(console.settings.site_file).log_files())
    if service is not None:
        if service not in files:
            raise UsageError(f"{service}: no such service", f"one of {', '.join(files)}")
        files = {service: files[service]}
    present = {name: path for name, path in files.items() if path.exists()}
    if not present:
        raise NotRunningError("there are no logs yet", "orthweb up")
    width = max(map(len, present)) if len(present) > 1 else 0
    followed = {name: _Tail(path, lines) for name, path in present.items()}
    try:
        while True:
            for name, tail in followed.items():
                for line in tail.new():
                    console.out(f"{name:<{width}}  {line}" if width else line)
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(0.2)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.stderr.close()
        raise typer.Exit(0) from None


class _Tail:
    """The end of a file that grows, and starts anew when it is rotated."""

    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._lines: int | None = lines
        self._position = 0
        self._inode = 0

    def new(self) -> list[str]:
        """Give the lines that came since the last call; at first the last ones."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return []
        if found.st_ino != self._inode or found.st_size < self._position:
            self._inode, self._position = found.st_ino, 0
        with self._path.open(errors="replace") as stream:
            stream.seek(self._position)
            if self._lines is not None:
                result = list(deque(stream, maxlen=self._lines))
                self._lines = None
            else:
                result = stream.readlines()
            if result and not result[-1].endswith("\n"):
                self._position = stream.tell() - len(result.pop().encode())
            else:
                self._position = stream.tell()
        return [line.rstrip("\n") for line in result]

"""Sites in containers of the tests' own engine."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

from live.docker_engine import DockerEngine
from live.sites import LiveSite
from orthweb.targets.docker import DockerTarget


class DockerSite(LiveSite):
    """A site in containers, with the verbs as a person calls them and the target as code calls it."""

    def write(self, **site: Any) -> None:
        """Write the site file: tables as dictionaries; target and the edge's ports are filled in."""
        super().write(**({"target": "docker"} | site))

    @property
    def target(self) -> DockerTarget:  # type: ignore[override]
        """The target, opened anew: the site file may have changed."""
        from orthweb.targets import open_site

        target = open_site(self.file)
        assert isinstance(target, DockerTarget)
        return target

    def container(self, service: str) -> str:
        """Name a service's container."""
        return self.target.place.container(service)


@contextmanager
def docker_site(*, up: bool = True, **site: Any) -> Iterator[DockerSite]:
    """Give a site in containers, brought up unless told otherwise; remove it and its folder afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="orthweb-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    made = DockerSite(folder, **site)
    try:
        if up:
            made.orthweb("up")
        yield made
    finally:
        made.orthweb("down", check=False)
        if os.environ.get("ORTHWEB_KEEP_SITES") is None:
            shutil.rmtree(folder, ignore_errors=True)


class DockerIndex:
    """A site's own index.

    Parameters
    ----------
    site : runs already.
    """

    def __init__(self, site: DockerSite, engine: DockerEngine) -> None:
        self._engine = engine
        self._container = site.container("index")

    def as_owner(self, statement: LiteralString, *, database: str) -> list[Any]:
        """Ask as the superuser, over the socket in its container; every value is text."""
        words = ("psql", "--host=/run/orthweb", "--username=postgres", f"--dbname={database}", "--no-psqlrc", "--csv")
        said = self._engine.docker("exec", self._container, *words, "--tuples-only", f"--command={statement}")
        return [tuple(row) for row in csv.reader(said.splitlines())]

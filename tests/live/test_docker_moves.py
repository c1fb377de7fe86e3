"""A site that moves from local processes to containers and back, or is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from live.docker_engine import DockerEngine
from live.edge_clients import https, image, store
from live.sites import LiveSite, live_site
from orthweb import image as images_of
from orthweb.targets import open_site
from orthweb.targets.local import programs

pytestmark = pytest.mark.usefixtures("docker_host", "images")

FILES = """
FROM {base}
USER 0:0
COPY postgresql /usr/lib/postgresql/{major}
COPY share /usr/share/postgresql/{major}
COPY libraries /usr/local/lib/postgresql-{major}
ENV LD_LIBRARY_PATH=/usr/local/lib/postgresql-{major} PATH=/usr/lib/postgresql/{major}/bin:/usr/bin:/bin
USER 64203:64203
"""
"""The index's image with the PostgreSQL of this machine instead of its own: another Debian's image would have it."""

OF_EVERY_DEBIAN = re.compile(r"/(ld-linux|libc|libm|libdl|librt|libpthread|libresolv)[-.]")


@contextmanager
def same_postgresql(engine: DockerEngine, folder: Path) -> Iterator[None]:
    """Let the index's image have the PostgreSQL version of this machine while the block runs."""
    here = programs.find()
    reference = images_of.reference("index")
    said = engine.docker("run", "--rm", "--network", "none", "--entrypoint", "postgres", reference, "--version")
    if f" {here.postgresql_major}." in said:
        yield
        return
    own = "orthweb/index:own"  # BuildKit asks a registry for an image that is named by its id
    engine.docker("tag", reference, own)
    shutil.copytree(here.postgresql.parent, folder / "postgresql", symlinks=True)
    shutil.copytree(f"/usr/share/postgresql/{here.postgresql_major}", folder / "share", symlinks=True)
    (folder / "libraries").mkdir()
    for program in ("postgres", "initdb", "pg_isready"):
        needed = subprocess.run(["ldd", here.postgresql / program], capture_output=True, text=True, check=True).stdout
        for path in re.findall(r"=> (/\S+)", needed):
            if not OF_EVERY_DEBIAN.search(path):
                shutil.copy(path, folder / "libraries")
    (folder / "Dockerfile").write_text(FILES.format(base=own, major=here.postgresql_major))
    engine.docker("build", "--quiet", "--tag", reference, str(folder))
    try:
        yield
    finally:
        engine.docker("tag", own, reference)
        engine.docker("rmi", "--no-prune", own)


def refused(site: LiveSite, verb: str) -> str:
    done = site.orthweb(verb, check=False)
    assert done.returncode == 2, done.stdout
    return done.stderr


def actions(site: LiveSite, verb: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.orthweb(verb, "--json").stdout)
    return found


def target_of(site: LiveSite) -> str:
    found: dict[str, Any] = json.loads(site.orthweb("status", "--json", check=False).stdout)
    return str(found["target"])


def studies(site: LiveSite) -> set[str]:
    with https(open_site(site.file).access()) as client:
        return {each["0020000D"]["Value"][0] for each in client.get("/dicom-web/studies").json()}


def test_site_when_its_target_changes_there_and_back_then_keeps_what_it_has(
    docker_engine: DockerEngine, tmp_path: Path, as_root: None
) -> None:
    with same_postgresql(docker_engine, tmp_path), live_site() as site:
        first, second, third = image(), image(), image()
        access = site.access
        assert store(access, first) == [0]
        password = access.credentials.password

        site.write(target="docker")
        assert "runs as processes of this machine now" in refused(site, "up")
        assert target_of(site) == "local"
        site.orthweb("down")
        owners = {item["what"] for item in actions(site, "plan") if item["why"].startswith("owner: ")}
        assert owners == {str(site.state / "index/data"), str(site.state / "store")}
        site.orthweb("up")
        assert target_of(site) == "docker"
        access = open_site(site.file).access()
        assert access.credentials.password == password
        assert store(access, second) == [0]
        assert studies(site) == {first.StudyInstanceUID, second.StudyInstanceUID}
        assert json.loads(site.orthweb("validate", "--json").stdout)["passed"] is True

        site.write(target="local")
        assert "has containers of a Docker engine" in refused(site, "up")
        site.orthweb("down")
        site.orthweb("up")
        assert target_of(site) == "local"
        assert store(site.access, third) == [0]
        assert studies(site) == {first.StudyInstanceUID, second.StudyInstanceUID, third.StudyInstanceUID}


def test_site_when_the_other_target_has_another_postgresql_then_is_refused_and_unchanged() -> None:
    with live_site() as site:
        made = image()
        assert store(site.access, made) == [0]
        site.orthweb("down")
        version = site.state / "index/data/PG_VERSION"
        was = version.read_text()
        version.write_text("9\n")
        for target in ("docker", "local"):
            site.write(target=target)
            for verb in ("plan", "up"):
                assert re.search(r"made by PostgreSQL 9, .*(has PostgreSQL|there is) \d+", refused(site, verb))
        version.write_text(was)
        site.write(target="local")
        site.orthweb("up")
        assert studies(site) == {made.StudyInstanceUID}


def test_up_when_no_target_is_named_then_takes_the_engine_that_answers_and_says_so(
    docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live_site(up=False) as site:
        site.file.write_text(site.file.read_text().replace('target = "local"\n', ""))
        assert "target: docker, a Docker engine answers" in site.orthweb("plan").stderr
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        assert "target: local, no Docker engine answers" in site.orthweb("plan").stderr
        site.write(target="docker")
        assert "no Docker engine answers" in refused(site, "plan")
        site.write(target="local")

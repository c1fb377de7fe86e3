"""Another archive image, and plugins of a site's own, in containers.

No registry may be reachable: the image is our own with its Orthanc and plugins moved to where the Orthanc team's image
has them (its Dockerfile, orthanc-builder 26.8), with an entry point that must not run.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live.c_plugins import build, listed
from live.counting import client, eventually
from live.docker_engine import DockerEngine
from live.sites import LiveSite
from orthweb import image
from orthweb.targets import open_site

REFERENCE = "orthweb-test/upstream:26.8.1"
AVAILABLE = "/usr/share/orthanc/plugins-available"
LAYOUT = f"""\
FROM {image.reference("archive")}
USER 0:0
RUN mkdir -p {AVAILABLE} /usr/local/bin /moved \\
 && for name in DicomWeb Gdcm Python PostgreSQLIndex PostgreSQLStorage; do \\
        cp -L /usr/share/orthanc/plugins/libOrthanc$name.so {AVAILABLE}/ ; done \\
 && printf broken > {AVAILABLE}/libOrthancExplorer2.so \\
 && cp "$(command -v Orthanc)" /usr/local/bin/Orthanc.new && rm "$(command -v Orthanc)" \\
 && mv /usr/local/bin/Orthanc.new /usr/local/bin/Orthanc \\
 && mv /usr/lib/orthanc /usr/share/orthanc/plugins /usr/lib/orthweb /moved/
HEALTHCHECK NONE
ENTRYPOINT ["/bin/false"]
CMD ["/tmp/orthanc.json"]
"""

pytestmark = pytest.mark.usefixtures("docker_host")


@pytest.fixture(scope="module")
def upstream(docker_engine: DockerEngine, images: dict[str, image.Built]) -> str:
    assert "archive" in images
    environment = docker_engine.engine.environment() | {"DOCKER_BUILDKIT": "0"}
    command = [str(docker_engine.engine.program), "build", "--network", "none", "--tag", REFERENCE, "-"]
    done = subprocess.run(command, input=LAYOUT, text=True, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return REFERENCE


@pytest.fixture(scope="module")
def contained(
    program: Callable[[str], Path], upstream: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveSite, Path, Path]]:
    folder = tmp_path_factory.mktemp("plugins")
    compiler = program("gcc")
    good = build(compiler, folder / "good.so", "sample")
    place = Path(tempfile.mkdtemp(prefix="orthweb-test-", dir="/var/tmp"))
    place.chmod(0o755)
    site = LiveSite(place, target="docker", archive={"image": upstream, "extra_plugins": listed(good)})
    try:
        site.orthweb("up", timeout=300)
        yield site, good, compiler
    finally:
        site.orthweb("down", check=False)
        shutil.rmtree(place, ignore_errors=True)


def test_site_when_the_image_is_laid_out_as_upstream_then_it_runs_with_its_plugins_and_the_sites(
    contained: tuple[LiveSite, Path, Path],
) -> None:
    site, _, _ = contained
    with client(open_site(site.file).access()) as http:
        names = [name for name in http.get("/plugins").json() if name != "explorer.js"]
        found = {name: http.get(f"/plugins/{name}").json() for name in names}
    assert found["sample"]["Version"] == "2.1"
    assert {"dicom-web", "gdcm", "python", "postgresql-index"} <= set(found)
    configuration = (site.state / "archive/configuration/orthanc.json").read_text()
    assert f"{AVAILABLE}/libOrthancDicomWeb.so" in configuration
    assert "Explorer2" not in configuration, "what does not load is left out"
    done = site.orthweb("validate", "--group", "dicom", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_plugin_when_it_does_not_load_in_the_image_then_said_and_no_container_is_touched(
    contained: tuple[LiveSite, Path, Path], docker_engine: DockerEngine
) -> None:
    site, good, compiler = contained
    bad = build(compiler, good.with_name("bad.so"), "bad", REFUSES='"Orthanc must be above 1.99.0"')
    before = docker_engine.docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}")
    site.write(target="docker", archive={"image": REFERENCE, "extra_plugins": listed(good, bad)})
    said = site.orthweb("up", check=False)
    site.write(target="docker", archive={"image": REFERENCE, "extra_plugins": listed(good)})
    assert said.returncode == 2
    assert f"archive.extra_plugins[1].path: {bad} (bad 2.1): does not load in Orthanc" in said.stderr
    assert "must be above 1.99.0" in said.stderr
    assert docker_engine.docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}") == before


def test_newer_index_plugin_when_it_does_not_change_the_schema_then_undone_and_the_site_as_it_was(
    contained: tuple[LiveSite, Path, Path],
) -> None:
    """The schema is changed in containers as it is in processes (`test_extra_plugins.py` proves the rest)."""
    site, good, compiler = contained
    newer = build(compiler, good.with_name("index.so"), "postgresql-index", "10.3")
    site.write(target="docker", archive={"image": REFERENCE, "extra_plugins": listed(good, newer)})
    assert "schema: revision 1 becomes revision 10 by PostgreSQLIndex 10.3" in site.orthweb("plan").stdout
    said = site.orthweb("up", check=False, timeout=300)
    site.write(target="docker", archive={"image": REFERENCE, "extra_plugins": listed(good)})
    assert said.returncode == 1
    assert "the index keeps schema revision 1: the index has schema revision 1, not 10" in said.stderr
    (snapshot,) = (site.state / "backups").iterdir()
    assert str(snapshot) in said.stderr
    eventually(lambda: open_site(site.file).status().answers, 120, "the site does not answer again")

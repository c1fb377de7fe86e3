"""Plugins that the site file names: tried apart, loaded, given up again; the site never suffers from a wrong one."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live.c_plugins import build, listed
from live.counting import client
from live.sites import LiveSite, live_site
from orthweb.store.index import connect

NEWER = '"Your version of Orthanc (1.10.1) must be above 1.13.0 to run this plugin"'


CHANGE = """\
# Only while the schema is changed is there such a socket.
[ -e /tmp/orthweb-schema-*/socket/.s.PGSQL.5432 ] || exit 0
export PGPASSFILE=$(echo /tmp/orthweb-schema-*/passfile)
exec {psql} -q -h /tmp/orthweb-schema-*/socket -U orthanc -d orthanc \\
    -c "UPDATE GlobalProperties SET value = '10' WHERE property = 4"
"""


@pytest.fixture(scope="module")
def compiler(program: Callable[[str], Path]) -> Path:
    return program("gcc")


@pytest.fixture(scope="module")
def plugins_site(compiler: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveSite, Path]]:
    """A running site with one plugin of its own, in a folder that the archive's user cannot reach."""
    folder = tmp_path_factory.mktemp("plugins")
    folder.chmod(0o700)
    good = build(compiler, folder / "good.so", "sample")
    with live_site(archive={"extra_plugins": listed(good)}) as site:
        yield site, folder


def loaded(site: LiveSite) -> dict[str, str]:
    """Ask the running archive for its plugins and their versions."""
    with client(site.access) as http:
        names = [name for name in http.get("/plugins").json() if name != "explorer.js"]
        return {name: http.get(f"/plugins/{name}").json()["Version"] for name in names}


def processes(site: LiveSite) -> dict[str, int]:
    """Give the process number of each service: as long as it is the same, nothing was restarted."""
    return {each.name: each.pid for each in site.target.status().services if each.pid is not None}


def snapshots(site: LiveSite) -> list[Path]:
    return sorted((site.state / "backups").glob("*"))


def revision(site: LiveSite) -> str | None:
    facts = site.target.host_facts().index
    assert facts is not None
    with connect(facts) as connection:
        row = connection.execute("SELECT value FROM GlobalProperties WHERE property = 4").fetchone()
    return None if row is None else str(row[0])


def test_plugin_when_named_in_the_site_file_then_the_running_archive_has_it(
    plugins_site: tuple[LiveSite, Path],
) -> None:
    site, folder = plugins_site
    assert loaded(site)["sample"] == "2.1"
    delivered = list((site.state / "plugins").iterdir())
    assert [path.read_bytes() for path in delivered] == [(folder / "good.so").read_bytes()]
    before = processes(site)
    done = site.orthweb("up")
    assert "restart" not in done.stdout
    assert processes(site) == before


@pytest.mark.parametrize(
    ("defined", "expected"),
    [
        ({"REFUSES": NEWER}, "must be above 1.13.0 to run this plugin; get the build for Orthanc"),
        ({"CRASHES": "1"}, "Orthanc crashed while it loaded it (SIGSEGV)"),
        ({"NEEDS": "from_a_newer_library"}, "undefined symbol: from_a_newer_library; get the build for this system's"),
        ({"ENTRY_MISSING": "1"}, "does not declare the proper entry functions; name a plugin of Orthanc"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_plugin_when_it_does_not_load_then_up_says_why_and_the_site_goes_on_untouched(
    plugins_site: tuple[LiveSite, Path], compiler: Path, defined: dict[str, str], expected: str
) -> None:
    site, folder = plugins_site
    bad = build(compiler, folder / "bad.so", "bad", **defined)
    before, configuration = processes(site), (site.state / "archive/configuration/orthanc.json").read_bytes()
    site.write(archive={"extra_plugins": listed(folder / "good.so", bad)})
    for verb in ("plan", "up") if "REFUSES" in defined else ("up",):
        said = site.orthweb(verb, check=False)
        assert said.returncode == 2
        (line,) = [each for each in said.stderr.splitlines() if each.startswith("error:")]
        assert f"archive.extra_plugins[1].path: {bad}" in line
        assert expected in line
    site.write(archive={"extra_plugins": listed(folder / "good.so")})
    assert processes(site) == before
    assert (site.state / "archive/configuration/orthanc.json").read_bytes() == configuration
    assert loaded(site)["sample"] == "2.1"


def test_file_when_it_is_no_library_or_another_one_then_named_before_anything_is_tried(
    plugins_site: tuple[LiveSite, Path],
) -> None:
    site, folder = plugins_site
    text = folder / "text.so"
    text.write_text("a text\n")
    site.write(archive={"extra_plugins": listed(text)})
    assert "is no shared object (ELF)" in site.orthweb("up", check=False).stderr
    wrong = hashlib.sha256(b"another").hexdigest()
    good = folder / "good.so"
    site.write(archive={"extra_plugins": [{"path": str(good), "sha256": wrong}]})
    said = site.orthweb("up", check=False)
    assert said.returncode == 2
    assert f"archive.extra_plugins[0].sha256: {wrong}: {good} has {listed(good)[0]['sha256']}" in said.stderr
    site.write(archive={"extra_plugins": listed(good)})


def test_plugin_of_a_packaged_name_when_loaded_then_the_packaged_one_steps_aside_and_comes_back(
    plugins_site: tuple[LiveSite, Path], compiler: Path
) -> None:
    site, folder = plugins_site
    packaged = loaded(site)["gdcm"]
    own = build(compiler, folder / "own-gdcm.so", "gdcm", "99.0")
    site.write(archive={"extra_plugins": listed(own)})
    site.orthweb("up")
    found = loaded(site)
    assert found["gdcm"] == "99.0"
    assert "sample" not in found
    assert [path.name.split("-")[0] for path in (site.state / "plugins").iterdir()] == ["own"]
    site.write(archive={"extra_plugins": listed(folder / "good.so")})
    site.orthweb("up")
    assert loaded(site)["gdcm"] == packaged


def test_newer_index_plugin_when_it_does_not_change_the_schema_then_undone_and_the_site_as_it_was(
    plugins_site: tuple[LiveSite, Path], compiler: Path
) -> None:
    site, folder = plugins_site
    before, was = loaded(site), revision(site)
    newer = build(compiler, folder / "index.so", "postgresql-index", "10.3")
    site.write(archive={"extra_plugins": listed(folder / "good.so", newer)})
    plan = site.orthweb("plan").stdout
    assert "schema: revision 1 becomes revision 10 by PostgreSQLIndex 10.3; a snapshot is taken first" in plan
    said = site.orthweb("up", check=False)
    assert said.returncode == 1
    assert "the index keeps schema revision 1" in said.stderr
    (snapshot,) = snapshots(site)
    assert str(snapshot) in said.stderr
    assert snapshot.name.endswith("-revision-1")
    assert (snapshot / "PG_VERSION").is_file()
    assert (site.state / "backups").stat().st_mode & 0o077 == 0
    site.write(archive={"extra_plugins": listed(folder / "good.so")})
    assert loaded(site) == before
    assert revision(site) == was == "1"
    assert site.target.status().answers


def test_newer_index_plugin_when_it_changes_the_schema_then_a_snapshot_is_the_way_back(
    plugins_site: tuple[LiveSite, Path], compiler: Path, program: Callable[[str], Path]
) -> None:
    """A stand-in for a plugin that this Orthanc is too old for: it writes the revision, and does nothing else."""
    site, folder = plugins_site
    script = site.folder / "change"  # where the archive's user can read it
    script.write_text(CHANGE.format(psql=program("psql")))
    script.chmod(0o644)
    newer = build(compiler, folder / "index.so", "postgresql-index", "10.3", RUNS=f'"sh {script}"')
    earlier = snapshots(site)
    site.write(archive={"extra_plugins": listed(newer)})
    done = site.orthweb("up")
    assert "schema: revision 1 becomes revision 10" in done.stdout
    (snapshot,) = set(snapshots(site)) - set(earlier)
    assert loaded(site)["postgresql-index"] == "10.3"
    assert "reader" not in processes(site), "with a newer plugin one Orthanc does both"
    assert "restart" not in site.orthweb("up").stdout
    before = processes(site)

    site.write()
    said = site.orthweb("up", check=False)
    assert said.returncode == 2
    assert "the index has schema revision 10, and PostgreSQLIndex 4.0 knows 1: a schema does not go back" in said.stderr
    assert f"restore the snapshot {snapshot}" in said.stderr
    assert processes(site) == before
    site.orthweb("down")
    assert "the index has schema revision 10" in site.orthweb("plan", check=False).stderr, (
        "a stopped index is asked too"
    )

    # As docs/capabilities.md tells it.
    data = site.state / "index" / "data"
    data.rename(data.with_name("data.newer"))
    subprocess.run(["cp", "-a", snapshot, data], check=True)
    site.orthweb("up")
    assert revision(site) == "1"
    assert loaded(site)["postgresql-index"] == "4.0"

"""An index that is a database of somebody else's server, for a site of processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from live.counting import account, samples, sending
from live.postgresql_server import PostgresqlServer, postgresql_server
from live.sites import LiveSite, live_site
from orthweb.capabilities.build import OrthancBuild, Plugin
from orthweb.errors import SiteFileError
from orthweb.sitefile.reading import parse
from orthweb.state import StateFolder
from orthweb.targets.host import external
from orthweb.tomltext import toml

PASSWORD = "A hospital's: own\\password"
"""With what a password file has to quote."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as made:
        made.make_archive_user(PASSWORD.replace("'", "''"))
        yield made


def index(server: PostgresqlServer, folder: Path, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    """Give the [index] of a site file."""
    file = folder / "index-password"
    file.touch(0o600)
    file.write_text(password + "\n")
    return {"host": server.host, "port": server.port, "password": str(file), "ca": str(server.ca)} | more


@pytest.fixture(scope="module")
def site(server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    with live_site(index=index(server, tmp_path_factory.mktemp("password"))) as made:
        yield made


def password_file(site: LiveSite) -> Path:
    line = next(line for line in site.file.read_text().splitlines() if line.startswith("password = "))
    return Path(json.loads(line.removeprefix("password = ")))


def pids(site: LiveSite) -> dict[str, int]:
    return {each["name"]: each["pid"] for each in json.loads(site.orthweb("status", "--json").stdout)["services"]}


def test_site_then_runs_no_index_of_its_own_and_says_where_it_is(site: LiveSite, server: PostgresqlServer) -> None:
    status = json.loads(site.orthweb("status", "--json").stdout)
    assert status["answers"]
    assert "index" not in [each["name"] for each in status["services"]]
    assert status["facts"]["index"] == f"localhost:{server.port}/orthanc"
    assert not (site.state / "index").exists()
    assert "Nothing to change" in site.orthweb("plan").stdout


def test_site_then_passes_validation(site: LiveSite) -> None:
    site.orthweb("validate")


def test_password_when_it_changes_while_images_come_in_then_is_used_without_a_restart(
    site: LiveSite, server: PostgresqlServer, tmp_path: Path
) -> None:
    sent, before = samples(tmp_path, 120, seed="rotation"), pids(site)
    with sending(site, sent) as books:
        books.wait_for(20)
        server.as_owner("ALTER ROLE orthanc PASSWORD 'Another0One'")
        password_file(site).write_text("Another0One\n")
        said = site.orthweb("up").stdout
        assert "restart" not in said
        # What was open goes on with the old one until it ends.
        server.as_owner("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'orthanc'")
    found = account(site, sent, books.acknowledged)
    assert found.kept, found
    assert found.acknowledged == len(sent), books
    assert pids(site) == before


def test_own_index_when_the_server_is_taken_out_of_the_file_then_is_refused(
    site: LiveSite, server: PostgresqlServer
) -> None:
    before = site.file.read_text()
    site.write()
    try:
        done = site.orthweb("up", check=False)
    finally:
        site.file.write_text(before)
    assert done.returncode == 2
    assert f"index.host: is gone; this site's index is localhost:{server.port}/orthanc" in done.stderr


def test_empty_server_when_the_site_has_another_then_is_refused(site: LiveSite, tmp_path: Path) -> None:
    before = site.file.read_text()
    with postgresql_server() as other:
        other.make_archive_user("Other0Server")
        site.write(index=index(other, tmp_path, "Other0Server"))
        try:
            done = site.orthweb("up", check=False)
        finally:
            site.file.write_text(before)
    assert done.returncode == 2
    assert "is empty, and this site's index is localhost:" in done.stderr


def test_store_check_then_finds_index_and_store_alike(site: LiveSite) -> None:
    site.orthweb("store", "check")


def refusal(made: LiveSite) -> str:
    done = made.orthweb("up", check=False)
    assert done.returncode in (1, 2)
    assert not (made.state / "archive").exists(), "nothing is made before the index is known to serve"
    return done.stderr


def test_wrong_password_then_names_the_key_and_makes_nothing(server: PostgresqlServer, tmp_path: Path) -> None:
    with live_site(up=False, index=index(server, tmp_path, "wrong")) as made:
        said = refusal(made)
    assert "index.user: orthanc cannot sign in to the database orthanc" in said
    assert "wrong" not in said.replace("password", "")


def test_password_file_that_others_can_read_then_is_refused(server: PostgresqlServer, tmp_path: Path) -> None:
    wanted = index(server, tmp_path)
    Path(wanted["password"]).chmod(0o644)
    with live_site(up=False, index=wanted) as made:
        assert "index.password: " in refusal(made)


def test_server_with_a_certificate_of_another_ca_then_is_refused(server: PostgresqlServer, tmp_path: Path) -> None:
    with postgresql_server() as other, live_site(up=False, index=index(server, tmp_path, ca=str(other.ca))) as made:
        said = refusal(made)
    assert "index.host: " in said
    assert "certificate verify failed" in said


def test_server_with_too_few_connections_then_is_refused(tmp_path: Path) -> None:
    with postgresql_server(max_connections=12) as small:
        small.make_archive_user("Small0Server")
        wanted = index(small, tmp_path, "Small0Server", connections=8)
        with live_site(up=False, index=wanted, archive={"readers": 1}) as made:
            said = refusal(made)
    assert "index.connections: 2 Orthanc processes would keep 16 connections" in said
    assert "takes 9" in said


def test_site_with_an_index_of_its_own_then_keeps_it(server: PostgresqlServer, tmp_path: Path, site: LiveSite) -> None:
    with live_site() as made:
        made.orthweb("down")
        made.write(index=index(server, tmp_path, "Another0One"))
        done = made.orthweb("up", check=False)
    assert done.returncode == 2
    assert "index.host: this site's index is its own" in done.stderr


@dataclass(frozen=True)
class Plugged:
    """A place whose Orthanc has some PostgreSQL plugin; what `external.due` looks at."""

    site: Any
    state: StateFolder
    build: OrthancBuild


@pytest.fixture
def old(server: PostgresqlServer, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """An index that plugin 5.0 made, in a database of its own."""
    server.make_archive_user("Old0Index", "old", "old")
    table = "CREATE TABLE globalproperties (property int, value text)"
    server.as_owner(f"SET ROLE old; {table}; INSERT INTO globalproperties VALUES (1, '6'), (4, '1')", database="old")
    yield index(server, tmp_path, "Old0Index", user="old", database="old")
    server.as_owner("DROP DATABASE old WITH (FORCE)")
    server.as_owner("DROP ROLE old")


def plugged(wanted: dict[str, Any], folder: Path, version: tuple[int, ...], **more: str) -> Any:
    lines = [f"{key} = {toml(value)}" for key, value in (wanted | more).items()]
    site = parse("[index]\n" + "\n".join(lines) + "\n", folder / "site.toml")[0]
    plugin = Plugin("PostgreSQLIndex", Path("/usr/lib/plugin.so"), version)
    return Plugged(site, StateFolder(folder), OrthancBuild(Path("/usr/sbin/Orthanc"), (1, 12, 7), (plugin,)))


def test_newer_plugin_when_nobody_has_taken_a_snapshot_then_is_refused_with_the_next_step(
    old: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SiteFileError) as raised:
        external.due(plugged(old, tmp_path, (10, 3)))
    assert 'then set index.snapshot_before = "10.3"' in str(raised.value)
    with pytest.raises(SiteFileError):  # a word for another one is none for this
        external.due(plugged(old, tmp_path, (10, 3), snapshot_before="7.0"))


def test_newer_plugin_when_there_is_a_snapshot_then_changes_the_schema(old: dict[str, Any], tmp_path: Path) -> None:
    upgrade = external.due(plugged(old, tmp_path, (10, 3), snapshot_before="10.3"))
    assert upgrade is not None
    assert (upgrade.revision, upgrade.plugin.version) == (1, (10, 3))


def test_plugin_of_the_same_schema_then_needs_no_word(old: dict[str, Any], tmp_path: Path) -> None:
    assert external.due(plugged(old, tmp_path, (5, 0))) is None


def test_destroy_then_leaves_the_database_alone_and_says_so(server: PostgresqlServer, site: LiveSite) -> None:
    """The last test of the site."""
    done = site.orthweb("destroy", "--data", "--yes")
    assert f"localhost:{server.port}/orthanc: is somebody else's server" in done.stdout + done.stderr
    ((count,),) = server.as_owner("SELECT count(*) FROM attachedfiles", database="orthanc")
    assert count > 0

"""The verbs of a local site, as a person calls them."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import orthweb
from live.edge_clients import echo_status, https, image, store, tls_socket, until
from live.sites import ORTHWEB, LiveSite, live_site
from live.terminals import at_a_terminal


def status(site: LiveSite) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.orthweb("status", "--json", check=False).stdout)
    return found


def pids(site: LiveSite) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in status(site)["services"]}


@contextmanager
def site_in(folder: Path, **site: Any) -> Iterator[LiveSite]:
    """Give a site in this very folder, which is deleted afterwards."""
    folder.mkdir(parents=True)
    made = LiveSite(folder, **site)
    try:
        yield made
    finally:
        made.orthweb("destroy", "--data", "--yes", check=False)
        shutil.rmtree(folder)


def found_in(site: LiveSite, uid: str) -> int:
    with https(site.access) as client:
        return len(client.get("/dicom-web/studies", params={"StudyInstanceUID": uid}).json())


# -- one after the other ----------------------------------------------------------------------------------------------


def test_person_from_nothing_to_a_site_and_back_then_each_verb_does_what_it_says() -> None:
    with live_site(up=False) as site:
        command = [*ORTHWEB, "--site", str(site.file)]
        ports = [f"edge.https_port={site.https_port}", f"edge.dicom_port={site.dicom_port}"]
        site.file.unlink()

        code, screen = at_a_terminal([*command, "init", *(word for port in ports for word in ("--set", port))])
        assert code == 0, screen
        assert tomllib.loads(site.file.read_text())["edge"]["https_port"] == site.https_port
        again = site.orthweb("init", check=False)
        assert (again.returncode, "--force" in again.stderr) == (2, True)

        assert str(site.https_port) in site.orthweb("config").stdout
        assert "create" in site.orthweb("plan").stdout
        assert status(site)["state"] == "absent"
        down = site.orthweb("down", check=False)
        assert down.returncode == 0

        code, screen = at_a_terminal([*command, "up"])
        assert code == 0, screen
        assert f"https://localhost:{site.https_port}/" in screen
        assert status(site)["answers"] is True
        made = image()
        assert store(site.access, made) == [0]
        assert "archive" in site.orthweb("logs", "-n", "5").stdout
        assert "Orthanc has started" in site.orthweb("logs", "archive").stdout

        password = (site.state / "secrets/admin-password").read_text().strip()
        code, screen = at_a_terminal([*command, "credentials"])
        assert (code, password in screen) == (0, True)
        piped = site.orthweb("credentials", check=False)
        assert (piped.returncode, password in piped.stdout + piped.stderr) == (2, False)
        assert json.loads(site.orthweb("credentials", "--json").stdout)["password"] == password

        site.orthweb("down")
        assert status(site)["state"] == "stopped"
        assert site.orthweb("status", check=False).returncode == 1
        site.orthweb("up")
        assert found_in(site, made.StudyInstanceUID) == 1
        with https(site.access) as client:  # the same password
            assert client.auth is not None
            assert client.get("/system").status_code == 200
        assert site.access.credentials.password == password

        code, screen = at_a_terminal([*command, "destroy"], ("Type yes to go on", "no"))
        assert (code, "Nothing was deleted" in screen) == (1, True)
        assert status(site)["answers"] is True
        unasked = site.orthweb("destroy", "--data", check=False)
        assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
        code, screen = at_a_terminal([*command, "destroy"], ("Type yes to go on", "yes"))
        assert code == 0, screen
        site.orthweb("up")
        assert found_in(site, made.StudyInstanceUID) == 1

        code, screen = at_a_terminal([*command, "destroy", "--data"], ("Type orthweb to go on", "orthweb"))
        assert code == 0, screen
        assert not (site.folder / ".orthweb").exists()
        assert status(site)["state"] == "absent"


def test_up_when_repeated_then_changes_nothing(site: LiveSite) -> None:
    before = pids(site)
    assert "Nothing to change." in site.orthweb("up").stdout
    assert pids(site) == before


def test_plan_on_a_new_site_then_names_everything_and_changes_nothing(new_site: LiveSite) -> None:
    items = json.loads(new_site.orthweb("plan", "--json").stdout)
    assert {"start"} == {item["action"] for item in items if item["what"] in ("index", "archive", "edge")} - {"create"}
    assert not (new_site.folder / ".orthweb").exists()


def test_logs_when_followed_then_show_a_new_line_soon(site: LiveSite) -> None:
    mark = f"/followed-{uuid.uuid4().hex[:8]}"
    process = site.start("logs", "-f", "-n", "0", "edge-access")
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,))
    reader.start()

    def shown() -> bool:
        # Again and again: the first one may have come before the log was followed.
        client.get(mark)
        return any(mark in line for line in lines)

    try:
        with https(site.access) as client:
            until(shown, "a line of the access log", 20)
    finally:
        process.terminate()
        reader.join(20)
        process.communicate(timeout=20)


# -- what a change restarts -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def changing() -> Iterator[LiveSite]:
    with live_site() as made:
        yield made


@pytest.mark.parametrize(
    ("change", "restarted"),
    [
        ({"archive": {"stable_age": 61}}, {"archive", "reader"}),
        ({"edge": {"max_connections": 500}}, {"edge"}),
        ({"index": {"connections": 2}}, {"archive", "reader"}),
        ({"index": {"connections": 60}}, {"index", "archive", "reader"}),
        ({"hostname": "pacs.example.org"}, set()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_up_when_the_site_file_changed_then_restarts_what_reads_it_and_says_so(
    changing: LiveSite, change: dict[str, Any], restarted: set[str]
) -> None:
    changing.write()
    changing.orthweb("up")
    before = pids(changing)
    changing.write(**change)
    planned = json.loads(changing.orthweb("plan", "--json").stdout)
    assert pids(changing) == before
    done = changing.orthweb("up").stdout
    after = pids(changing)
    # Where the index must be restarted, the edge ends the associations that would keep the archive from ending.
    expected = restarted | ({"edge"} if "index" in restarted else set())
    assert {name for name in after if after[name] != before[name]} == expected
    assert {item["what"] for item in planned if item["action"] == "restart"} == restarted
    assert all(f"restart {name}" in done for name in restarted)
    assert echo_status(changing.access) == 0


# -- where it lies, and who runs it -----------------------------------------------------------------------------------


def test_site_in_a_folder_with_a_long_and_odd_name_then_runs_there(tmp_path: Path) -> None:
    top = Path(tempfile.mkdtemp(prefix="orthweb-test-", dir="/var/tmp"))
    top.chmod(0o755)
    try:
        with site_in(top / ("long " * 12).strip() / '100% d\'accord, "ja"') as site:
            site.orthweb("up")
            made = image()
            assert store(site.access, made) == [0]
            assert found_in(site, made.StudyInstanceUID) == 1
            assert "Nothing to change." in site.orthweb("up").stdout
            site.orthweb("down")
            assert not [one for one in psutil.process_iter() if str(site.state) in " ".join(cmdline(one))]
    finally:
        shutil.rmtree(top)


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_site_in_a_closed_folder_of_root_then_keeps_its_state_where_the_services_reach_it(as_root: None) -> None:
    folder = Path("/root") / f"orthweb-test-{uuid.uuid4().hex[:8]}"
    if stat.S_IMODE(Path("/root").stat().st_mode) & 0o001:
        pytest.skip("/root is open to everybody on this machine")
    with site_in(folder) as site:
        site.orthweb("up")
        link = folder / ".orthweb"
        assert link.is_symlink()
        assert link.resolve().parent == Path("/var/lib/orthweb")
        assert echo_status(site.access) == 0
        site.orthweb("certificates", "client", "ct1")
        assert "ct1" in site.orthweb("certificates", "list").stdout
        place = link.resolve()
        site.orthweb("destroy", "--data", "--yes")
        assert not place.exists()
        assert not link.is_symlink()


@dataclass(frozen=True)
class OrdinaryUser:
    """A user of this machine who is not root, and how that user calls Orthweb."""

    name: str
    command: list[str]

    def orthweb(self, site: LiveSite, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["runuser", "-u", self.name, "--", *self.command, "--site", str(site.file), *words]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, cwd="/", env=environment
        )


@pytest.fixture
def someone(as_root: None) -> Iterator[OrdinaryUser]:
    """Add an ordinary user, with a virtual environment of the system's Python: root's own may be closed to others."""
    name = f"orthweb{uuid.uuid4().hex[:8]}"
    folder = Path(tempfile.mkdtemp(prefix="orthweb-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    subprocess.run(["useradd", "--no-create-home", "--home-dir", "/nonexistent", name], check=True)
    try:
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (packages,) = (folder / "venv/lib").glob("python3.*/site-packages")
        sources = [path for path in sys.path if path.endswith(("site-packages", "src"))]
        (packages / "orthweb.pth").write_text("\n".join([str(Path(orthweb.__file__).parents[1]), *sources]) + "\n")
        command = [str(folder / "venv/bin/python"), "-m", "orthweb"]
        reads = subprocess.run(["runuser", "-u", name, "--", *command, "plan"], capture_output=True, text=True, cwd="/")
        if "Permission denied" in reads.stderr or "No module named" in reads.stderr:
            pytest.skip("this checkout or its packages cannot be read by other users, or are for another Python")
        yield OrdinaryUser(name, command)
    finally:
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(folder)


def test_ordinary_user_then_runs_a_site_that_is_all_their_own(someone: OrdinaryUser) -> None:
    with live_site(up=False) as site:
        owner = pwd.getpwnam(someone.name).pw_uid
        for path in (site.folder, site.file):
            os.chown(path, owner, -1)
        try:
            begun = someone.orthweb(site, "up")
            assert begun.returncode == 0, begun.stderr
            told = json.loads(someone.orthweb(site, "status", "--json").stdout)
            assert told["answers"] is True
            assert {psutil.Process(service["pid"]).username() for service in told["services"]} == {someone.name}
            assert stat.S_IMODE((site.folder / ".orthweb").stat().st_mode) == 0o700
            assert {path.lstat().st_uid for path in (site.folder / ".orthweb").rglob("*")} == {owner}
            # Somebody else's site is not touched, not even by root: files of two owners would be the end of it.
            other = site.orthweb("up", check=False)
            assert (other.returncode, f"belongs to {someone.name}" in other.stderr) == (2, True)
            site.write(edge={"https_port": 443})
            low = someone.orthweb(site, "plan")
            assert (low.returncode, "edge.https_port" in low.stderr) == (2, True)
        finally:
            site.write()
            ended = someone.orthweb(site, "destroy", "--data", "--yes")
        assert ended.returncode == 0, ended.stderr
        assert not (site.folder / ".orthweb").exists()


def test_low_ports_when_root_runs_the_site_then_are_served_by_an_ordinary_user(as_root: None) -> None:
    for port in (443, 104):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            pytest.skip(f"port {port} is taken on this machine")
    with live_site(edge={"https_port": 443, "dicom_port": 104}) as site:
        access = site.access
        with tls_socket(access, 443) as connection:
            assert connection.version() == "TLSv1.3"
        assert echo_status(access) == 0
        edge = psutil.Process(pids(site)["edge"])
        assert 0 not in edge.uids()
        status_lines = Path(f"/proc/{edge.pid}/status").read_text()
        effective = next(line for line in status_lines.splitlines() if line.startswith("CapEff"))
        assert int(effective.split()[1], 16) == 1 << 10  # CAP_NET_BIND_SERVICE and no other


# -- two sites, and what is left --------------------------------------------------------------------------------------


def test_two_sites_on_one_machine_then_know_nothing_of_each_other(site: LiveSite) -> None:
    made = image()
    store(site.access, made)
    with live_site(name="other", dicom={"aet": "OTHER"}) as other:
        assert not set(pids(site).values()) & set(pids(other).values())
        with https(other.access) as client:
            assert client.get("/system").json()["Name"] == "other"
        assert found_in(other, made.StudyInstanceUID) == 0
        other.orthweb("down")
        assert status(site)["answers"] is True
        taken = LiveSite(other.folder, edge={"https_port": site.https_port, "dicom_port": other.dicom_port})
        refused = taken.orthweb("up", check=False)
        assert refused.returncode == 2
        assert "edge.https_port" in refused.stderr
    assert echo_status(site.access) == 0


def test_destroy_with_data_then_deletes_the_archives_files_and_leaves_others(tmp_path: Path) -> None:
    with live_site(up=False, store={"path": "images"}) as site:
        folder = site.folder / "images"
        site.orthweb("up")
        (folder / "notes").mkdir()
        (folder / "notes/mine.txt").write_text("mine")
        (folder / "mine.txt").write_text("mine too")
        store(site.access, *(image() for _ in range(3)))
        stored = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt"]
        assert len(stored) >= 3
        site.orthweb("destroy", "--yes")
        assert all(path.exists() for path in stored)
        site.orthweb("up")
        site.orthweb("destroy", "--data", "--yes")
        left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert left == {"mine.txt", "notes/mine.txt"}


def test_files_of_a_running_site_when_another_user_looks_then_none_can_be_read(site: LiveSite, as_root: None) -> None:
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    find = [*nobody, "find", f"{site.state}/", "-type", "f", "-readable"]
    assert subprocess.run(find, capture_output=True, text=True, check=False).stdout == ""
    for name in ("index", "archive", "edge", "secrets", "pki", "logs", "store"):
        listing = subprocess.run([*nobody, "ls", str(site.state / name)], capture_output=True, text=True, check=False)
        assert "Permission denied" in listing.stderr

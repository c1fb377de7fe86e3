"""Attacks and accidents on one machine: a service that was broken into, strangers on ports, silence, odd moments."""

from __future__ import annotations

import errno
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from live.counting import answers, eventually
from live.edge_clients import https, modality, server_context
from live.sites import LiveSite, live_site
from orthweb.dicom.echo import echo
from orthweb.dicom.peer import Peer, Timeouts
from orthweb.errors import OrthwebError
from orthweb.targets.host import rolling
from orthweb.targets.host.accounts import DEBIAN_USERS, EDGE_USER

USERS = {"index": DEBIAN_USERS["index"][0], "archive": DEBIAN_USERS["archive"][0], "edge": EDGE_USER}
NOBODY = 65534

OWN = {
    "index": {"index/data", "run/index"},
    "archive": {"archive/work", "archive/index-passfile", "reader/work", "reader/index-passfile", "store"},
    "edge": {"run/edge"},
}
"""What a service may change: its data and its sockets. libpq insists that its password file is its user's own."""


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveSite]:
    """A site that these tests attack one after the other; each leaves it able to go on."""
    with live_site() as made:
        yield made


def as_user(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the rights of a service, as whoever broke into it would."""
    account = pwd.getpwnam(name)
    who = ["setpriv", "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups", "--"]
    return subprocess.run([*who, *words], capture_output=True, text=True, check=False, cwd="/")


def may(user: str, what: str, top: Path) -> set[str]:
    """List what a user who knows every name may do something with (``-readable``, ``-writable``), links left out."""
    every = [str(path) for path in top.rglob("*") if not path.is_symlink()]
    found = as_user(user, "find", *every, "-maxdepth", "0", what).stdout.splitlines()
    return {str(Path(line).relative_to(top)) for line in found}


def processes(site: LiveSite) -> list[psutil.Process]:
    """Find every process that names the site's folder, or its state where that lies elsewhere."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(place) in word for word in words for place in (site.folder, site.state)) and "orthweb" not in words:
            found.append(process)
    return found


def pids(site: LiveSite) -> dict[str, object]:
    return {name: info["pid"] for name, info in site.target.place.supervisor.services().items()}


def ports(site: LiveSite) -> dict[str, int]:
    found: dict[str, int] = json.loads((site.state / "state.json").read_text())["ports"]
    return found


@contextmanager
def victim(site: LiveSite) -> Iterator[Path]:
    """A folder of root's with a file in it, which must stay what it is."""
    folder = site.folder / "victim"
    folder.mkdir(mode=0o755)
    (folder / "file").write_text("precious")
    (folder / "file").chmod(0o644)
    before = {path: (path.stat().st_uid, path.stat().st_mode) for path in (folder, folder / "file")}
    try:
        yield folder
        assert {path: (path.stat().st_uid, path.stat().st_mode) for path in before} == before
        assert [path.name for path in folder.iterdir()] == ["file"]
        assert (folder / "file").read_text() == "precious"
    finally:
        shutil.rmtree(folder)


# -- a service that was broken into ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("archive", "archive/configuration/.orthanc.json.part"),
        ("archive", "archive/configuration/orthanc.json"),
        ("archive", "archive/plugin/archive.py"),
        ("archive", "archive/tls/.archive.key.part"),
        ("archive", "archive/.index-passfile.part"),
        ("archive", "archive/work"),
        ("edge", "edge/tls.d"),
        ("edge", "edge/tls/.current"),
        ("edge", "edge/sds/.edge-0.json.part"),
        ("edge", "edge/.envoy.json.part"),
        ("index", "index/data"),
        ("index", "index/data.new"),
        ("index", "index/tls/index.key"),
        ("index", "index/.postgresql.conf.part"),
        ("archive", "state.json"),
        ("edge", "logs/edge.log"),
        ("index", "run/supervisor.sock"),
    ],
)
def test_service_when_it_plants_a_link_where_root_writes_then_it_may_not(
    shared: LiveSite, service: str, path: str
) -> None:
    place = shared.state / path
    link = as_user(USERS[service], "ln", "-sfT", str(shared.folder / "nowhere"), str(place))
    assert link.returncode != 0, f"{service} made {path} a link"
    moved = as_user(USERS[service], "mv", "-T", str(place), f"{place}.moved")
    assert moved.returncode != 0, f"{service} moved {path} away"
    assert not place.is_symlink()
    assert "Permission denied" in link.stderr + moved.stderr


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("service", list(USERS))
def test_service_when_it_looks_for_what_it_may_change_then_finds_its_data_alone(shared: LiveSite, service: str) -> None:
    names = may(USERS[service], "-writable", shared.state)
    assert names, "not even its own data"
    strange = {name for name in names if not any(name == own or name.startswith(f"{own}/") for own in OWN[service])}
    assert strange == set()


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("service", list(USERS))
def test_service_when_it_reads_the_others_secrets_then_it_may_not(shared: LiveSite, service: str) -> None:
    names = {name.split("/")[0] for name in may(USERS[service], "-readable", shared.state)}
    assert service in names
    assert names - {service, "run", "bin"} <= ({"reader", "store"} if service == "archive" else set())


@pytest.mark.usefixtures("as_root")
def test_links_that_were_planted_in_a_state_of_before_then_up_replaces_them_and_their_targets_stay(
    shared: LiveSite,
) -> None:
    planted = [
        "archive/configuration/.orthanc.json.part",
        "archive/configuration/orthanc.json",
        "edge/.envoy.json.part",
    ]
    with victim(shared) as folder:
        for name in planted:
            path = shared.state / name
            path.unlink(missing_ok=True)
            # As services' own folders once were.
            os.chown(path.parent, pwd.getpwnam(USERS["archive"]).pw_uid, -1)
            path.symlink_to(folder / "file")
        shared.write(archive={"stable_age": 61}, edge={"max_connections": 511})
        shared.orthweb("up")
        for name in planted:
            assert not (shared.state / name).is_symlink()
            assert (shared.state / name).parent.stat().st_uid == 0
        assert answers(shared)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("name", ["archive/work", "edge/tls.d", "store", "index/tls"])
def test_folder_that_is_a_link_now_then_up_stops_with_its_name_and_the_target_stays(
    shared: LiveSite, name: str
) -> None:
    path = shared.state / name
    kept = path.with_name(f"{path.name}.kept")
    with victim(shared) as folder:
        path.rename(kept)
        path.symlink_to(folder)
        try:
            # Another certificate, or the edge's would not be written at all.
            (shared.state / "pki" / "egress.pem").unlink(missing_ok=True)
            (shared.state / "edge" / "tls" / "current").unlink(missing_ok=True)
            said = shared.orthweb("up", check=False)
            assert said.returncode in (1, 2), said.stdout
            assert str(path) in said.stderr
        finally:
            path.unlink()
            kept.rename(path)
    shared.orthweb("up")


# -- strangers on the archive's ports --------------------------------------------------------------------------------


def _bind_error(port: int, uid: int) -> int:
    """Give the error number that another user gets who binds a port; 0 when it is his."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with socket.socket() as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                stranger.bind(("127.0.0.1", port))
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def archive_away(site: LiveSite) -> Iterator[None]:
    """Keep the archive stopped, as it is for a moment whenever it crashes."""
    supervisor = site.target.place.supervisor
    supervisor.stop("archive")
    try:
        yield
    finally:
        supervisor.start("archive")
        eventually(lambda: answers(site), 60, "the archive does not come back")


def edges_view(site: LiveSite) -> list[rolling.Upstream]:
    """Give the archive's processes as the edge sees them."""
    return rolling.upstreams(site.target.place.run / "edge" / "admin.sock") or []


@pytest.mark.usefixtures("as_root")
def test_archives_http_port_when_the_archive_is_away_then_no_other_user_can_take_it(shared: LiveSite) -> None:
    port = ports(shared)["archive_http"]
    assert port < 1024
    with archive_away(shared):
        for uid in (NOBODY, pwd.getpwnam(USERS["index"]).pw_uid):
            assert _bind_error(port, uid) == errno.EACCES
        assert _bind_error(ports(shared)["archive_dicom"], NOBODY) == 0, "this way a port can be taken at all"


def test_impostor_with_another_internal_certificate_when_the_archive_is_away_then_the_edge_refuses_it(
    shared: LiveSite,
) -> None:
    place, access = shared.target.place, shared.access
    peer = Peer.of_site(access, timeouts=Timeouts(3, 5, 5))
    port = ports(shared)["archive_dicom"]
    # Somebody must listen on the archive's HTTP port too: else the edge takes the archive for dead and tries nothing.
    with archive_away(shared), socket.create_server(("127.0.0.1", ports(shared)["archive_http"])):
        eventually(lambda: all(each.alive for each in edges_view(shared)), 10, "the edge takes the archive for dead")
        for pair in (place.pki.index, place.pki.edge_internal):
            with modality(access.aet, port, server_context(pair, place.pki.internal_ca.certificate)) as impostor:
                with pytest.raises(OrthwebError):
                    echo(peer)
                assert impostor.calling == []
        # The archive's own certificate is all that the impostor lacks.
        context = server_context(place.pki.archive, place.pki.internal_ca.certificate)
        with modality(access.aet, port, context) as known:
            echo(peer)
            assert len(known.calling) == 1


# -- silence ---------------------------------------------------------------------------------------------------------


def _secure(site: LiveSite, port: int) -> ssl.SSLSocket:
    access = site.access
    context = ssl.create_default_context(cafile=str(access.ca))
    plain = socket.create_connection((access.host, port), timeout=10)
    return context.wrap_socket(plain, server_hostname=access.host)


def test_dicom_port_after_many_connections_without_a_word_then_the_site_answers_and_passes_validation(
    shared: LiveSite,
) -> None:
    peer = Peer.of_site(shared.access, timeouts=Timeouts(5, 5, 5))
    for _ in range(60):
        _secure(shared, shared.dicom_port).close()
    echo(peer)
    with ExitStack() as held:
        for _ in range(80):  # more than there may be associations
            held.enter_context(_secure(shared, shared.dicom_port))
        for _ in range(40):  # not even a TLS handshake
            held.enter_context(socket.create_connection((shared.access.host, shared.dicom_port), timeout=10))
        echo(peer)
    done = shared.orthweb("validate", "--group", "dicom", check=False)
    assert done.returncode == 0, done.stdout


def test_healthz_when_others_hold_a_hundred_silent_https_connections_then_answers(shared: LiveSite) -> None:
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(_secure(shared, shared.https_port))
        with https(shared.access, login=False, timeout=5) as client:
            answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


# -- a wrong site file, and whose site it is -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "empty", "garbage", "folder", "key", "broken"])
def test_ca_of_a_modality_when_it_cannot_be_used_then_one_line_names_it_and_the_site_is_untouched(
    shared: LiveSite, kind: str
) -> None:
    ca = shared.folder / f"{kind}.pem"
    if kind == "folder":
        ca.mkdir()
    elif kind == "key":
        ca.write_bytes((shared.state / "pki" / "check.key").read_bytes())
    elif kind == "broken":
        ca.write_bytes(shared.access.ca.read_bytes().replace(b"M", b"!"))
    elif kind != "missing":
        ca.write_bytes(b"" if kind == "empty" else b"\x00\xffnonsense")
    kept, before = shared.file.read_text(), pids(shared)
    files = {path: path.stat().st_mtime_ns for path in (shared.state / "edge").rglob("*")}
    shared.write(modalities={"ct": {"aet": "CT", "host": "127.0.0.1", "port": 2762, "ca": f"{kind}.pem"}})
    try:
        for verb in ("plan", "up"):
            said = shared.orthweb(verb, check=False)
            assert said.returncode == 2, said.stdout
            lines = [line for line in said.stderr.splitlines() if line.startswith("error:")]
            assert len(lines) == 1
            assert "modalities.ct.ca: " in lines[0]
            assert str(ca) in lines[0]
    finally:
        shared.file.write_text(kept)
    assert pids(shared) == before
    assert {path: path.stat().st_mtime_ns for path in (shared.state / "edge").rglob("*")} == files


@pytest.mark.parametrize("verb", ["plan", "up"])
def test_second_site_file_in_one_folder_then_it_is_refused_and_the_first_site_goes_on(
    shared: LiveSite, verb: str
) -> None:
    other = shared.folder / "other.toml"
    other.write_text(shared.file.read_text())
    before = pids(shared)
    try:
        said = shared.orthweb("--site", str(other), verb, check=False)
    finally:
        other.unlink()
    assert said.returncode == 2
    assert "holds the site of site.toml, and other.toml was given" in said.stderr
    assert pids(shared) == before


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("verb", ["plan", "up", "status", "down", "destroy"])
def test_state_folder_that_is_somebody_elses_link_then_every_verb_refuses(new_site: LiveSite, verb: str) -> None:
    elsewhere = new_site.folder / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    link = new_site.folder / ".orthweb"
    link.symlink_to(elsewhere)
    os.lchown(link, NOBODY, NOBODY)
    try:
        said = new_site.orthweb(verb, *(["--data", "--yes"] if verb == "destroy" else []), check=False)
        assert said.returncode == 2
        assert f"{link}: this link was made by nobody" in said.stderr
        assert list(elsewhere.iterdir()) == []
    finally:
        link.unlink()


# -- the wrong moment ------------------------------------------------------------------------------------------------


def test_supervisor_that_is_stopped_then_status_says_so_down_ends_everything_and_up_works(own_site: LiveSite) -> None:
    pid = own_site.target.place.supervisor.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        said = own_site.orthweb("status", check=False, timeout=60)
        assert time.monotonic() - started < 20
        assert said.returncode == 1
        assert "their supervisor does not answer" in said.stdout
        own_site.orthweb("down", timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert processes(own_site) == []
    own_site.orthweb("up")
    assert answers(own_site)


def test_up_while_destroy_deletes_then_there_is_one_clear_result_and_no_half_site(own_site: LiveSite) -> None:
    lock = own_site.state / "lock"
    destroy = own_site.start("destroy", "--data", "--yes")
    eventually(lambda: not lock.exists() or lock.read_text().strip() == str(destroy.pid), 30, "destroy does not begin")
    up = own_site.start("up")
    said = up.communicate(timeout=120)
    deleted = destroy.communicate(timeout=120)
    assert destroy.returncode == 0, deleted
    assert up.returncode in (0, 1), said
    if up.returncode == 0:
        assert answers(own_site)
        assert "Nothing to change" in own_site.orthweb("plan").stdout
    else:
        assert "was deleted by another orthweb command" in said[1]
        assert [path.name for path in own_site.folder.iterdir()] == ["site.toml"]
        assert processes(own_site) == []
    assert not list(own_site.folder.glob(".orthweb.deleted-*"))


@pytest.mark.parametrize("step", ["creating the index", "starting the services"])
def test_first_up_when_its_terminal_is_closed_then_nothing_is_left_running(new_site: LiveSite, step: str) -> None:
    up = new_site.start("up")
    assert up.stderr is not None
    assert any(step in line for line in up.stderr)
    up.send_signal(signal.SIGHUP)
    said = up.communicate(timeout=60)
    assert up.returncode == 130, said
    eventually(lambda: not processes(new_site), 10, f"left running: {processes(new_site)}")


# -- umask -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_up_in_a_closed_folder_with_an_odd_umask_then_works_and_nothing_is_open_to_others(
    new_site: LiveSite, mask: int
) -> None:
    images = new_site.folder.with_name(f"{new_site.folder.name}-srv") / "images"
    new_site.folder.chmod(0o700)  # like /root
    new_site.write(store={"path": str(images)})
    before = os.umask(mask)
    try:
        new_site.orthweb("up")
        assert answers(new_site)
        assert new_site.state.parent == Path("/var/lib/orthweb")
        for path in (new_site.state, *new_site.state.rglob("*"), images, images.parent):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if path.is_symlink():
                continue
            assert not mode & 0o022, f"{path}: {mode:04o}"
        assert may("nobody", "-readable", new_site.state) <= {"bin", "bin/envoy"}
        assert may("nobody", "-writable", new_site.state) == set()
        assert stat.S_IMODE(images.stat().st_mode) == 0o700
    finally:
        os.umask(before)
        state = new_site.state
        new_site.orthweb("destroy", "--data", "--yes")
        images.parent.rmdir()
    assert not state.exists()
    assert [path.name for path in new_site.folder.iterdir()] == ["site.toml"]

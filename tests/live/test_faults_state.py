"""The state folder is damaged, half written, somebody else's, or two commands want it at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from live.counting import account, answers, eventually, samples, sending
from live.sites import LiveSite, live_site
from orthweb.targets.local import supervision


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveSite]:
    with live_site() as made:
        yield made


@pytest.fixture
def stopped(shared: LiveSite) -> LiveSite:
    """A site that was brought up and is stopped."""
    shared.orthweb("down")
    return shared


def processes(site: LiveSite) -> list[psutil.Process]:
    """Find every process that names the site's folder, orthweb's own commands left out."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(site.folder) in word for word in words) and "orthweb" not in words:
            found.append(process)
    return found


# -- owner and mode --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["up", "plan", "status", "down"])
def test_state_folder_that_others_may_write_to_then_every_verb_refuses_and_prints_the_mend(
    stopped: LiveSite, verb: str
) -> None:
    mode = stopped.state.stat().st_mode & 0o7777
    stopped.state.chmod(0o777)
    try:
        said = stopped.orthweb(verb, check=False)
        assert said.returncode == 2
        assert f"{stopped.state}: mode 0777 lets other users in" in said.stderr
        assert f"chmod {mode:04o} {stopped.state}" in said.stderr
    finally:
        stopped.state.chmod(mode)
    assert not stopped.target.running()


@pytest.mark.usefixtures("as_root")
def test_state_folder_of_another_user_then_up_refuses_and_names_both(stopped: LiveSite) -> None:
    os.chown(stopped.state, 65534, 65534)
    try:
        said = stopped.orthweb("up", check=False)
        assert said.returncode == 2
        assert f"{stopped.state}: belongs to nobody, and root is calling" in said.stderr
    finally:
        os.chown(stopped.state, 0, 0)
    stopped.orthweb("up")


@pytest.mark.parametrize("name", ["secrets", "pki"])
def test_folder_of_secrets_that_others_may_read_then_up_refuses(stopped: LiveSite, name: str) -> None:
    folder = stopped.state / name
    folder.chmod(0o755)
    try:
        said = stopped.orthweb("up", check=False)
        assert said.returncode == 2
        assert f"{folder}: mode 0755 lets other users in" in said.stderr
    finally:
        folder.chmod(0o700)


@pytest.mark.usefixtures("as_root")
def test_files_of_services_with_wrong_owner_or_mode_then_up_mends_them(stopped: LiveSite) -> None:
    for path in (stopped.state / "archive", stopped.state / "edge" / "sds", stopped.state / "store"):
        path.chmod(0o777)
        os.chown(path, 65534, 65534)
    key = stopped.state / "archive" / "tls" / "archive.key"
    key.chmod(0o666)
    stopped.orthweb("up")
    assert answers(stopped)
    for path in (stopped.state / "archive", stopped.state / "edge" / "sds", stopped.state / "store"):
        assert not path.stat().st_mode & 0o027
        assert path.stat().st_uid != 65534
    assert not key.stat().st_mode & 0o027


# -- damaged files ---------------------------------------------------------------------------------------------------


def test_damaged_state_file_then_up_says_what_to_do_and_that_works(stopped: LiveSite) -> None:
    for content in (b"", b"{", b"[]", b'{"version": 1}', b"\xff\xfe\x00", b'{"version": 1, "ports": 3}'):
        (stopped.state / "state.json").write_bytes(content)
        for verb in ("plan", "up"):
            said = stopped.orthweb(verb, check=False)
            assert said.returncode == 1, f"{verb}: {said.stdout} {said.stderr}"
            assert "state.json: is damaged" in said.stderr
            assert "delete it" in said.stderr
    assert stopped.orthweb("down").returncode == 0
    (stopped.state / "state.json").unlink()
    stopped.orthweb("up")


def test_damaged_state_file_when_the_store_lies_elsewhere_then_what_up_says_works(tmp_path: Path) -> None:
    with live_site(up=False) as site:
        site.write(store={"path": "elsewhere"})
        site.orthweb("up")
        sent = samples(tmp_path, 3, seed="elsewhere")
        with sending(site, sent, associations=1) as send:
            pass
        site.orthweb("down")
        (site.state / "state.json").write_text("{")
        assert "delete it" in site.orthweb("up", check=False).stderr
        (site.state / "state.json").unlink()
        site.orthweb("up")
        assert len(send.acknowledged) == 3
        assert account(site, sent, send.acknowledged).kept


@pytest.mark.parametrize(
    ("name", "content"),
    [("admin-password", b""), ("archive-password", b"\n"), ("index-password", None), ("check-aet", b"\0\0\0\0")],
    ids=["empty", "a line end", "gone", "zeros"],
)
def test_lost_secret_then_up_makes_a_new_one_and_the_site_works(
    stopped: LiveSite, name: str, content: bytes | None
) -> None:
    path = stopped.state / "secrets" / name
    old = path.read_text()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    assert name.replace("-", " ") in stopped.orthweb("plan").stdout
    stopped.orthweb("up")
    assert path.read_text().strip()
    assert path.read_text() != old
    assert answers(stopped)


def test_index_password_that_was_made_anew_when_up_was_killed_before_the_index_knew_it_then_the_next_up_tells_it(
    stopped: LiveSite,
) -> None:
    path = stopped.state / "secrets" / "index-password"
    # What such a kill leaves: a new password in the file, the old one in PostgreSQL.
    path.write_text("ABCDEFGHIJKLMNOPQRSTUVWX\n")
    stopped.orthweb("up")
    assert answers(stopped)


@pytest.mark.parametrize("name", ["edge-ecdsa.key", "archive.pem", "index.key", "check.pem"])
def test_damaged_leaf_of_the_pki_then_up_renews_it(stopped: LiveSite, name: str) -> None:
    (stopped.state / "pki" / name).write_bytes(b"-----BEGIN NOTHING-----\n")
    said = stopped.orthweb("up")
    assert f"renew certificate {name.split('.')[0]}" in said.stdout
    assert answers(stopped)


def test_damaged_site_ca_then_up_refuses_and_the_ca_is_never_replaced_silently(stopped: LiveSite) -> None:
    path = stopped.state / "pki" / "site-ca.key"
    kept = path.read_bytes()
    path.write_bytes(kept[:100])
    said = stopped.orthweb("up", check=False)
    assert said.returncode == 1
    assert "site-ca cannot be used" in said.stderr
    assert not stopped.target.running()
    path.write_bytes(kept)
    stopped.orthweb("up")


def test_rendered_files_that_were_cut_short_then_up_writes_them_again(stopped: LiveSite) -> None:
    paths = ["archive/configuration/orthanc.json", "edge/envoy.json", "index/postgresql.conf", "supervisord.conf"]
    paths.append("edge/htpasswd")
    certificates = sorted((stopped.state / "edge" / "tls" / "current").glob("*.pem"))
    assert certificates
    for path in (*certificates, *(stopped.state / name for name in paths)):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    stopped.orthweb("up")
    assert answers(stopped)
    assert "Nothing to change" in stopped.orthweb("plan").stdout


# -- killed on the way -----------------------------------------------------------------------------------------------


def _kill_after(site: LiveSite, seconds: float, number: signal.Signals) -> subprocess.Popen[str]:
    process = site.start("up")
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    process.communicate(timeout=60)
    return process


def test_first_up_when_killed_at_any_moment_then_the_next_one_works(tmp_path: Path) -> None:
    whole = 4.0
    with live_site(up=False) as site:
        started = time.monotonic()
        site.orthweb("up")
        whole = time.monotonic() - started
    for part in range(1, 5):
        with live_site(up=False) as site:
            _kill_after(site, 0.25 + (whole - 0.25) * part / 5, signal.SIGKILL)
            site.orthweb("up")
            assert answers(site)
            assert "Nothing to change" in site.orthweb("plan").stdout
            sent = samples(tmp_path / str(part), 2, seed=f"killed {part}")
            with sending(site, sent, associations=1) as send:
                pass
            assert account(site, sent, send.acknowledged).kept
            assert len(send.acknowledged) == 2


def test_first_up_when_killed_again_and_again_then_the_last_one_works(new_site: LiveSite) -> None:
    for seconds in (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7, 1.9, 2.1):
        _kill_after(new_site, seconds, signal.SIGKILL)
    new_site.orthweb("up")
    assert answers(new_site)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("creating the index", signal.SIGINT),
        ("starting the services", signal.SIGINT),
        ("starting the services", signal.SIGTERM),
        ("waiting for the first", signal.SIGINT),
    ],
)
def test_first_up_when_interrupted_then_nothing_is_left_running_and_the_next_one_works(
    new_site: LiveSite, number: signal.Signals, step: str
) -> None:
    process = new_site.start("up")
    assert process.stderr is not None
    while step not in process.stderr.readline():
        assert process.poll() is None, f"it never came to {step}"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    eventually(lambda: not processes(new_site), 10, f"left running: {processes(new_site)}")
    new_site.orthweb("up")


def test_up_of_a_running_site_when_interrupted_then_the_site_goes_on(own_site: LiveSite) -> None:
    own_site.write(archive={"stable_age": 62})
    _kill_after(own_site, 0.6, signal.SIGINT)
    assert own_site.target.running()
    own_site.orthweb("up")
    assert answers(own_site)


# -- two at once -----------------------------------------------------------------------------------------------------


def test_two_up_at_once_then_both_succeed_and_one_site_runs(new_site: LiveSite) -> None:
    both = [new_site.start("up") for _ in range(2)]
    results = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert any("is changing this site; waiting for it" in stderr for _, stderr in results)
    assert len([process for process in supervision.leftovers(new_site.target.state) if "python" in process.name()]) == 1
    assert answers(new_site)


def test_down_during_up_then_it_waits_and_nothing_is_left(new_site: LiveSite) -> None:
    up = new_site.start("up")
    eventually(lambda: (new_site.folder / ".orthweb" / "lock").exists(), 10, "up does not begin")
    new_site.orthweb("down")
    up.communicate(timeout=60)
    # Whichever came first, the second one left a whole state.
    if new_site.target.running():
        new_site.orthweb("down")
    eventually(lambda: not processes(new_site), 10, "left running")

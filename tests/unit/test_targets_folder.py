"""The state folder: whose it is, one command at a time, what it remembers."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orthweb.errors import BusyError, OrthwebError, UsageError
from orthweb.state import StateFolder
from orthweb.targets.base import quiet
from orthweb.targets.host import folder
from orthweb.targets.host.folder import Facts

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.pwrite(descriptor, f"{os.getpid()}\\n".encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    (tmp_path / ".orthweb").mkdir(mode=0o700)
    return StateFolder(tmp_path / ".orthweb")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# -- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect_of_nothing_and_of_ones_own_closed_folder_then_passes(state: StateFolder) -> None:
    folder.inspect(state.root)
    folder.inspect(state.root / "not there")


@pytest.mark.parametrize("bits", [0o720, 0o702, 0o740, 0o704, 0o777, 0o1777])
def test_inspect_of_a_folder_open_to_others_then_refuses_with_the_mend(state: StateFolder, bits: int) -> None:
    state.root.chmod(bits)
    with pytest.raises(UsageError, match=f"mode {bits:04o} lets other users in") as caught:
        folder.inspect(state.root)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("chmod 07")


def test_inspect_of_a_folder_that_others_may_pass_then_only_root_may_have_it(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.root.chmod(0o711)
    monkeypatch.setattr(folder, "is_root", lambda: True)
    folder.inspect(state.root)
    monkeypatch.setattr(folder, "is_root", lambda: False)
    with pytest.raises(UsageError, match="mode 0711"):
        folder.inspect(state.root)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_inspect_of_something_that_is_no_folder_then_refuses(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state"
    if kind == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        folder.inspect(path)


@pytest.mark.usefixtures("as_root")
def test_inspect_of_another_users_folder_then_refuses_and_names_both(state: StateFolder) -> None:
    os.chown(state.root, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to nobody, and root is calling"):
        folder.inspect(state.root)


# -- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_make_whatever_the_umask_then_nothing_is_open_to_others(tmp_path: Path, mask: int) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / ".orthweb").mkdir(mode=0o700)  # here, and not where root's state goes when the folder is closed
    before = os.umask(mask)
    try:
        state = folder.make(tmp_path)
        with folder.locked(state, quiet):
            folder.write_facts(state, Facts(site="a"))
    finally:
        os.umask(before)
    top = 0o711 if os.geteuid() == 0 else 0o700
    assert mode(state.root) == top
    for path in (state.secrets, state.pki, state.logs, state.reports):
        assert mode(path) == 0o700
    for path in (state.lock, state.facts, state.root / folder.IDENTITY, state.root / ".gitignore"):
        assert mode(path) == 0o600


def test_folder_when_a_link_lies_in_its_place_then_refuses_and_the_target_is_untouched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o750)
    (tmp_path / "work").symlink_to(victim)
    with pytest.raises(OSError, match="work"):
        folder.folder(tmp_path / "work", 0o777)
    assert mode(victim) == 0o750


@pytest.mark.usefixtures("as_root")
def test_locate_when_somebody_else_made_the_link_then_refuses(tmp_path: Path) -> None:
    (tmp_path / ".orthweb").symlink_to(tmp_path / "elsewhere")
    assert folder.locate(tmp_path).root == tmp_path / "elsewhere"
    os.lchown(tmp_path / ".orthweb", 65534, 65534)
    with pytest.raises(UsageError, match=r"\.orthweb: this link was made by nobody"):
        folder.locate(tmp_path)


def test_locate_when_root_calls_in_a_closed_folder_then_the_state_lies_where_services_can_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(folder, "is_root", lambda: True)
    found = folder.locate(tmp_path).root
    assert found.parent == folder.ROOT_STATE
    assert found.name.startswith(tmp_path.name)


def test_run_folder_when_the_path_is_too_long_for_a_socket_then_lies_elsewhere(tmp_path: Path) -> None:
    deep = StateFolder(Path("/") / ("d" * 100) / ".orthweb")
    assert len(os.fsencode(folder.run_folder(deep))) <= folder.SOCKET_ROOM
    assert folder.run_folder(deep) != folder.run_folder(StateFolder(Path("/") / ("e" * 100) / ".orthweb"))
    near = StateFolder(Path("/srv/.orthweb"))
    assert folder.run_folder(near) == near.run


# -- the lock --------------------------------------------------------------------------------------------------------


def test_locked_when_another_process_has_it_then_tells_who_waits_and_gives_up(state: StateFolder) -> None:
    state.lock.touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said: list[str] = []
        with (
            pytest.raises(BusyError, match=f"process {holder.pid}"),
            folder.locked(state, said.append, wait=0.3),
        ):
            pytest.fail("two hold one lock")
        assert said == [f"another orthweb command (process {holder.pid}) is changing this site; waiting for it"]
        holder.kill()
        holder.wait()
        with folder.locked(state, quiet, wait=5):  # ends with the process that held it
            assert state.lock.read_text() == f"{os.getpid()}\n"


def test_locked_when_the_block_fails_then_the_lock_is_free_again(state: StateFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.locked(state, quiet):
        _ = 1 // 0
    with folder.locked(state, quiet, wait=0):
        pass


def test_locked_when_the_site_was_deleted_meanwhile_then_it_is_no_lock(state: StateFolder) -> None:
    state.lock.touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        def delete_and_let_go(_line: str) -> None:
            folder.discard(state)
            holder.kill()

        with pytest.raises(BusyError, match="was deleted"), folder.locked(state, delete_and_let_go, wait=10):
            pytest.fail("a lock on a deleted folder")
    with pytest.raises(BusyError, match="was deleted"), folder.locked(state, quiet):
        pytest.fail("a lock in no folder")
    assert not state.root.exists()


def test_locked_when_a_link_lies_in_its_place_then_it_is_not_followed(state: StateFolder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    state.lock.symlink_to(victim)
    with pytest.raises(UsageError, match="lock"), folder.locked(state, quiet):
        pytest.fail("a lock through a link")
    assert victim.read_text() == "precious"


# -- deletion --------------------------------------------------------------------------------------------------------


def test_discard_then_the_name_is_free_at_once_and_what_was_there_is_deleted(state: StateFolder) -> None:
    (state.root / "logs").mkdir()
    other = state.root.with_name(".orthweb-other.deleted-1")
    other.mkdir()
    folder.discard(state)
    assert not state.root.exists()
    state.root.mkdir()
    folder.delete_discarded(state)
    assert {path.name for path in state.root.parent.iterdir()} == {".orthweb", other.name}


def test_delete_discarded_when_a_destroy_was_killed_then_its_rest_is_deleted(state: StateFolder) -> None:
    (state.root / "secrets").mkdir()
    folder.discard(state)
    folder.delete_discarded(state)
    assert list(state.root.parent.iterdir()) == []
    folder.delete_discarded(StateFolder(state.root.parent / "gone" / ".orthweb"))


# -- what it remembers -----------------------------------------------------------------------------------------------


def test_facts_when_written_and_read_then_the_same(state: StateFolder) -> None:
    facts = Facts(ports={"index": 20001}, site="abc", site_file="a.toml", store="/srv/dicom", index_password="0f")
    folder.write_facts(state, facts)
    assert folder.read_facts(state) == facts


def test_facts_when_the_file_is_gone_then_the_site_still_knows_who_it_is(state: StateFolder) -> None:
    assert folder.read_facts(state) == Facts()
    folder.write_facts(state, Facts(ports={"index": 20001}, site="abc"))
    state.facts.unlink()
    assert folder.read_facts(state) == Facts(site="abc")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b"\xff", b'{"version": 1, "ports": 3}'])
def test_facts_when_the_file_is_damaged_then_says_what_to_do(state: StateFolder, content: bytes) -> None:
    state.facts.write_bytes(content)
    with pytest.raises(OrthwebError, match=r"is damaged.*delete it"):
        folder.read_facts(state)


def test_facts_when_a_newer_version_wrote_them_then_refuses(state: StateFolder) -> None:
    state.facts.write_text('{"version": 2, "ports": {}}')
    with pytest.raises(OrthwebError, match="newer"):
        folder.read_facts(state)

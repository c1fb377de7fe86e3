"""What a migration remembers."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orthweb.errors import OrthwebError
from orthweb.store.journal import Journal


def test_entries_then_they_are_there_for_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal(path, "a", "b")
    first.add("one")
    first.add("two", "100 bytes, 200 in the index")
    first.add("three")
    first.forget("three")
    first.close()
    first.close()
    second = Journal(path, "a", "b")
    assert list(second.copied()) == ["one", "two"]
    assert (second.has("one"), second.has("three")) == (True, False)
    assert (second.damage("one"), second.damage("two")) == (None, "100 bytes, 200 in the index")
    assert Journal.places(path) == ("a", "b")
    assert Journal.glance(path) == ("a", "b", 2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second.delete()
    assert not path.exists()
    assert Journal.places(path) is None


@pytest.mark.parametrize("places", [("a", "c"), ("c", "b"), ("b", "a")])
def test_journal_of_other_places_then_it_begins_anew(tmp_path: Path, places: tuple[str, str]) -> None:
    first = Journal(tmp_path / "journal", "a", "b")
    first.add("one")
    first.close()
    second = Journal(tmp_path / "journal", *places)
    assert not second.has("one")
    second.close()


def test_file_that_is_damaged_then_the_message_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(OrthwebError, match=r"is damaged.*delete it"):
        Journal(path, "a", "b")
    assert Journal.places(path) is None


def test_process_that_is_killed_then_what_it_had_committed_is_there(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    code = (
        "import sys; from pathlib import Path; from orthweb.store.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), 'a', 'b')\n"
        "for number in range(1050): journal.add(str(number))\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    found = Journal.glance(path)
    assert found is not None
    assert 1000 <= found[2] <= 1050
    journal = Journal(path, "a", "b")
    assert 1000 <= len(list(journal.copied())) <= 1050
    journal.close()

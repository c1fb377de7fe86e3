"""What was acknowledged is remembered."""

from __future__ import annotations

import multiprocessing
import os
import stat
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from orthweb.dicom import phantom
from orthweb.dicom.instance import Instance
from orthweb.dicom.journal import Journal
from orthweb.dicom.scan import scan
from orthweb.errors import UsageError


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    (found,) = scan([phantom.write(tmp_path / "in", phantom.PhantomStudy("j").slice(1, size=1024))])
    assert isinstance(found, Instance)
    return found


def test_journal_when_reopened_then_acknowledged_is_known(tmp_path: Path, instance: Instance) -> None:
    path = tmp_path / "state" / "journal"
    with Journal(path, "A@h:1") as journal:
        assert journal.acknowledged([instance]) == set()
        journal.add(instance, 0)
    with Journal(path, "A@h:1") as journal:
        assert journal.acknowledged([instance]) == {instance}


def test_journal_when_several_programs_make_it_at_once_then_none_is_refused(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    for number in range(10):
        barrier, said = spawn.Barrier(4), spawn.SimpleQueue()
        programs = [spawn.Process(target=_open, args=(tmp_path / str(number), barrier, said)) for _ in range(4)]
        for program in programs:
            program.start()
        assert [said.get() for _ in programs] == [""] * 4
        for program in programs:
            program.join()


def _open(path: Path, barrier: Barrier, said: SimpleQueue[str]) -> None:
    barrier.wait(30)
    try:
        Journal(path, "A@h:1").close()
    except UsageError as error:
        said.put(str(error))
    else:
        said.put("")


def test_journal_when_other_destination_then_not_known(tmp_path: Path, instance: Instance) -> None:
    with Journal(tmp_path / "journal", "A@h:1") as journal:
        journal.add(instance, 0)
    with Journal(tmp_path / "journal", "B@h:1") as journal:
        assert journal.acknowledged([instance]) == set()


def test_journal_when_file_was_written_again_then_not_known(tmp_path: Path, instance: Instance) -> None:
    with Journal(tmp_path / "journal", "A@h:1") as journal:
        journal.add(instance, 0)
        os.utime(instance.source.path, ns=(1, 1))
        (changed,) = scan([instance.source.path])
        assert isinstance(changed, Instance)
        assert journal.acknowledged([changed]) == set()


def test_journal_when_made_then_only_its_owner_reads_it(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", "A@h:1"):
        assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o600


def test_journal_when_file_is_something_else_then_usage_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no database at all" * 100)
    with pytest.raises(UsageError, match=r"notes.*--journal"):
        Journal(tmp_path / "notes", "A@h:1")


def test_journal_when_file_name_is_not_utf_8_then_it_works(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    path.write_bytes(phantom.encode(phantom.PhantomStudy("j").slice(1, size=1024)))
    (found,) = scan([path])
    assert isinstance(found, Instance)
    with Journal(tmp_path / "journal", "A@h:1") as journal:
        journal.add(found, 0)
        assert journal.acknowledged([found]) == {found}

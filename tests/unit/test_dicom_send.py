"""What the sender decides: groups, associations, attempts, duplicates. Sending itself is tested with real peers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from orthweb.cli import dicom_send
from orthweb.dicom.dimse_transport import DimseTransport
from orthweb.dicom.errors import LostError, RejectedError
from orthweb.dicom.find import identifier
from orthweb.dicom.get import MAX_CONTEXTS, TRANSFER_SYNTAXES, contexts_for, plan
from orthweb.dicom.instance import Instance, Source
from orthweb.dicom.journal import Journal
from orthweb.dicom.peer import Peer
from orthweb.dicom.scan import Kind, Skipped
from orthweb.dicom.send import ATTEMPTS, MAX_ASSOCIATIONS, NEARBY_ASSOCIATIONS, Sender, Summary, associations_for
from orthweb.dicom.transport import Answer, Group

CT = "1.2.840.10008.5.1.4.1.1.2"


def instances(count: int, folder: Path) -> list[Instance]:
    """Instances whose files exist and are all different."""
    found = []
    for number in range(count):
        path = folder / str(number)
        path.write_bytes(f"{number:010}".encode())
        source = Source(path, None, 10, path.stat().st_mtime_ns)
        found.append(Instance(source, CT, f"1.2.{number}", str(ExplicitVRLittleEndian), 0))
    return found


Script = Callable[[Instance], Answer]


class Loopback:
    """A transport without a network: each instance gets the answer that a function gives, or its error."""

    destination = "LOOPBACK"
    batch_bytes = 1

    def __init__(self, script: Script, *, refuse_from: int | None = None, refusal: Exception | None = None) -> None:
        self.script = script
        self.opened = 0
        self.lock = threading.Lock()
        self.refuse_from, self.refusal = refuse_from, refusal

    def groups(self, found: Sequence[Instance]) -> list[Group]:
        return [Group(tuple(found))] if found else []

    def open(self, group: Group) -> Loopback:
        with self.lock:
            self.opened += 1
            if self.refuse_from is not None and self.opened >= self.refuse_from:
                assert self.refusal is not None
                raise self.refusal
        return self

    round_trip = 0.0
    usable = True

    def send(self, batch: Sequence[Instance]) -> Iterator[Answer]:
        for instance in batch:
            yield self.script(instance)

    def close(self) -> None: ...

    abort = interrupt = close


def stored(instance: Instance) -> Answer:
    return Answer(instance, "stored")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal", "LOOPBACK") as opened:
        yield opened


def test_associations_when_round_trip_grows_then_more_up_to_the_cap() -> None:
    assert associations_for(0.0005) == NEARBY_ASSOCIATIONS
    assert associations_for(0.040) == MAX_ASSOCIATIONS
    assert associations_for(3.0) == MAX_ASSOCIATIONS
    assert NEARBY_ASSOCIATIONS < associations_for(0.020) < MAX_ASSOCIATIONS


def test_send_when_all_stored_then_journal_knows_all(tmp_path: Path, journal: Journal) -> None:
    found = instances(20, tmp_path)
    summary = Sender(Loopback(stored), journal).run(found)
    assert (summary.sent, summary.not_sent, summary.fatal) == (20, 0, None)
    assert journal.acknowledged(found) == set(found)


def test_send_when_refused_then_not_in_journal_and_named_under_its_reason(tmp_path: Path, journal: Journal) -> None:
    found = instances(10, tmp_path)

    def script(instance: Instance) -> Answer:
        return Answer(instance, "refused", 0xC000, "no") if instance is found[3] else stored(instance)

    summary = Sender(Loopback(script), journal).run(found)
    assert summary.sent == 9
    assert summary.refused == {"no": [str(found[3].source)]}
    assert found[3] not in journal.acknowledged(found)


def test_send_when_peer_is_busy_for_a_moment_then_tried_again(tmp_path: Path, journal: Journal) -> None:
    found = instances(4, tmp_path)
    tries: list[str] = []

    def script(instance: Instance) -> Answer:
        tries.append(instance.sop_instance)
        first = instance is found[0] and tries.count(instance.sop_instance) == 1
        return Answer(instance, "busy", 0xA700, "out of resources") if first else stored(instance)

    summary = Sender(Loopback(script), journal).run(found)
    assert summary.sent == 4
    assert tries.count(found[0].sop_instance) == 2


def test_send_when_one_instance_breaks_every_association_then_only_it_is_given_up(
    tmp_path: Path, journal: Journal
) -> None:
    found = instances(12, tmp_path)
    tries: list[Instance] = []

    def script(instance: Instance) -> Answer:
        if instance is found[0]:
            tries.append(instance)
            raise LostError("the peer aborted the association")
        return stored(instance)

    summary = Sender(Loopback(script), journal, associations=2).run(found)
    assert summary.sent == 11
    assert len(tries) == ATTEMPTS
    assert [names for reason, names in summary.refused.items() if "given up" in reason] == [[str(found[0].source)]]


def test_send_when_first_connection_fails_then_ends_at_once(tmp_path: Path, journal: Journal) -> None:
    error = LostError("nobody there")
    summary = Sender(Loopback(stored, refuse_from=1, refusal=error), journal, retry_for=60).run(instances(3, tmp_path))
    assert summary.fatal is error
    assert (summary.sent, summary.not_sent) == (0, 3)
    assert summary.seconds < 5


def test_send_when_peer_stays_away_then_given_up_after_retry_for(tmp_path: Path, journal: Journal) -> None:
    found = instances(3, tmp_path)

    def script(instance: Instance) -> Answer:
        if instance is found[1]:
            raise LostError("gone")
        return stored(instance)

    away = LostError("connection refused")
    summary = Sender(Loopback(script, refuse_from=2, refusal=away), journal, associations=1, retry_for=0.3).run(found)
    assert summary.fatal is away
    assert (summary.sent, summary.not_sent) == (1, 2)
    assert journal.acknowledged(found) == {found[0]}


def test_send_when_rejected_for_good_then_no_retry(tmp_path: Path, journal: Journal) -> None:
    found = instances(3, tmp_path)

    def script(instance: Instance) -> Answer:
        if instance is found[1]:
            raise LostError("gone")
        return stored(instance)

    rejected = RejectedError("not you")
    summary = Sender(Loopback(script, refuse_from=2, refusal=rejected), journal, associations=1, retry_for=60).run(
        found
    )
    assert summary.fatal is rejected
    assert summary.seconds < 10


def test_send_when_the_archive_takes_nothing_for_a_while_then_no_instance_is_given_up(
    tmp_path: Path, journal: Journal
) -> None:
    found = instances(3, tmp_path)
    refusals = [RejectedError("nothing now", transient=True) for _ in range(ATTEMPTS + 1)]

    def script(instance: Instance) -> Answer:
        if instance is found[1] and refusals:
            raise refusals.pop()
        return stored(instance)

    summary = Sender(Loopback(script), journal, associations=1, retry_for=60).run(found)
    assert (summary.sent, summary.not_sent, summary.fatal) == (3, 0, None)
    assert summary.retries == ATTEMPTS + 1


def test_send_when_a_worker_meets_a_bug_then_the_run_ends_and_says_so(tmp_path: Path, journal: Journal) -> None:
    def script(instance: Instance) -> Answer:
        raise ZeroDivisionError("bug")

    summary = Sender(Loopback(script), journal).run(instances(2, tmp_path))
    assert summary.fatal is not None
    assert "ZeroDivisionError" in summary.fatal.message
    assert summary.not_sent == 2


def test_send_when_two_files_claim_one_uid_then_copies_are_left_out_and_differing_ones_refused(
    tmp_path: Path, journal: Journal
) -> None:
    one, copy, liar = instances(3, tmp_path)
    copy.source.path.write_bytes(one.source.path.read_bytes())
    same = replace(copy, sop_instance=one.sop_instance)
    other = replace(liar, sop_instance=one.sop_instance)
    summary = Sender(Loopback(stored), journal).run([one, same, other])
    assert (summary.sent, summary.duplicates) == (1, 1)
    assert list(summary.refused.values()) == [[str(other.source)]]


def test_dimse_groups_when_more_than_128_contexts_then_several_that_cover_all(tmp_path: Path) -> None:
    source = Source(tmp_path, None, 10, 0)
    found = [Instance(source, f"1.2.3.{n}", f"1.2.{n}", str(JPEG2000Lossless), 0) for n in range(300)]
    groups = DimseTransport(Peer("A", "h", 104)).groups(found)
    assert len(groups) == 3
    assert all(len(group.contexts) <= 128 for group in groups)
    assert sorted(i.sop_class for g in groups for i in g.instances) == sorted(i.sop_class for i in found)
    for group in groups:
        assert {(i.sop_class, i.transfer_syntax) for i in group.instances} <= set(group.contexts)


def test_dimse_groups_when_uncompressed_then_the_default_transfer_syntax_is_offered_too(tmp_path: Path) -> None:
    found = [Instance(Source(tmp_path, None, 10, 0), CT, "1.2", str(ExplicitVRLittleEndian), 0)]
    (group,) = DimseTransport(Peer("A", "h", 104)).groups(found)
    assert (CT, str(ImplicitVRLittleEndian)) in group.contexts


def test_get_plan_when_many_sop_classes_then_each_request_fits_one_association() -> None:
    rows = [("1.1", "1.2", f"1.3.{n}", f"1.2.3.{n % 20}") for n in range(40)]
    requests = list(plan("study", identifier("study", {"StudyInstanceUID": "1.1"}), rows))
    assert len(requests) > 1
    assert all(len(contexts_for(request)) <= MAX_CONTEXTS for request in requests)
    wanted = [str(uid) for request in requests for uid in request.asked.SOPInstanceUID]
    assert sorted(wanted) == sorted(row[2] for row in rows)


def test_get_plan_when_few_sop_classes_then_one_request_as_asked() -> None:
    asked = identifier("study", {"StudyInstanceUID": "1.1"})
    (request,) = plan("study", asked, [("1.1", "1.2", "1.3", CT)])
    assert request.asked is asked
    assert len(contexts_for(request)) == 1 + len(TRANSFER_SYNTAXES)


def test_get_plan_when_peer_cannot_list_then_common_storage_classes_are_offered() -> None:
    (request,) = plan("study", identifier("study", {"StudyInstanceUID": "1.1"}), None)
    assert 100 < len(contexts_for(request)) <= MAX_CONTEXTS


def test_summary_facts_when_printed_as_json_then_the_contract_holds() -> None:
    summary = Summary(found=3, sent=1, already=1)
    summary.refused["no (0xC000)"].append("a.dcm")
    summary.skipped.append(Skipped("b.txt", Kind.NOT_DICOM, "no DICOM prefix"))
    facts = dicom_send.facts("A@h:1", summary, interrupted=False)
    assert set(facts) == {
        "destination",
        "found",
        "sent",
        "sent_bytes",
        "warnings",
        "already_there",
        "duplicates",
        "refused",
        "not_sent",
        "not_dicom",
        "dicomdir",
        "unreadable",
        "damaged",
        "problem",
        "interrupted",
        "retries",
        "associations",
        "seconds",
    }
    assert facts["refused"] == {"no (0xC000)": ["a.dcm"]}
    assert facts["not_dicom"] == [{"file": "b.txt", "reason": "no DICOM prefix"}]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"skipped": [Skipped("x", Kind.NOT_DICOM, "")]}, True),
        ({"skipped": [Skipped("x", Kind.DAMAGED, "")]}, False),
        ({"skipped": [Skipped("x", Kind.UNREADABLE, "")]}, False),
        ({"not_sent": 1}, False),
        ({"refused": {"no": ["x"]}}, False),
    ],
)
def test_succeeded_when_anything_that_is_dicom_did_not_get_there_then_false(
    change: dict[str, object], expected: bool
) -> None:
    assert dicom_send.succeeded(replace(Summary(), **change)) is expected  # type: ignore[arg-type]

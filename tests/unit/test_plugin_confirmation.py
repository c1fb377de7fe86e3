"""What is deleted of an instance, and what is not, by what Orthanc says of it (the order is Orthanc 1.12.7's)."""

from __future__ import annotations

import threading

import pytest
from confirmation import DOUBTS, PAUSE, Confirmation

Attachment = tuple[str, int]


class Store:
    """A storage area in memory."""

    def __init__(self) -> None:
        self.kept: dict[Attachment, bytes] = {}
        self.said: list[str] = []
        self.now = 0.0
        self.area = Confirmation(self._create, self._remove, self.said.append, lambda: self.now)

    def _create(self, uuid: str, content_type: int, content: bytes) -> None:
        self.kept[uuid, content_type] = content

    def _remove(self, uuid: str, content_type: int) -> None:
        del self.kept[uuid, content_type]

    def write(self, name: str) -> list[Attachment]:
        """Write an instance as Orthanc does: the file, and its head until the pixel data."""
        made = [(f"{name}-file", 1), (f"{name}-head", 3)]
        for uuid, content_type in made:
            self.area.create(uuid, content_type, name.encode())
        return made

    def clean(self, attachments: list[Attachment]) -> None:
        """Remove them."""
        for uuid, content_type in attachments:
            self.area.remove(uuid, content_type)


def test_instance_when_its_commit_failed_then_its_files_stay_and_it_is_said() -> None:
    store = Store()
    made = store.write("unknown")
    store.clean(made)  # Orthanc: "cancelling and deleting the attachments"
    assert set(store.kept) == set(made)
    store.write("next")
    store.area.stored()
    assert set(made) <= set(store.kept)
    assert store.said == [
        "kept: unknown-file, unknown-head: the index did not say whether it has the instance (orthweb store check)"
    ]


def test_instance_when_it_was_there_already_then_what_was_written_again_is_removed() -> None:
    store = Store()
    first = store.write("first")
    store.area.stored()
    again = store.write("again")
    store.clean(again)
    store.area.stored()
    assert set(store.kept) == set(first)
    assert store.said == []


def test_instance_when_it_is_deleted_later_then_its_files_go_at_once() -> None:
    store = Store()
    made = store.write("one")
    store.area.stored()
    store.clean(made)
    assert store.kept == {}


def test_instance_when_another_replaces_it_in_the_same_breath_then_the_old_files_go_at_once() -> None:
    store = Store()
    old = store.write("old")
    store.area.stored()
    new = store.write("new")
    store.clean(old)
    assert set(store.kept) == set(new)
    store.area.stored()
    assert set(store.kept) == set(new)


def test_instances_when_written_by_several_threads_then_one_does_not_decide_for_another() -> None:
    store = Store()
    unknown = store.write("unknown")
    store.clean(unknown)

    def other() -> None:
        store.write("other")
        store.area.stored()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert set(unknown) <= set(store.kept)


def test_attachment_when_it_cannot_be_written_then_the_instance_is_refused_and_nothing_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()

    def full(uuid: str, content_type: int, content: bytes) -> None:
        raise OSError("no space")

    monkeypatch.setattr(store.area, "_create", full)
    with pytest.raises(OSError, match="no space"):
        store.area.create("one", 1, b"")
    monkeypatch.undo()
    store.write("two")
    store.area.stored()
    assert set(store.kept) == {("two-file", 1), ("two-head", 3)}


def test_attachment_when_it_is_no_part_of_an_instance_then_it_goes_at_once_and_nothing_is_remembered() -> None:
    store = Store()
    for number in range(10):
        store.area.create(f"metadata-{number}", 4301, b"")
    store.area.remove("metadata-0", 4301)
    assert ("metadata-0", 4301) not in store.kept
    assert not store.area._written


def test_removal_when_it_fails_then_the_others_go_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    made = store.write("again")
    store.clean(made)

    def fail(uuid: str, content_type: int) -> None:
        if uuid == "again-file":
            raise OSError("I/O error")
        store._remove(uuid, content_type)

    monkeypatch.setattr(store.area, "_remove", fail)
    store.area.stored()
    assert set(store.kept) == {("again-file", 1)}
    assert store.said == ["left: again-file: I/O error"]


def test_index_when_it_takes_nothing_then_instances_are_not_written_but_for_one_that_tries() -> None:
    store = Store()
    for number in range(DOUBTS):
        store.clean(store.write(f"lost-{number}"))
    store.clean(store.write("try"))
    with pytest.raises(OSError, match="takes no instances"):
        store.write("refused")
    assert len(store.kept) == 2 * (DOUBTS + 1)
    store.now += PAUSE
    store.write("second try")
    store.area.stored()
    store.write("three")
    store.write("four")
    assert store.kept.keys() >= {("three-file", 1), ("four-head", 3)}

"""Index and store joined like two sorted lists."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthweb.store.attachment import Attachment, StoredObject, StoreError, content_type
from orthweb.store.check import joined


def attachment(name: str, file_type: int = 1) -> Attachment:
    return Attachment(name, file_type, 1, "")


def stored(name: str, file_type: int | None = None) -> StoredObject:
    return StoredObject(name, file_type, 1, None)


@given(st.sets(st.text("abc-", max_size=3)), st.sets(st.text("abc-", max_size=3)))
def test_any_two_lists_then_pairs_are_the_intersection_and_the_rest_is_alone(left: set[str], right: set[str]) -> None:
    found = list(joined(map(attachment, sorted(left)), map(stored, sorted(right))))
    assert {a.uuid for a, o in found if a and o} == left & right
    assert {a.uuid for a, o in found if a and not o} == left - right
    assert {o.uuid for a, o in found if o and not a} == right - left
    assert len(found) == len(left | right)


def test_object_of_another_type_under_the_same_name_then_it_is_no_pair() -> None:
    found = list(joined([attachment("a", 1), attachment("b", 3)], [stored("a", 3), stored("b", 1), stored("b", 3)]))
    assert found == [
        (None, stored("a", 3)),
        (attachment("a", 1), None),
        (None, stored("b", 1)),
        (attachment("b", 3), stored("b", 3)),
    ]


@pytest.mark.parametrize("side", ["index", "store"])
def test_list_that_is_not_sorted_then_it_is_refused(side: str) -> None:
    names = ["a", "c", "b"]
    left = map(attachment, names if side == "index" else sorted(names))
    right = map(stored, names if side == "store" else sorted(names))
    with pytest.raises(StoreError, match=f"the {side} does not list in the order"):
        list(joined(left, right))


def test_hundred_times_as_many_then_no_more_memory() -> None:
    def peak(count: int) -> int:
        def names() -> Iterator[str]:
            return (f"{number:09}" for number in range(count))

        tracemalloc.start()
        pairs = joined(map(attachment, names()), map(stored, itertools.islice(names(), 0, None, 2)))
        assert sum(1 for _ in pairs) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(100_000) < 2 * peak(1_000) + 10_000


@pytest.mark.parametrize(("file_type", "known"), [(1, 1), (2, 2), (3, 3), (4, 0), (1024, 0), (65535, 0)])
def test_type_in_the_index_then_the_store_knows_it_as(file_type: int, known: int) -> None:
    assert content_type(file_type) == known

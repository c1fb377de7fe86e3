"""TOML as text: the lines of keys, and values written so that they read back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ByteSize

from orthweb.tomltext import Place, dotted, lines_of, printable, quoted, size, toml


def test_lines_when_document_uses_all_of_toml_then_each_key_has_its_own() -> None:
    text = dedent(
        '''\
        top = 1 # = [no] table
        "odd key".'and another' = 2

        [edge] # comment
        listen = [ # comment ]
          "a]", # "quoted"
          ["b", "c"],

        ]
        text = """
        [not] a = table
        """
        literal = \'\'\'
        it's = \'\'\'
        after = 1979-05-27 07:32:00
        inline = { x = 1, y.z = [ 1.5,
          2 ], q = "}" }
        quoted = """ends with two""""" # so
        last = ""
        [a . "b.c"]
        d = +inf
        [[list]]
        e = 1
        [[list]]
        e = 2
        [list.sub]
        f = 3
        '''
    )
    lines = lines_of(text)
    expected: dict[Place, int] = {
        ("top",): 1,
        ("odd key", "and another"): 2,
        ("edge",): 4,
        ("edge", "listen"): 5,
        ("edge", "listen", 0): 6,
        ("edge", "listen", 1): 7,
        ("edge", "listen", 1, 1): 7,
        ("edge", "text"): 10,
        ("edge", "literal"): 13,
        ("edge", "after"): 15,
        ("edge", "inline"): 16,
        ("edge", "inline", "x"): 16,
        ("edge", "inline", "y", "z", 1): 17,
        ("edge", "inline", "q"): 17,
        ("edge", "quoted"): 18,
        ("edge", "last"): 19,
        ("a", "b.c"): 20,
        ("a", "b.c", "d"): 21,
        ("list", 0, "e"): 23,
        ("list", 1): 24,
        ("list", 1, "e"): 25,
        ("list", 1, "sub", "f"): 27,
    }
    assert {place: lines.get(place) for place in expected} == expected
    assert places(tomllib.loads(text)) == set(lines)


def test_lines_when_windows_line_ends_then_the_same() -> None:
    assert lines_of("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


def places(value: Any, place: Place = ()) -> set[Place]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {place} if place else set()
    for key, each in inner:
        found |= places(each, (*place, key))
    return found


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.datetimes()
    | st.dates()
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_toml_when_read_back_then_the_same_values(document: dict[str, Any]) -> None:
    text = "".join(f"{dotted((key,))} = {toml(value)}\n" for key, value in document.items())
    assert tomllib.loads(text) == document


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.integers(0, 3))
def test_lines_when_document_is_valid_then_every_place_has_one(document: dict[str, Any], gap: int) -> None:
    text = "".join("\n" * gap + f"{dotted((key,))} = {toml(value)}\n" for key, value in document.items())
    lines = lines_of(text)
    assert set(lines) == places(document)
    assert [lines[(key,)] for key in document] == [(gap + 1) * (n + 1) for n in range(len(document))]


def test_toml_when_value_has_no_toml_then_type_error() -> None:
    with pytest.raises(TypeError, match="object"):
        toml([object()])


@pytest.mark.parametrize(("value", "written"), [(0, "0B"), (1500, "1500B"), (1024, "1KiB"), (3 * 2**30, "3GiB")])
def test_size_when_written_then_in_the_largest_exact_unit(value: int, written: str) -> None:
    assert size(value) == written
    assert toml(ByteSize(value)) == f'"{written}"'


def test_quoted_when_text_could_steer_a_terminal_then_escaped() -> None:
    assert quoted('a\x1b[2J\x9b\x7f\u202e"') == '"a\\u001b[2J\\u009b\\u007f\\u202e\\""'
    assert printable('C:\\päth "x"\n') == 'C:\\päth "x"\\n'


def test_toml_when_path_then_quoted() -> None:
    assert toml(Path("/srv/a b")) == '"/srv/a b"'

"""TOML as text: on which line a key stands, and how a value is written.

The standard library's parser gives values without places; a person who has to mend a file needs the line.
Source: TOML 1.0.0, https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Final

from pydantic import ByteSize

Place = tuple[str | int, ...]
"""Where a value stands in a document: keys of tables, indexes of arrays."""

BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")

_TOKEN: Final = re.compile(
    r"(?P<newline>\n)"
    r"|(?P<space>[ \t\r]+|\#[^\n]*)"
    # A closing quotation mark may be preceded by one or two that belong to the text.
    r'|(?P<quoted>"""(?:\\.|[^\\])*?"""(?!")'
    r"|'''[^\x00]*?'''(?!')"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*')"
    r"|(?P<mark>[][{}=,.])"
    r"|(?P<bare>[^\s\"'#\[\]{}=,.]+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> list[_Token]:
    tokens, line = [], 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "space":
            tokens.append(_Token(kind, match.group(), line))
        line += match.group().count("\n")
    tokens.append(_Token("end", "", line))
    return tokens


class _Reader:
    """Walks the tokens of a document that the standard library has found to be valid."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.lines: dict[Place, int] = {}
        self.elements: dict[Place, int] = {}

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def read(self) -> dict[Place, int]:
        table: Place = ()
        while self.token.kind != "end":
            if self.token.kind == "newline":
                self.at += 1
            elif self.token.text == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.lines

    def record(self, place: Place, line: int) -> None:
        for length in range(1, len(place) + 1):
            self.lines.setdefault(place[:length], line)

    def header(self) -> Place:
        line, brackets = self.token.line, 0
        while self.token.text == "[":
            brackets += 1
            self.at += 1
        is_array = brackets == 2
        names = self.key()
        self.at += brackets
        place: Place = ()
        for depth, name in enumerate(names, 1):
            place += (name,)
            # [a.b] below [[a]] belongs to the newest element of a.
            if place in self.elements and not (is_array and depth == len(names)):
                place += (self.elements[place],)
        if is_array:
            self.elements[place] = self.elements.get(place, -1) + 1
            place += (self.elements[place],)
        self.record(place, line)
        return place

    def key(self) -> list[str]:
        names = []
        while self.token.text not in ("=", "]"):
            if self.token.kind == "quoted":
                names.append(str(tomllib.loads(f"k = {self.token.text}")["k"]))
            elif self.token.kind == "bare":
                names.append(self.token.text)
            self.at += 1
        return names

    def pair(self, table: Place) -> None:
        line = self.token.line
        place = (*table, *self.key())
        self.record(place, line)
        self.at += 1  # =
        self.value(place)

    def value(self, place: Place) -> None:
        if self.token.kind == "mark" and self.token.text == "[":
            self.array(place)
        elif self.token.kind == "mark" and self.token.text == "{":
            self.at += 1
            while not self.past("}"):
                self.pair(place)
        else:
            while self.token.kind not in ("newline", "end") and self.token.text not in (",", "]", "}"):
                self.at += 1

    def array(self, place: Place) -> None:
        self.at += 1
        index = 0
        while not self.past("]"):
            self.record((*place, index), self.token.line)
            self.value((*place, index))
            index += 1

    def past(self, closing: str) -> bool:
        """Step over separators; tell whether the closing mark came, and step over it too."""
        while self.token.kind == "newline" or self.token.text == ",":
            self.at += 1
        if self.token.kind == "mark" and self.token.text == closing:
            self.at += 1
            return True
        return False


def lines_of(text: str) -> dict[Place, int]:
    """Find the line (from 1) of every key, table and array element of a valid TOML document.

    Parameters
    ----------
    text : a document that ``tomllib`` has parsed without error; of any other the result means nothing.
    """
    return _Reader(text.replace("\r\n", "\n")).read()


def dotted(place: Place) -> str:
    """Write a place as a person would: ``modalities.ct.allow[0]``; odd names in quotation marks."""
    written = ""
    for part in place:
        if isinstance(part, int):
            written += f"[{part}]"
        else:
            written += ("." if written else "") + (part if BARE_KEY.fullmatch(part) else quoted(part))
    return written


def quoted(text: str) -> str:
    """Write text as a TOML basic string; what a terminal would not show as itself is escaped."""

    def escaped(character: str) -> str:
        code = ord(character)
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return "".join(c if c.isprintable() else escaped(c) for c in json.dumps(text, ensure_ascii=False))


def printable(text: str) -> str:
    """Write a name from outside for a terminal: what would not show as itself is escaped."""
    return quoted(text)[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def size(value: int, between: str = "") -> str:
    """Write a number of bytes in the largest binary unit that fits it exactly: ``3GiB``, ``1500B``."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = 0
    while value and value % 1024 == 0 and power < len(units) - 1:
        value //= 1024
        power += 1
    return f"{value}{between}{units[power]}"


def toml(value: object) -> str:
    """Write a value of a site file as TOML, on one line.

    Raises
    ------
    TypeError : TOML has no way to write it.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case ByteSize():
            return quoted(size(value))
        case int() | float():
            return str(value)
        case str() | Path() | IPv4Address() | IPv4Network() | IPv6Address():
            return quoted(str(value))
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(toml(each) for each in value)}]"
        case dict():
            return "{" + ", ".join(f"{dotted((str(key),))} = {toml(each)}" for key, each in value.items()) + "}"
        case _:
            raise TypeError(f"{type(value).__name__}: TOML has no such value")

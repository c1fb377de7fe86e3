"""Reads the site file: one line for each problem, with its place, value and what the value should be."""

from __future__ import annotations

import copy
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orthweb.errors import SiteFileError, UsageError
from orthweb.site import Reading, Site
from orthweb.sitefile.keys import advice, field_at, form_of
from orthweb.sitetypes import MODALITY_NAME_FORM
from orthweb.state import FOLDER_NAME
from orthweb.tomltext import Place, dotted, lines_of, printable, toml

DEFAULT_NAME: Final = "site.toml"
DEFAULT_ORIGIN: Final = "default"
MAX_SIZE: Final = 1024 * 1024
"""Bytes; a site file of a thousand modalities has a fifth of it."""

_SHOWN: Final = 60
"""Characters of a value that an error message repeats."""

_SECRET_NAME: Final = re.compile(
    r"pass|pwd|secret|token|credential|key$|private|login|auth|(^|_)pin($|_)", re.IGNORECASE
)
_PASSWORD_FILE: Final = "there is no such file that this user may read; it should be the name of one with the password"  # noqa: S105  a message
_SECRET_VALUE: Final = re.compile(r"-----BEGIN|://[^/\s]*:[^/\s]*@|[A-Za-z0-9+=_-]{32,}")

_TOML_PLACE: Final = re.compile(r"^(?P<what>.*) \(at (line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_TOML_ADVICE: Final = (
    ("Invalid value", "this is no value; text needs quotation marks"),
    ("Expected '=' after a key", 'expected "=" after a key'),
    ("Invalid initial character for a key part", "expected a key here"),
    ("Invalid statement", "expected a key, a [table] or a comment here"),
    ("Cannot overwrite a value", "this key is here for the second time"),
    ("Cannot declare", "this table is here for the second time"),
    ("Cannot mutate immutable namespace", "this table is here for the second time"),
    (
        "Expected newline or end of document after a statement",
        "nothing more may follow here; text needs quotation marks",
    ),
    ("Unterminated string", "the text has no closing quotation mark"),
    ("Illegal character '\\n'", "the text has no closing quotation mark on this line"),
    ("Exceeds the limit", "a number is far too long"),
    ("Unclosed array", 'the list has no closing "]"'),
)


@dataclass(frozen=True, order=True)
class _Problem:
    line: int
    text: str


def load(path: Path) -> Site:
    """Read and validate a site file.

    Paths in the result are absolute: relative ones count from the site file's folder. ``site.toml`` in the current
    folder, the default, may be missing: that is the same as an empty file.

    Raises
    ------
    SiteFileError : the file is wrong; all problems, one line each, in the order of the file.
    UsageError : a file that was named does not exist.
    """
    return load_with_origin(path)[0]


def load_with_origin(path: Path) -> tuple[Site, Mapping[str, str]]:
    """Read a site file as `load` does, and tell where values come from.

    Returns
    -------
    The site, and for each dotted key that the file gives its place (``site.toml:12``). Keys that are not in it have
    their default.
    """
    site, lines = parse(_read(path), path)
    return site, {dotted(place): f"{path}:{line}" for place, line in lines.items()}


def parse(text: str, path: Path) -> tuple[Site, Mapping[Place, int]]:
    """Validate the text of a site file.

    Parameters
    ----------
    path : the file's name for messages; its folder is where relative paths count from.

    Returns
    -------
    The site, and on which line (from 1) each key of the file stands.

    Raises
    ------
    SiteFileError : as `load`.
    """
    name = printable(str(path))
    try:
        data = _toml(text, name)
        lines = lines_of(text)
        site, problems = _validate(data, lines, path.absolute().parent)
    except RecursionError as error:
        raise SiteFileError([f"{name}: lists or tables are nested too deeply"]) from error
    if problems:
        raise SiteFileError([f"{name}:{each.line}: {each.text}" for each in sorted(problems)])
    return site, lines


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise SiteFileError([_syntax(str(error), name)]) from error


def _read(path: Path) -> str:
    name = printable(str(path))
    try:
        default = Path.cwd() / DEFAULT_NAME
    except OSError as error:
        raise UsageError("the current folder does not exist any more", "cd to another folder") from error
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SiteFileError([f"{name}: is a folder, not a site file; did you mean {name}/{DEFAULT_NAME}?"])
        if not stat.S_ISREG(mode):
            raise SiteFileError([f"{name}: is not a regular file"])
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        if path.absolute() == default:
            return ""
        if not path.parent.is_dir():
            raise UsageError(f"{name}: no such file", f"the folder {printable(str(path.parent))} is missing") from None
        raise UsageError(f"{name}: no such file", f"orthweb --site {name} init writes one") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SiteFileError([f"{name}: cannot be read: {reason}"]) from error
    return _decode(content, name)


def _decode(content: bytes, name: str) -> str:
    if len(content) > MAX_SIZE:
        raise SiteFileError([f"{name}: is larger than {MAX_SIZE // 1024} KiB: not a site file"])
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SiteFileError([f"{name}: is UTF-16 text; save it as UTF-8"])
    if b"\0" in content:
        raise SiteFileError([f"{name}: is not a text file"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SiteFileError([f"{name}:{line}: is not UTF-8 text; save the file as UTF-8"]) from error


def _syntax(error: str, name: str) -> str:
    place = _TOML_PLACE.match(error)
    what = place["what"] if place else error
    what = next((advice for begin, advice in _TOML_ADVICE if what.startswith(begin)), what)
    if place is None:
        return f"{name}: not TOML: {what}"
    if place["line"] is None:
        return f"{name}: not TOML: {what} (at the end of the file)"
    return f"{name}:{place['line']}:{place['column']}: not TOML: {what}"


def _validate(data: dict[str, Any], lines: Mapping[Place, int], folder: Path) -> tuple[Site, list[_Problem]]:
    """Find every problem: what is wrong by itself is reported and left out, then the rest is looked at together."""
    problems: list[_Problem] = []
    wrong: list[Place] = []
    rest = copy.deepcopy(data)
    while True:
        reading = Reading(folder)
        try:
            site = Site.model_validate(rest, context=reading)
            break
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False, include_input=False):
                place, text = _explain(detail, data)
                problems.append(_Problem(_line(lines, detail["loc"]), text))
                wrong.append(place)
                _remove(rest, place)
    for found in reading.contradictions:
        if not any(_within(place, wrong) for place in (found.place, *found.others)):
            value = _shown(found.place, _value_at(data, found.place))
            problems.append(_Problem(_line(lines, found.place), f"{dotted(found.place)}: {value}: {found.message}"))
    for place, message in _file_problems(site, folder):
        if not _within(place, wrong):
            problems.append(
                _Problem(_line(lines, place), f"{dotted(place)}: {_shown(place, _value_at(data, place))}: {message}")
            )
    return site, problems


def _explain(detail: ErrorDetails, data: dict[str, Any]) -> tuple[Place, str]:
    """Turn what pydantic found into the place to leave out and one line for the person."""
    place: Place = tuple(detail["loc"])
    if place[-1:] == ("[key]",):
        return place[:-1], f"{_short(dotted(place[:-1]))}: a modality's name should be {MODALITY_NAME_FORM}"
    key = _without_index(place)
    field = field_at(place)
    if detail["type"] == "extra_forbidden":
        return key, _unknown(place, _value_at(data, place))
    if detail["type"] == "missing":
        should = form_of(field) if field is not None else "given"
        return key if key != place else place[:-1], f"{dotted(place)}: missing: should be {should}"
    value = _shown(place, _value_at(data, place))
    if field is None or place == ("modalities",) or (place[0] == "modalities" and len(place) == 2):
        header = dotted(place) if place != ("modalities",) else "modalities.NAME"
        return key, f"{dotted(place)}: {value}: should be a table: [{header}]"
    should = form_of(field, of_element=key != place)
    if should == "a table":
        should += f": [{dotted(place)}]"
    # A table that lacks a required key would be found wrong for that as well: leave all of it out.
    return key[:-1] if field.is_required() and key == place else key, f"{dotted(place)}: {value}: should be {should}"


def _unknown(place: Place, value: object) -> str:
    kind = "table" if isinstance(value, dict) else "key"
    shown = "" if isinstance(value, dict) else f" {_shown(place, value)}:"
    return f"{_short(dotted(place))}:{shown} unknown {kind}; {advice(place)}"


def _file_problems(site: Site, folder: Path) -> Iterator[tuple[Place, str]]:
    files: list[tuple[Place, Path | None, str]] = [
        (("tls", "certificate"), site.tls.certificate, "a PEM file"),
        (("tls", "key"), site.tls.key, "a PEM file"),
        (("index", "password"), site.index.password, "a file with a password"),
        (("index", "ca"), site.index.ca, "a PEM file"),
        (("aws", "ssh_public_key"), site.aws.ssh_public_key, "a public key's file"),
        *((("modalities", name, "ca"), peer.ca, "a PEM file") for name, peer in site.modalities.items()),
        *(
            (("archive", "extra_plugins", number, "path"), plugin.path, "a shared object (.so)")
            for number, plugin in enumerate(site.archive.extra_plugins)
        ),
    ]
    for place, file, kind in files:
        reason = _unreadable(file, kind) if file is not None else None
        if reason is not None:
            yield place, reason if place != ("index", "password") else _PASSWORD_FILE
    if site.store.path is not None:
        reason = _no_store(site.store.path, folder)
        if reason is not None:
            yield ("store", "path"), reason


def _unreadable(file: Path, kind: str) -> str | None:
    try:
        if file.is_dir():
            return f"{printable(str(file))} is a folder, should be {kind}"
        if not file.exists():
            return f"there is no file {printable(str(file))}"
        if not file.is_file():
            return f"{printable(str(file))} is not a regular file"
        readable = os.access(file, os.R_OK)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if readable else f"{printable(str(file))} may not be read by this user"


def _no_store(path: Path, folder: Path) -> str | None:
    state = Path(os.path.realpath(folder / FOLDER_NAME))
    try:
        store = Path(os.path.realpath(path))
        if path.exists() and not path.is_dir():
            return f"{printable(str(path))} is a file, should be a folder"
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    # `destroy --data` removes the store: nothing else may lie in it.
    if state.is_relative_to(store):
        return "holds the site file and its state; should be a folder for DICOM files alone"
    if store.is_relative_to(state) and store != state / "store":
        return f"is inside {FOLDER_NAME}, the state folder; should be elsewhere"
    return None


def _line(lines: Mapping[Place, int], place: Sequence[str | int]) -> int:
    """Find the line of a key, or else of the table that it is missing from."""
    return next((lines[tuple(place[:n])] for n in range(len(place), 0, -1) if tuple(place[:n]) in lines), 1)


def _value_at(data: object, place: Sequence[str | int]) -> object:
    for part in place:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
    return data


def _without_index(place: Place) -> Place:
    return next((place[:n] for n, part in enumerate(place) if isinstance(part, int)), place)


def _within(place: Place, wrong: Sequence[Place]) -> bool:
    return any(place[: len(each)] == each for each in wrong)


def _remove(data: dict[str, Any], place: Place) -> None:
    *tables, name = place
    table: Any = data
    for part in tables:
        table = table.get(part, {}) if isinstance(table, dict) else {}
    if isinstance(table, dict):
        table.pop(name, None)


def _shown(place: Place, value: object) -> str:
    """Write a value for a message: short, on one line, and nothing that may be a secret."""
    if isinstance(value, dict):
        return "a table"
    if place[-1:] == ("password",):  # a file's name, or, by mistake, the password itself
        return "(value not shown)"
    unknown = field_at(place) is None
    if unknown and any(isinstance(part, str) and _SECRET_NAME.search(part) for part in place):
        return "(value not shown)"
    try:
        written = "default" if value is None else toml(value)
    except ValueError:  # Python refuses to write integers of more than 4300 digits
        return "(a very long number)"
    return "(value not shown)" if _SECRET_VALUE.search(written) else _short(written)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

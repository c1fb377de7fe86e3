"""The commented site file that ``orthweb init`` writes: every key of the model, with its default."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args, get_origin

from orthweb.errors import UsageError
from orthweb.sitefile.keys import MODALITY_TABLE, Table, advice, field_at, is_table, known_keys, tables
from orthweb.tomltext import BARE_KEY, printable, toml

_WIDTH: Final = 100

_HEAD: Final = """\
# What a person decides about this site; everything else Orthweb decides.
#
# Every key stands below with its default. To change one, remove the # in front of it and write your
# value. An empty file is a valid site too: HTTPS and DICOM TLS for this machine alone.
#
# orthweb config   shows the values in force and where each comes from
# orthweb plan     shows what a change would do; orthweb up does it"""


def example(values: Mapping[str, Any] | None = None) -> str:
    """Write a commented site file.

    Parameters
    ----------
    values : what to set, by dotted key; all other keys stay comments with their defaults.
    """
    values = values or {}
    parts = [_HEAD]
    for table in tables():
        parts.extend((_modalities if table.name == MODALITY_TABLE else _table)(table, values))
    return "\n".join(parts) + "\n"


def assignments(arguments: Iterable[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` arguments as they come from a command line.

    A value is TOML, with two kindnesses: text needs no quotation marks, and a list may be written as ``a,b``.

    Raises
    ------
    UsageError : not of the form KEY=VALUE, or no key of a site file.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        name, sign, text = (part.strip() for part in argument.partition("="))
        place = name.split(".")
        if not sign or not all(BARE_KEY.fullmatch(part) for part in place):
            raise UsageError(f"--set {printable(argument)}: should be KEY=VALUE, such as edge.https_port=9443")
        field = field_at(place)
        if field is None:
            raise UsageError(f"--set {name}: unknown key; {_nearest(place)}")
        if is_table(place):
            raise UsageError(f"--set {name}: is a table; name one of its keys: {', '.join(known_keys(place))}")
        values[name] = _value(text, field.annotation)
    return values


def _nearest(place: list[str]) -> str:
    """Advise on the first part that the model does not know."""
    return next(advice(place[:n]) for n in range(1, len(place) + 1) if field_at(place[:n]) is None)


def _value(text: str, annotation: Any) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except ValueError:
        document = {"value": text}
    value = document["value"] if len(document) == 1 else text
    if get_origin(annotation) is tuple:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    is_textual = annotation is str or any(isinstance(each, str) for each in get_args(annotation))
    return value if isinstance(value, str) or not is_textual else text


def _table(table: Table, values: Mapping[str, Any]) -> Iterator[str]:
    if table.name:
        yield f"\n\n{_rule(table.description)}\n[{table.name}]"
    for key in table.keys:
        yield ""
        yield _comment(key.description)
        if key.form not in ("true or false", key.default):
            yield _comment(f"{_capital(key.form)}.")
        if key.dotted in values:
            yield f"{key.name} = {toml(values[key.dotted])}"
        elif key.default is not None:
            yield f"#{key.name} = {key.default}"
        else:
            yield f"# Example: {key.name} = {key.example}"


def _modalities(table: Table, values: Mapping[str, Any]) -> Iterator[str]:
    summary, _, details = table.description.partition("\n")
    yield f"\n\n{_rule(summary)}"
    yield _comment(f"One table [{MODALITY_TABLE}] for each. {' '.join(details.split())}")
    yield "#"
    for key in table.keys:
        necessary = "" if key.required else " May be left out."
        yield _comment(f"{key.name + ':':<6} {key.description}{necessary}", indent="#        ")
    yield "#\n# For example, with the # signs removed:\n#\n# [modalities.ct1]"
    yield from (f"# {key.name} = {key.example or key.default}" for key in table.keys)
    named: dict[str, list[str]] = {}
    for dotted, value in values.items():
        first, *rest = dotted.split(".")
        if first == "modalities":
            named.setdefault(rest[0], []).append(f"{rest[1]} = {toml(value)}")
    for name, lines in named.items():
        yield "\n".join(["", f"[modalities.{name}]", *lines])


def _rule(title: str) -> str:
    return f"# {'-' * (_WIDTH - 2)}\n{_comment(title)}"


def _comment(text: str, indent: str = "# ") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent=indent, break_on_hyphens=False)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

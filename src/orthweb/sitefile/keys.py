"""Every key of the site file, read from the model: for the example, the reference and the error messages."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import ByteSize
from pydantic.fields import FieldInfo

from orthweb.section import Section
from orthweb.site import Modality, Site, table_names
from orthweb.sitetypes import Form, Unit
from orthweb.tomltext import dotted, quoted, size, toml


@dataclass(frozen=True)
class Key:
    """One key of the site file.

    Parameters
    ----------
    table : the table it belongs to: "" for the top, ``edge``, ``modalities.NAME``.
    name : its name in that table.
    form : what its value should be, in words that follow "should be".
    default : its default as TOML; None when it has none.
    required : whether it has to be given.
    example : a value as TOML, for keys without a default.
    description : what it is for.
    """

    table: str
    name: str
    form: str
    default: str | None
    required: bool
    example: str | None
    description: str

    @property
    def dotted(self) -> str:
        """The key with its table, such as ``edge.https_port``."""
        return f"{self.table}.{self.name}" if self.table else self.name


@dataclass(frozen=True)
class Table:
    """One table of the site file with its keys."""

    name: str
    description: str
    keys: tuple[Key, ...]


MODALITY_TABLE: Final = "modalities.NAME"


def tables() -> tuple[Table, ...]:
    """Give the whole site file in the order of the model: the top, its tables, and what one modality has."""
    once = table_names()
    top = [_key("", name, field) for name, field in Site.model_fields.items() if name not in (*once, "modalities")]
    sections = [table for name in once for table in _tables(name, type(Site.model_fields[name].default))]
    return Table("", "The site itself.", tuple(top)), *sections, *_tables(MODALITY_TABLE, Modality)


def _tables(name: str, section: type[Section]) -> Iterator[Table]:
    """Give a table and, after it, those in it."""
    inner = {key: found for key, field in section.model_fields.items() if (found := _section_of(field)) is not None}
    keys = tuple(_key(name, key, field) for key, field in section.model_fields.items() if key not in inner)
    yield Table(name, section.__doc__ or "", keys)
    for key, found in inner.items():
        yield from _tables(f"{name}.{key}", found)


def _key(table: str, name: str, field: FieldInfo) -> Key:
    given = not field.is_required() and field.default is not None
    return Key(
        table=table,
        name=name,
        form=form_of(field),
        default=toml(field.default) if given else None,
        required=field.is_required(),
        example=toml(field.examples[0]) if field.examples else None,
        description=field.description or "",
    )


def form_of(field: FieldInfo, of_element: bool = False) -> str:
    """Say what a field's value should be, in words that follow "should be".

    Parameters
    ----------
    of_element : speak of one element of a list instead of the list.
    """
    annotation: Any = field.annotation
    element = _element_of(field)
    if of_element and element is not None:
        return f"a table {_inline(element)}"
    if of_element and get_origin(annotation) is tuple:
        return _form(get_args(annotation)[0], ())
    return _form(annotation, field.metadata)


def field_at(place: Sequence[str | int]) -> FieldInfo | None:
    """Find the field of a key such as ``("modalities", "ct", "port")``; None when there is no such key."""
    return _at(place)[0]


def _at(place: Sequence[str | int]) -> tuple[FieldInfo | None, type[Section] | None]:
    """Find the field of a key, and the table that its value is (or an element of it, where `place` ends with one)."""
    field: FieldInfo | None = None
    section: type[Section] | None = Site
    for part in _without_names(place):
        if isinstance(part, int):
            section = _element_of(field) if field is not None else None
            continue
        field = section.model_fields.get(part) if section is not None else None
        if field is None:
            return None, None
        section = _section_of(field)
    return field, section


def known_keys(place: Sequence[str | int]) -> tuple[str, ...]:
    """Name the keys that the table at `place` may have; nothing when it is no table."""
    if not place:
        return tuple(Site.model_fields)
    if list(place) == ["modalities"]:
        return ("NAME",)
    section = _at(place)[1]
    return tuple(section.model_fields) if section is not None else ()


def is_table(place: Sequence[str | int]) -> bool:
    """Tell whether `place` is a table, such as ``("edge",)`` or ``("modalities", "ct")``."""
    field = field_at(place)
    return field is not None and (form_of(field) == "a table" or (len(place) < 3 and place[0] == "modalities"))


def advice(place: Sequence[str | int]) -> str:
    """Say what may stand instead of an unknown key: the nearest one, or else all."""
    *table, name = place
    known = known_keys(table)
    near = difflib.get_close_matches(str(name), known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    if not known:
        return f"{dotted(tuple(table))} is no table"
    return f"{f'[{dotted(tuple(table))}] has' if table else 'there are'} {', '.join(known)}"


def _without_names(place: Sequence[str | int]) -> Iterator[str | int]:
    """Leave a modality's name out: the model has none."""
    return (part for depth, part in enumerate(place) if not (depth == 1 and place[0] == "modalities"))


def _section_of(field: FieldInfo) -> type[Section] | None:
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
        return field.annotation
    if get_origin(field.annotation) is not dict:
        return None
    value: Any = get_args(field.annotation)[1]
    return value if isinstance(value, type) and issubclass(value, Section) else None


def _element_of(field: FieldInfo) -> type[Section] | None:
    """Give the table that each element of a list is."""
    element: Any = get_args(field.annotation)[0] if get_origin(field.annotation) is tuple else None
    return element if isinstance(element, type) and issubclass(element, Section) else None


def _form(annotation: Any, metadata: Sequence[object]) -> str:
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata = [*inner, *metadata]
    for entry in metadata:
        if isinstance(entry, Form):
            return entry.one
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _form(next(each for each in arguments if each is not type(None)), metadata)
    if origin is Literal:
        choices = [quoted(each) for each in arguments]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    if origin is tuple:
        some = "one or more " if any(isinstance(entry, annotated_types.MinLen) for entry in metadata) else ""
        return f"a list of {some}{_many(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "a table"
    if annotation is bool:
        return "true or false"
    if isinstance(annotation, type) and issubclass(annotation, int):
        return _number(annotation, metadata)
    if annotation is float:
        low, high = _limits(metadata)
        return f"a number from {low} to {high}"
    return "a path in quotation marks" if annotation is Path else "text in quotation marks"


def _inline(section: type[Section]) -> str:
    return f"{{ {', '.join(f'{name} = ...' for name in section.model_fields)} }}"


def _many(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"tables {_inline(annotation)}"
    for entry in get_args(annotation):
        if isinstance(entry, Form) and entry.many:
            return entry.many
    return _form(annotation, ()).removeprefix("one of ")


def _number(annotation: type[int], metadata: Sequence[object]) -> str:
    unit = next((f" of {entry.name}" for entry in metadata if isinstance(entry, Unit)), "")
    low, high = _limits(metadata)
    if issubclass(annotation, ByteSize):
        most = "" if high is None else f" to {size(high, ' ')}"
        return f'a size from {size(low or 0, " ")}{most}, such as "3GiB", or a whole number of bytes'
    return f"a whole number{unit} from {low} to {high}"


def _limits(metadata: Sequence[object]) -> tuple[Any, Any]:
    least = next((entry.ge for entry in metadata if isinstance(entry, annotated_types.Ge)), None)
    most = next((entry.le for entry in metadata if isinstance(entry, annotated_types.Le)), None)
    return least, most

"""The values that are in force at a site, and where each one comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthweb.section import Section
from orthweb.site import Site
from orthweb.sitefile.reading import DEFAULT_ORIGIN, load_with_origin
from orthweb.state import FOLDER_NAME, StateFolder
from orthweb.tomltext import Place, dotted, printable, quoted, size, toml


@dataclass(frozen=True)
class Setting:
    """One value in force.

    Parameters
    ----------
    key : the dotted key, such as ``edge.https_port``.
    value : what is in force: text, number, truth value, list, or None where there is nothing to say.
    shown : the same as a person reads it.
    origin : ``default``, or the place in the site file (``site.toml:12``).
    derived : how it follows from what the origin says, where it does; else None.
    """

    key: str
    value: str | int | float | bool | list[str] | None
    shown: str
    origin: str
    derived: str | None = None

    @property
    def table(self) -> str:
        """The table that the key belongs to; "" for the top."""
        return self.key.rpartition(".")[0]


def settings(path: Path) -> list[Setting]:
    """Read a site file and give all values in force, in the order of the model.

    Raises
    ------
    SiteFileError, UsageError : as `orthweb.sitefile.load`.
    """
    site, origins = load_with_origin(path)
    folder = path.absolute().parent
    return [
        _setting(place, value, origins, _derived(place, site, folder, origins)) for place, value in _values(site, ())
    ]


def _values(section: Section, table: Place) -> Iterator[tuple[Place, object]]:
    for name, value in section:
        if isinstance(value, Section):
            yield from _values(value, (*table, name))
        elif isinstance(value, dict) and all(isinstance(inner, Section) for inner in value.values()):
            for each, inner in value.items():
                yield from _values(inner, (*table, name, each))
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            for number, inner in enumerate(value):
                yield from _values(inner, (*table, name, number))
        else:
            yield (*table, name), value


def _setting(place: Place, value: object, origins: Mapping[str, str], derived: tuple[object, str] | None) -> Setting:
    key = dotted(place)
    value, why = derived if derived is not None else (value, None)
    return Setting(key, _plain(value), _shown(place, value), origins.get(key, DEFAULT_ORIGIN), why)


def _derived(place: Place, site: Site, folder: Path, origins: Mapping[str, str]) -> tuple[object, str] | None:
    """Give the value in force and the reason, where it is not the one that was given."""
    if place == ("dicom", "unknown_peers") and site.dicom.unknown_peers == "auto":
        return site.unknown_peers, f"auto: {_who_can_reach(site)}"
    if place == ("store", "path") and site.store.path is None:
        return StateFolder(folder / FOLDER_NAME).store, "in the state folder"
    if place in (("tls", "certificate"), ("tls", "key")) and site.tls.certificate is None:
        return None, "issued by the site's own CA"
    if place[0] == "modalities" and place[-1] == "ca" and dotted(place) not in origins:
        return None, "the site's own CA" if site.modalities[str(place[1])].tls else "no TLS"
    return None


def _who_can_reach(site: Site) -> str:
    if site.loopback_only:
        return "only this machine reaches the edge"
    if site.tls.client_certificates == "required":
        return "client certificates are required"
    return "other machines reach the edge without client certificates"


def _plain(value: Any) -> str | int | float | bool | list[str] | None:
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else value
    if isinstance(value, dict):
        return toml(value)
    return [str(each) for each in value] if isinstance(value, tuple) else str(value)


def _shown(place: Place, value: Any) -> str:
    if value is None:
        return "-"
    if place == ("edge", "max_body"):
        return size(value)
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in value) or "nothing"
    if isinstance(value, bool | int | float | dict):
        return toml(value)
    text = str(value)
    return quoted(text) if text != text.strip() else printable(text)

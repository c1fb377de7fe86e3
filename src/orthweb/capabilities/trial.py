"""Put the plugins that the site file names into an Orthanc, after each of them has been tried; outcomes are kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from orthweb.capabilities.build import OrthancBuild, Plugin, dotted_version, plugin_name
from orthweb.capabilities.extra import Library
from orthweb.capabilities.probing import WORK, Loaded, Scratch, Trial, configuration, judge
from orthweb.errors import SiteFileError
from orthweb.files import write_whole
from orthweb.site import Site
from orthweb.tomltext import printable

_KEPT: Final = 32
"""Outcomes that are remembered."""


@dataclass(frozen=True)
class Memory:
    """Outcomes of trials, so that an unchanged site costs none.

    Parameters
    ----------
    file : where they are kept; None for nowhere. Nothing is written before its folder is there.
    """

    file: Path | None

    def recall(self, key: str) -> list[tuple[str, tuple[int, ...]]] | None:
        """Give name and version of the plugins that loaded under `key`; None when that was never tried."""
        found = self._read().get(key)
        with contextlib.suppress(TypeError, ValueError):
            if found is not None:
                return [(str(name), tuple(int(part) for part in version)) for name, version in found]
        return None

    def keep(self, key: str, loaded: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        """Remember that these plugins loaded."""
        if self.file is None or not self.file.parent.is_dir():
            return
        others = {name: value for name, value in self._read().items() if name != key}
        newest = dict(list(others.items())[-_KEPT + 1 :]) | {key: loaded}
        with contextlib.suppress(OSError):  # a trial costs a second: no reason to fail
            write_whole(self.file, json.dumps(newest, indent=1).encode())

    def _read(self) -> dict[str, Any]:
        if self.file is not None:
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(self.file.read_bytes())
                return found if isinstance(found, dict) else {}
        return {}


def with_versions(build: OrthancBuild, scratch: Scratch, memory: Memory) -> OrthancBuild:
    """Ask the plugins whose files tell no version for it; one that does not load is left out.

    An image may have plugins that need what it has not; whether a site needs them is another question.
    """
    unknown = [plugin for plugin in build.plugins if plugin.version == (0,)]
    if not unknown:
        return build
    key = " ".join([scratch.identity, *(str(plugin.library) for plugin in unknown)])
    known = memory.recall(key)
    versions = dict(known) if known is not None else _versions(unknown, scratch)
    if known is None:
        memory.keep(key, list(versions.items()))
    plugins = (
        replace(plugin, version=versions[str(plugin.library)]) if str(plugin.library) in versions else plugin
        for plugin in build.plugins
        if plugin.version != (0,) or str(plugin.library) in versions
    )
    return replace(build, plugins=tuple(plugins))


def _versions(plugins: Sequence[Plugin], scratch: Scratch) -> dict[str, tuple[int, ...]]:
    left = [plugin.library for plugin in plugins]
    while left:
        outcome = _try(scratch, left, [])
        if outcome.failed is None:
            return {str(each.library): each.version for each in outcome.loaded}
        left.remove(outcome.failed if outcome.failed in left else left[-1])
    return {}


def with_extra_plugins(
    site: Site, build: OrthancBuild, libraries: Sequence[Library], scratch: Scratch, folder: Path, memory: Memory
) -> OrthancBuild:
    """Add the site file's plugins to an Orthanc: those of its packages that have the same name step aside.

    Parameters
    ----------
    libraries : the plugins, as `extra.read` gives them.
    scratch : where they are tried: each alone, which gives its name and version, then all that the site would load.
    folder : where they are delivered to, as the site's Orthanc sees it.

    Raises
    ------
    SiteFileError : one does not load, two have the same name, or they do not go together.
    """
    if not libraries:
        return build
    added: list[Plugin] = []
    owners: dict[str, Library] = {}
    for library in libraries:
        identifier, version = _alone(library, build, scratch, memory)
        first = owners.setdefault(identifier, library)
        if first is not library:
            raise SiteFileError(
                [f"{library.key}: {_path(library)}: is {identifier}, like {first.key}; name one of them"]
            )
        name = plugin_name(identifier)
        added.append(Plugin(name, folder / library.file_name, version, library.path, library.sha256))
    extended = build.extended(added)
    _together(site, extended, libraries, scratch, memory)
    return extended


def _alone(library: Library, build: OrthancBuild, scratch: Scratch, memory: Memory) -> tuple[str, tuple[int, ...]]:
    key = f"{scratch.identity} {library.sha256}"
    known = memory.recall(key)
    if known:
        return known[0]
    trial = _try(scratch, [_inside(library)], [library])
    if trial.failed is not None or not trial.loaded:
        raise SiteFileError([_refusal(library, trial, build)])
    loaded = trial.loaded[0]
    memory.keep(key, [(loaded.identifier, loaded.version)])
    return loaded.identifier, loaded.version


def _together(site: Site, build: OrthancBuild, libraries: Sequence[Library], scratch: Scratch, memory: Memory) -> None:
    wanted = build.loaded(site.store.kind)
    digests = sorted(library.sha256 for library in libraries)
    key = " ".join([scratch.identity, site.store.kind, *digests])
    if memory.recall(key) is not None:
        return
    inside = {library.path: _inside(library) for library in libraries}
    paths = [inside[plugin.source] if plugin.source is not None else plugin.library for plugin in wanted]
    trial = _try(scratch, paths, libraries)
    if trial.failed is None:
        memory.keep(key, [(each.identifier, each.version) for each in trial.loaded])
        return
    culprit = next((each for each in libraries if _inside(each) == trial.failed), None)
    if culprit is not None:
        raise SiteFileError([_refusal(culprit, trial, build)])
    others = ", ".join(f"{each.key}: {_path(each)}" for each in libraries)
    raise SiteFileError([f"{others}: {trial.failed} does not load beside it: {trial.reason}; leave one of them out"])


def _try(scratch: Scratch, plugins: Sequence[Path], libraries: Sequence[Library]) -> Trial:
    said, code = scratch.start(configuration(plugins), {each.file_name: each.content for each in libraries})
    trial = judge(said, code)
    if code is not None and trial.failed is None:
        # It ended before or after it loaded plugins: that is nobody's fault but the last one's.
        return Trial(trial.loaded, plugins[-1], trial.reason)
    return trial


def _refusal(library: Library, trial: Trial, build: OrthancBuild) -> str:
    reason = trial.reason.replace(f"{_inside(library)}: ", "").replace(str(_inside(library)), _path(library))
    called: Loaded | None = trial.loaded[-1] if trial.loaded else None
    what = f" ({called.identifier} {dotted_version(called.version)})" if called is not None else ""
    return (
        f"{library.key}: {_path(library)}{what}: does not load in Orthanc {dotted_version(build.version)}: "
        f"{_one_line(reason or 'it has no name')}; {_advice(reason, build)}"
    )


def _advice(reason: str, build: OrthancBuild) -> str:
    if "must be above" in reason:
        return f"get the build for Orthanc {dotted_version(build.version)}, or leave it out"
    if "failed to map segment" in reason:
        return "the folder that it was tried in allows no programs (noexec): name another one in TMPDIR"
    if "cannot open shared object file" in reason:
        return "install the library that it needs, or get the portable build"
    if "undefined symbol" in reason or "version `" in reason:
        return "get the build for this system's libraries (the portable one), or leave it out"
    if "does not declare the proper entry functions" in reason:
        return "name a plugin of Orthanc"
    return "get another build, or leave it out; nothing was changed"


def _inside(library: Library) -> Path:
    return WORK / library.file_name


def _one_line(text: str) -> str:
    return printable(text if len(text) <= 400 else f"{text[:397]}...")


def _path(library: Library) -> str:
    return printable(str(library.path))

"""Trials of plugins: what Orthanc's log says, what files are, and that nothing is tried twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from orthweb.capabilities import extra, trial
from orthweb.capabilities.build import OrthancBuild, Plugin
from orthweb.capabilities.probing import WORK, Loaded, judge, version
from orthweb.errors import SiteFileError
from orthweb.site import ExtraPlugin, Site

# An ELF header (System V ABI, chapter 4) of a shared object for x86_64 without sections.
LIBRARY = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" + bytes(44)
PACKAGED = ("PostgreSQLIndex", "DicomWeb", "Gdcm", "Python")
BUILD = OrthancBuild(
    Path("/usr/sbin/Orthanc"),
    (1, 12, 7),
    [Plugin(name, Path(f"/usr/lib/orthanc/{name}.so"), (1,)) for name in PACKAGED],
)

# Orthanc 1.12.7 names the thread; 1.10.1 does not.
STARTED = """\
W1123 04:50:55.974418             MAIN main.cpp:934] Loading plugin(s) from: /a/one.so
W1123 04:50:55.974419             MAIN PluginsManager.cpp:265] Registering plugin 'dicom-web' (version 1.20)
W1123 04:50:55.974420             MAIN main.cpp:946] Orthanc has started
"""
REFUSED = """\
W1123 04:46:59.920971 main.cpp:909] Loading plugin(s) from: /a/one.so
W1123 04:46:59.921144 PluginsManager.cpp:258] Registering plugin 'one' (version 1.2-beta)
E1123 04:46:59.921150 PluginsManager.cpp:153] Your version of Orthanc (1.10.1) must be above 1.13.0 to run this plugin
E1123 04:46:59.921168 PluginsManager.cpp:91] Error while initializing plugin /a/one.so (code -1)
E1123 04:46:59.921575 main.cpp:2074] Uncaught exception, stopping now: [Error while using a shared library] (code 25)
W1123 04:46:59.921607 main.cpp:2105] Orthanc has stopped
"""
DLOPEN = """\
W1123 04:47:03.535334 main.cpp:909] Loading plugin(s) from: /a/one.so
E1123 04:47:03.535491 SharedLibrary.cpp:98] dlopen(/a/one.so) failed: Error libnone.so.3: cannot open shared object file
E1123 04:47:03.535629 main.cpp:2074] Uncaught exception, stopping now: [Error while using a shared library] (code 25)
"""


def test_judge_when_orthanc_started_then_the_names_and_versions() -> None:
    assert judge(STARTED, None).loaded == (Loaded(Path("/a/one.so"), "dicom-web", (1, 20)),)
    assert judge(STARTED, None).failed is None


def test_judge_when_a_plugin_refuses_then_its_own_words_alone() -> None:
    found = judge(REFUSED, 255)
    assert found.failed == Path("/a/one.so")
    assert found.reason == "Your version of Orthanc (1.10.1) must be above 1.13.0 to run this plugin"
    assert found.loaded == (Loaded(Path("/a/one.so"), "one", (1, 2)),)


def test_judge_when_a_library_cannot_be_loaded_then_what_is_missing() -> None:
    found = judge(DLOPEN, 255)
    assert (found.failed, found.reason) == (Path("/a/one.so"), "libnone.so.3: cannot open shared object file")


def test_judge_when_a_plugin_refuses_without_a_word_then_its_error_number() -> None:
    silent = "\n".join(line for line in REFUSED.splitlines() if "must be above" not in line)
    assert judge(silent, 255).reason == "it refuses to start, without a word (error -1)"


def test_judge_when_orthanc_crashed_or_said_nothing_then_said() -> None:
    assert judge(DLOPEN, -11).reason == "Orthanc crashed while it loaded it (SIGSEGV)"
    assert judge("", 3).reason == "it ended with code 3"
    assert judge("exec: no such program\n", 127).reason == "exec: no such program"


@pytest.mark.parametrize(("text", "number"), [("1.20", (1, 20)), ("2", (2,)), ("mainline", (0,)), ("", (0,))])
def test_version_when_it_is_no_number_then_zero(text: str, number: tuple[int, ...]) -> None:
    assert version(text) == number


def site(*libraries: Path, **wrong: str) -> Site:
    listed = (
        ExtraPlugin(path=path, sha256=wrong.get(path.stem, hashlib.sha256(path.read_bytes()).hexdigest()))
        for path in libraries
    )
    return Site.model_validate({"archive": {"extra_plugins": [each.model_dump() for each in listed]}})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"#!/bin/sh\n", "is no shared object (ELF)"),
        (b"", "is no shared object (ELF)"),
        (LIBRARY[:16] + b"\x02\x00" + LIBRARY[18:], "is no shared object (ELF)"),  # ET_EXEC: a program
        (LIBRARY[:18] + b"\xb7\x00" + LIBRARY[20:], "is built for aarch64, and this machine is x86_64"),
        (LIBRARY[:18] + b"\x99\x99" + LIBRARY[20:], "is built for processor 39321"),
        (
            LIBRARY[:40] + b"\x00\x10" + LIBRARY[42:58] + b"\x40\x00\x02\x00\x00\x00",
            "is cut off: it has 64 bytes of 4224",
        ),
    ],
)
def test_read_when_the_file_is_no_library_for_this_machine_then_said(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "p.so"
    path.write_bytes(content)
    with pytest.raises(SiteFileError) as caught:
        extra.read(site(path), "x86_64")
    assert f"archive.extra_plugins[0].path: {path}: {expected}" in caught.value.problems[0]


def test_read_when_several_files_are_wrong_then_each_is_named(tmp_path: Path) -> None:
    one, two, three = tmp_path / "one.so", tmp_path / "two.so", tmp_path / "three.so"
    for path in (one, two, three):
        path.write_bytes(LIBRARY)
    wanted = site(one, two, three, one="0" * 64)
    two.unlink()
    with pytest.raises(SiteFileError) as caught:
        extra.read(wanted, "x86_64")
    assert [line.split(": ")[0] for line in caught.value.problems] == [
        "archive.extra_plugins[0].sha256",
        "archive.extra_plugins[1].path",
    ]
    assert f"has {hashlib.sha256(LIBRARY).hexdigest()}; get the file again" in caught.value.problems[0]


def test_file_name_when_the_library_has_an_odd_one_then_safe_and_of_its_content() -> None:
    library = extra.Library(0, Path("/a/lib Orthanc$(x).so.1.2"), "ab" * 32, LIBRARY)
    assert library.file_name == "lib-Orthanc-x-abababababab.so"
    assert extra.Library(0, Path("/a/.so"), "cd" * 32, LIBRARY).file_name == "plugin-cdcdcdcdcdcd.so"


class Recorded:
    """Answers as an Orthanc whose plugins call themselves as their files do, and counts how often it was started."""

    identity = "recorded"

    def __init__(self, unfit: str = "") -> None:
        self.unfit = unfit
        self.starts: list[list[str]] = []

    def start(self, configuration: str, libraries: Mapping[str, bytes]) -> tuple[str, int | None]:
        paths = json.loads(configuration)["Plugins"]
        self.starts.append([Path(path).name for path in paths])
        assert {Path(path).name for path in paths if Path(path).parent == WORK} <= set(libraries)
        said = ""
        for path in paths:
            said += f"W] Loading plugin(s) from: {path}\n"
            if self.unfit and self.unfit in path and len(paths) > 1:
                return said + "E] it does not like the others\n", 255
            said += f"W] Registering plugin '{Path(path).name.split('-')[0].removesuffix('.so')}' (version 9.1)\n"
        return said + "W] Orthanc has started\n", None


def equipped(wanted: Site, scratch: Recorded, memory: Path | None = None) -> OrthancBuild:
    return trial.with_extra_plugins(
        wanted, BUILD, extra.read(wanted, "x86_64"), scratch, Path("/state/plugins"), trial.Memory(memory)
    )


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "first.so", tmp_path / "gdcm.so"
    first.write_bytes(LIBRARY)
    second.write_bytes(LIBRARY + b"2")
    return first, second


def test_trial_when_plugins_load_then_alone_first_and_then_all_that_the_site_loads(two: tuple[Path, Path]) -> None:
    scratch = Recorded()
    build = equipped(site(*two), scratch)
    assert [len(names) for names in scratch.starts] == [1, 1, 5]
    assert build.plugin("first") is not None
    gdcm = build.plugin("Gdcm")
    assert gdcm is not None
    assert (gdcm.version, gdcm.source) == ((9, 1), two[1])
    assert gdcm.library == Path("/state/plugins") / f"gdcm-{gdcm.sha256[:12] if gdcm.sha256 else ''}.so"


def test_trial_when_it_was_done_before_then_not_again(two: tuple[Path, Path], tmp_path: Path) -> None:
    memory = tmp_path / "trials.json"
    first = equipped(site(*two), Recorded(), memory)
    again = Recorded()
    assert equipped(site(*two), again, memory) == first
    assert again.starts == []
    two[0].write_bytes(LIBRARY + b"changed")
    equipped(site(*two), again, memory)
    assert [len(names) for names in again.starts] == [1, 5]


def test_trial_when_the_memory_is_damaged_then_done_again(two: tuple[Path, Path], tmp_path: Path) -> None:
    memory = tmp_path / "trials.json"
    for content in ('{"recorded', "[]", '{"recorded x": 5}'):
        memory.write_text(content)
        scratch = Recorded()
        equipped(site(*two), scratch, memory)
        assert len(scratch.starts) == 3


def test_trial_when_there_are_no_plugins_then_nothing_is_started() -> None:
    scratch = Recorded()
    assert equipped(Site(), scratch) is BUILD
    assert scratch.starts == []


def test_trial_when_a_plugin_loads_alone_and_not_beside_the_others_then_named(two: tuple[Path, Path]) -> None:
    with pytest.raises(SiteFileError, match=r"extra_plugins\[1\]\.path: .*gdcm\.so .*it does not like the others"):
        equipped(site(*two), Recorded(unfit="gdcm"))
    with pytest.raises(SiteFileError, match=r"first\.so.*DicomWeb\.so does not load beside it"):
        equipped(site(two[0]), Recorded(unfit="DicomWeb"))


def test_trial_when_two_plugins_have_one_name_then_both_are_named(tmp_path: Path) -> None:
    for name, more in (("a", b""), ("b", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.so").write_bytes(LIBRARY + more)
    with pytest.raises(SiteFileError, match=r"extra_plugins\[1\]\.path: .*is same, like archive\.extra_plugins\[0\]"):
        equipped(site(tmp_path / "a" / "same.so", tmp_path / "b" / "same.so"), Recorded())

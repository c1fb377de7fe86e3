"""What an Orthanc can do, by the versions of it and of its plugins; what a site may not ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orthweb.capabilities.build import IDENTIFIERS, OrthancBuild, Plugin, Version, plugin_name, schema_revision
from orthweb.capabilities.machine import plugins
from orthweb.capabilities.refusals import refuse
from orthweb.errors import SiteFileError, UsageError
from orthweb.site import Site

DEBIAN_12 = {
    "PostgreSQLIndex": (4, 0),
    "PostgreSQLStorage": (4, 0),
    "DicomWeb": (1, 7),
    "Gdcm": (1, 5),
    "Python": (4, 0),
}
DEBIAN_13 = {
    "PostgreSQLIndex": (5, 0),
    "PostgreSQLStorage": (5, 0),
    "DicomWeb": (1, 20),
    "Gdcm": (1, 8),
    "Python": (5, 0),
}
UPSTREAM = {
    "PostgreSQLIndex": (10, 3),
    "PostgreSQLStorage": (10, 3),
    "DicomWeb": (1, 24),
    "Gdcm": (1, 8),
    "Python": (7, 0),
    "AwsS3Storage": (2, 5, 4),
    "OrthancExplorer2": (1, 14, 1),
    "StoneWebViewer": (2, 6),
}


def orthanc(version: Version, versions: Mapping[str, Version]) -> OrthancBuild:
    found = [Plugin(name, Path(f"/plugins/lib{name}.so"), number) for name, number in versions.items()]
    return OrthancBuild(Path("/usr/sbin/Orthanc"), version, found)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (
            orthanc((1, 10, 1), DEBIAN_12),
            {"mode": None, "writer": 1, "reader": 4, "readers": 1, "labels": False, "bind": False, "keep": False}
            | {"read_only": False, "threads": False, "s3": "orthweb", "revision": 1},
        ),
        (
            orthanc((1, 12, 7), DEBIAN_13),
            {"mode": None, "writer": 1, "reader": 4, "readers": 1, "labels": True, "bind": False, "keep": True}
            | {"read_only": True, "threads": True, "s3": "orthweb", "revision": 1},
        ),
        (
            orthanc((1, 13, 0), UPSTREAM),
            {
                "mode": "ReadCommitted",
                "writer": 8,
                "reader": 8,
                "readers": 0,
                "labels": True,
                "bind": True,
                "keep": True,
            }
            | {"read_only": True, "threads": True, "s3": "orthweb", "revision": 10},
        ),
    ],
    ids=["Debian 12", "Debian 13", "upstream"],
)
def test_build_when_its_versions_are_known_then_its_capabilities(build: OrthancBuild, expected: dict[str, Any]) -> None:
    assert {
        "mode": build.transaction_mode,
        "writer": build.writer_connections,
        "reader": build.reader_connections,
        "readers": build.default_readers,
        "labels": build.has_labels,
        "bind": build.http_bind_addresses,
        "keep": build.keep_alive_timeout,
        "read_only": build.read_only_mode,
        "threads": build.python_allow_threads,
        "s3": build.s3_plugin,
        "revision": build.index_revision,
    } == expected


@pytest.mark.parametrize(
    ("version", "revision"),
    [
        ((3, 3), 1),
        ((5, 1), 1),
        ((6, 0), 2),
        ((6, 2), 2),
        ((7, 0), 3),
        ((7, 1), 3),
        ((7, 2), 4),
        ((8, 0), 5),
        ((9, 0), 6),
        ((10, 0), 10),
        ((10, 3), 10),
        ((11, 0), None),
    ],
)
def test_schema_revision_when_a_version_is_given_then_as_the_release_notes_say(
    version: Version, revision: int | None
) -> None:
    assert schema_revision(version) == revision


def test_loaded_when_the_store_is_no_database_then_without_what_would_take_the_files() -> None:
    build = orthanc((1, 13, 0), UPSTREAM)
    files = [plugin.name for plugin in build.loaded("filesystem")]
    assert files == ["PostgreSQLIndex", "DicomWeb", "Gdcm", "Python", "OrthancExplorer2", "StoneWebViewer"]
    assert "PostgreSQLStorage" in {plugin.name for plugin in build.loaded("database")}


def test_extended_when_names_are_the_same_then_the_packaged_ones_step_aside() -> None:
    own = Plugin("DicomWeb", Path("/state/own.so"), (2,), Path("/own.so"), "0" * 64)
    more = Plugin("sample", Path("/state/sample.so"), (1,), Path("/sample.so"), "1" * 64)
    build = orthanc((1, 12, 7), DEBIAN_13).extended([own, more])
    assert build.plugin("DicomWeb") is own
    assert [plugin.name for plugin in build.loaded("filesystem")] == [
        "PostgreSQLIndex",
        "Gdcm",
        "Python",
        "DicomWeb",
        "sample",
    ]


def test_plugin_name_when_it_calls_itself_something_then_the_name_that_is_used_here() -> None:
    assert [plugin_name(identifier) for identifier in IDENTIFIERS.values()] == list(IDENTIFIERS)
    assert plugin_name("worklists") == "worklists"


def test_refuse_when_a_needed_plugin_is_missing_then_named_with_its_use() -> None:
    without = {name: version for name, version in DEBIAN_13.items() if name != "DicomWeb"}
    with pytest.raises(UsageError, match=r"in the image x:1 lacks plugins \(DicomWeb: every site offers DICOMweb\)"):
        refuse(Site(), orthanc((1, 12, 7), without), "in the image x:1")


def test_refuse_when_orthanc_is_too_old_then_said() -> None:
    with pytest.raises(UsageError, match=r"on this machine is 1\.9\.7: too old"):
        refuse(Site(), orthanc((1, 9, 7), DEBIAN_12), "on this machine")


def test_refuse_when_the_store_needs_a_plugin_that_is_missing_then_the_key_is_named() -> None:
    without = {name: version for name, version in DEBIAN_13.items() if name != "PostgreSQLStorage"}
    site = Site.model_validate({"store": {"kind": "database"}})
    with pytest.raises(SiteFileError, match=r'store\.kind: "database": .* lacks the plugin PostgreSQLStorage'):
        refuse(site, orthanc((1, 12, 7), without), "in the image x:1")
    refuse(site, orthanc((1, 12, 7), DEBIAN_13), "in the image x:1")


def test_s3_plugin_when_python_is_missing_then_the_official_one_or_none() -> None:
    without = {name: version for name, version in UPSTREAM.items() if name != "Python"}
    assert orthanc((1, 13, 0), without).s3_plugin == "official"
    assert orthanc((1, 13, 0), {}).s3_plugin is None


def test_plugins_when_a_folder_has_links_and_several_versions_then_the_newest_real_file(tmp_path: Path) -> None:
    for name in ("libOrthancGdcm.so.1.5", "libOrthancGdcm.so.1.10", "libStoneWebViewer.so.2.6", "libOther.so.1"):
        (tmp_path / name).touch()
    (tmp_path / "libOrthancGdcm.so").symlink_to("libOrthancGdcm.so.1.5")
    found = {plugin.name: plugin for plugin in plugins([tmp_path, tmp_path / "nowhere"])}
    assert set(found) == {"Gdcm", "StoneWebViewer"}
    assert found["Gdcm"].version == (1, 10)
    assert found["Gdcm"].library == tmp_path / "libOrthancGdcm.so.1.10"

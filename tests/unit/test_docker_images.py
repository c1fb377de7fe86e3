"""Which image an archive runs in, what is found in it, and what one that is not ours is given."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml

from orthweb import image
from orthweb.render.compose import compose
from orthweb.site import Site
from orthweb.state import StateFolder
from orthweb.targets.docker import services
from orthweb.targets.docker.images import UPSTREAM, read_orthanc, references
from orthweb.targets.docker.network import Addresses

UPSTREAM_SAYS = """\
/usr/local/bin/Orthanc
Orthanc 1.13.0
Copyright (C) 2012-2016 Sebastien Jodogne, Medical Physics Department, University Hospital of Liege (Belgium)
/usr/share/orthanc/plugins-available/libOrthancAwsS3Storage.so
/usr/share/orthanc/plugins-available/libOrthancDicomWeb.so
/usr/share/orthanc/plugins-available/libOrthancGdcm.so
/usr/share/orthanc/plugins-available/libOrthancPostgreSQLIndex.so
/usr/share/orthanc/plugins-available/libOrthancPython.so
/usr/share/orthanc/plugins-available/libStoneWebViewer.so
"""


def site(**keys: Any) -> Site:
    return Site.model_validate({"target": "docker"} | keys)


def archive_of(wanted: Site) -> dict[str, Any]:
    addresses = Addresses(IPv4Network("10.245.0.0/24"))
    found = services.endpoints([("archive", "both")], addresses, ["orthweb-check"], "CHECK", 20000)
    state = StateFolder(Path("/state"))
    stack = services.stack(
        wanted,
        found,
        state,
        identity="0" * 32,
        project="orthweb-00000000",
        addresses=addresses,
        images={role: f"orthweb/{role}:1" for role in ("index", "archive", "edge")},
        users=dict.fromkeys(("index", "archive", "edge"), (1000, 1000)),
        data=state.index / "data",
        store=state.store,
        sockets=Path("/state/run/edge"),
        cache=Path("/state/cache"),
        orthanc_program=Path("/usr/local/bin/Orthanc"),
        workers=2,
    )
    service: dict[str, Any] = yaml.safe_load(compose(stack))["services"]["archive"]
    return service


def mounts(service: dict[str, Any]) -> dict[str, str]:
    return {mount["target"]: mount["source"] for mount in service["volumes"] if mount["read_only"]}


def test_references_when_an_image_is_chosen_then_the_archives_alone() -> None:
    assert references(site())["archive"] == image.reference("archive")
    assert references(site(archive={"image": "upstream"}))["archive"] == UPSTREAM
    chosen = references(site(archive={"image": "r.example.org/orthanc:1"}))
    assert chosen == references(site()) | {"archive": "r.example.org/orthanc:1"}


def test_read_orthanc_when_plugins_lie_where_upstream_has_them_then_found_without_versions() -> None:
    build = read_orthanc(UPSTREAM_SAYS)
    assert build is not None
    assert (build.program, build.version) == (Path("/usr/local/bin/Orthanc"), (1, 13, 0))
    assert {plugin.name for plugin in build.plugins} == {
        "AwsS3Storage",
        "DicomWeb",
        "Gdcm",
        "PostgreSQLIndex",
        "Python",
        "StoneWebViewer",
    }
    assert {plugin.version for plugin in build.plugins} == {(0,)}


def test_read_orthanc_when_there_is_none_then_none() -> None:
    assert read_orthanc("ls: no such folder\n") is None


def test_container_when_the_image_is_ours_then_its_own_entry_point_and_health_check() -> None:
    service = archive_of(site())
    assert not service.keys() & {"entrypoint", "init", "healthcheck"}
    assert service["command"] == ["/usr/local/bin/Orthanc", "/etc/orthweb/configuration"]


def test_container_when_the_image_is_another_then_orthanc_alone_under_an_init_with_our_health_check() -> None:
    service = archive_of(site(archive={"image": "upstream"}))
    assert service["entrypoint"] == ["/usr/local/bin/Orthanc"]
    assert service["command"] == ["/etc/orthweb/configuration"]
    assert service["init"] is True
    assert service["healthcheck"]["test"] == ["CMD", "python3", "-I", "/etc/orthweb/health"]
    assert service["user"] == "1000:1000"
    assert service["read_only"] is True


def test_container_when_the_store_is_a_bucket_then_another_image_is_given_the_libraries() -> None:
    bucket = {"store": {"kind": "s3"}, "s3": {"bucket": "pacs-images"}}
    assert "/usr/lib/orthweb/libraries" not in mounts(archive_of(site(**bucket)))
    other = mounts(archive_of(site(archive={"image": "upstream"}, **bucket)))
    assert other["/usr/lib/orthweb/libraries"] == "/state/libraries"


def test_container_when_the_site_has_plugins_then_they_are_mounted() -> None:
    plugin = {"path": "/p.so", "sha256": "0" * 64}
    service = archive_of(site(archive={"extra_plugins": [plugin]}))
    assert mounts(service)["/usr/lib/orthweb/plugins"] == "/state/plugins"

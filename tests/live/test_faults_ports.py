"""Ports that somebody else has: named before anything is changed, or chosen anew."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from live.counting import answers, eventually
from live.sites import LiveSite
from orthweb.targets.host.readiness import ready


@contextmanager
def taken(port: int, address: str = "127.0.0.1") -> Iterator[None]:
    with socket.create_server((address, port)):
        yield


@contextmanager
def foreign_orthanc(folder: Path, http: int, dicom: int) -> Iterator[None]:
    """Run an Orthanc of somebody else, which lets everybody in."""
    folder.mkdir()
    settings = {
        "Name": "stranger",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": http,
        "DicomPort": dicom,
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        ["Orthanc", str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for port in (http, dicom):
            eventually(lambda port=port: _listens(port), 20, "the foreign Orthanc does not start")  # type: ignore[misc]
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("key", ["https_port", "dicom_port"])
def test_up_when_a_port_of_the_edge_is_taken_then_it_names_key_and_holder_and_makes_nothing(
    new_site: LiveSite, key: str
) -> None:
    port = getattr(new_site, key)
    with taken(port):
        for verb in ("plan", "up"):
            said = new_site.orthweb(verb, check=False)
            assert said.returncode == 2
            assert f"edge.{key}: {port}: taken on 127.0.0.1 by " in said.stderr
    assert not (new_site.folder / ".orthweb").exists()


def test_up_when_a_port_of_the_edge_was_taken_since_then_it_is_refused_and_works_once_the_port_is_free(
    own_site: LiveSite,
) -> None:
    own_site.orthweb("down")
    with taken(own_site.dicom_port):
        said = own_site.orthweb("up", check=False)
        assert said.returncode == 2
        assert "edge.dicom_port" in said.stderr
        assert not own_site.target.running()
    own_site.orthweb("up")


def test_up_when_strangers_took_internal_ports_since_then_others_are_chosen(own_site: LiveSite, tmp_path: Path) -> None:
    own_site.orthweb("down")
    before = json.loads((own_site.state / "state.json").read_text())["ports"]
    with (
        foreign_orthanc(tmp_path / "stranger", before["archive_http"], before["archive_dicom"]),
        taken(before["index"]),
        taken(before["egress:orthweb-check"]),
    ):
        own_site.orthweb("up")
        after = json.loads((own_site.state / "state.json").read_text())["ports"]
        changed = {name for name in before if before[name] != after[name]}
        # The port of the checks may go too, when some other program on this machine has it by chance.
        assert changed - {"check"} == {"archive_http", "archive_dicom", "index", "egress:orthweb-check"}
        assert answers(own_site)


def test_foreign_orthanc_on_the_archives_ports_when_the_archive_is_down_then_nobody_is_fooled(
    own_site: LiveSite, tmp_path: Path
) -> None:
    ports = json.loads((own_site.state / "state.json").read_text())["ports"]
    supervisor = own_site.target.place.supervisor
    supervisor.stop("archive")
    with foreign_orthanc(tmp_path / "stranger", ports["archive_http"], ports["archive_dicom"]):
        assert ready(own_site.access) is not None
        said = own_site.orthweb("status", check=False)
        assert said.returncode == 1
        # `up` sees who is there, and leaves the ports to the stranger.
        own_site.orthweb("up")
        assert answers(own_site)
        after = json.loads((own_site.state / "state.json").read_text())["ports"]
        assert after["archive_http"] != ports["archive_http"]
        assert after["archive_dicom"] != ports["archive_dicom"]

"""Rendered files, judged by the programs that read them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from orthweb.errors import UsageError
from orthweb.render.supervisor import command
from orthweb.targets.local import programs
from render.rendered import SITES, Rendered

cases = pytest.mark.parametrize("case", SITES)


@cases
def test_envoy_when_given_our_configuration_then_accepts_it(case: str, tmp_path: Path) -> None:
    site = Rendered(case, tmp_path)
    site.put()
    binary = programs.envoy_program()
    assert binary is not None
    arguments = ["-c", str(site.state.edge / "envoy.json"), "--mode", "validate", "--log-level", "warning"]
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # A field that is deprecated or unknown is a warning here and an error in a later Envoy.
    assert "deprecated" not in done.stderr
    assert "Unknown field" not in done.stderr


@cases
def test_postgresql_when_given_our_settings_then_knows_each_and_its_value(case: str, tmp_path: Path) -> None:
    site = Rendered(case, tmp_path)
    file = tmp_path / "postgresql.conf"
    text = site.texts()["postgresql.conf"]
    file.write_text(text)
    expected = dict(re.findall(r"^(\w+) = '(.*)'$", text, re.M))
    assert len(expected) == len(text.splitlines())
    binary = programs.find().postgresql / "postgres"

    def reads(setting: str) -> str:
        arguments = ["-C", setting, "-D", str(tmp_path), "-c", f"config_file={file}"]
        done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    for setting in ("port", "ssl", "listen_addresses", "max_connections", "hba_file", "ssl_min_protocol_version"):
        assert reads(setting) == expected[setting]


@cases
def test_orthanc_when_asked_for_its_settings_then_knows_each_of_ours(case: str, tmp_path: Path) -> None:
    found = programs.find().orthanc
    sample = tmp_path / "sample.json"
    subprocess.run([found.program, f"--config={sample}"], check=True, capture_output=True, timeout=20)
    known = set(re.findall(r'^\s*(?:// )?"(\w+)"\s*:', sample.read_text(), re.M))
    # Settings that came after 1.10, which that version leaves unread, and those of plugins.
    later = {"HttpBindAddresses", "KeepAliveTimeout"}
    plugins = {"PostgreSQL", "DicomWeb", "Gdcm", "Orthweb", "PythonScript", "PythonVerbose"}
    ours = json.loads(Rendered(case, tmp_path).texts()["orthanc.json"])
    assert set(ours) - known - later - plugins == set()


@cases
@pytest.mark.parametrize("folder", ["plain", "with space, 100% and 'quotes'"])
def test_supervisor_when_given_our_configuration_then_reads_the_commands_that_we_meant(
    case: str, folder: str, tmp_path: Path
) -> None:
    base = tmp_path / folder
    # Root's services change their users, whom this machine may not have; supervisord itself stays who it is.
    site = Rendered(case, base, replace(programs.find(), setpriv=Path("/usr/bin/setpriv")))
    base.mkdir()
    for path in (site.state.logs, site.state.run):
        path.mkdir(parents=True)
    file = base / "supervisord.conf"
    text = site.texts()["supervisord.conf"]
    file.write_text(text if os.geteuid() == 0 else text.replace("user=root\n", ""))
    options = ServerOptions()
    options.realize(["-c", str(file)])
    read = {process.name: process for group in options.process_group_configs for process in group.process_configs}
    assert {name: shlex.split(process.command) for name, process in read.items()} == {
        service.name: command(service, site.programs.setpriv) for service in site.services
    }
    assert {name: process.environment for name, process in read.items()} == {
        "index": {},
        **{process.name: {"TCP_NODELAY": "1"} for process in site.endpoints.archives},
        "edge": {},
    }
    assert read["edge"].stdout_logfile == str(site.state.logs / "edge-access.log")
    assert [read[name].priority for name in ("index", "archive", "edge")] == [10, 20, 30]


@pytest.mark.parametrize("folder", ["site #2", "a ;b", "two\nlines"])
def test_supervisor_configuration_when_a_path_would_be_cut_off_then_refuses_it(folder: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="move the site file"):
        Rendered("default", tmp_path / folder).texts()

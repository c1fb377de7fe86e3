"""``orthweb init`` and ``orthweb config`` as a person calls them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orthweb.sitefile.keys import MODALITY_TABLE, tables
from orthweb.sitefile.provenance import Setting, settings


def orthweb(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ORTHWEB_SITE"}
    return subprocess.run(
        [sys.executable, "-c", "from orthweb.cli import main; main()", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def by_key(folder: Path, text: str = "") -> dict[str, Setting]:
    path = folder / "site.toml"
    path.write_text(text)
    return {each.key: each for each in settings(path)}


def test_settings_when_file_is_empty_then_every_key_of_the_model_with_its_default(tmp_path: Path) -> None:
    found = by_key(tmp_path)
    assert list(found) == [key.dotted for table in tables() if table.name != MODALITY_TABLE for key in table.keys]
    assert {each.origin for each in found.values()} == {"default"}


def test_settings_when_given_then_place_in_the_file(tmp_path: Path) -> None:
    found = by_key(tmp_path, "[edge]\nmax_body = '1GiB'\n\n[modalities.ct]\naet = 'CT1'\nhost = 'ct'\nport = 104\n")
    assert found["edge.max_body"].value == 2**30
    assert found["edge.max_body"].shown == "1GiB"
    assert found["edge.max_body"].origin == f"{tmp_path}/site.toml:2"
    assert found["modalities.ct.port"].origin == f"{tmp_path}/site.toml:7"
    assert found["modalities.ct.allow"].value == ["echo", "store", "find", "get", "move"]
    assert found["modalities.ct.allow"].origin == "default"
    assert found["modalities.ct.ca"].derived == "the site's own CA"


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("", "all", "auto: only this machine reaches the edge"),
        ("edge.listen = ['0.0.0.0']", "store", "auto: other machines reach the edge without client certificates"),
        (
            "edge.listen = ['0.0.0.0']\ntls.client_certificates = 'required'",
            "all",
            "auto: client certificates are required",
        ),
        ("dicom.unknown_peers = 'none'", "none", None),
    ],
)
def test_unknown_peers_when_shown_then_decided_with_the_reason(
    tmp_path: Path, text: str, value: str, reason: str | None
) -> None:
    setting = by_key(tmp_path, text)["dicom.unknown_peers"]
    assert (setting.value, setting.derived) == (value, reason)


def test_store_path_when_not_given_then_in_the_state_folder(tmp_path: Path) -> None:
    setting = by_key(tmp_path)["store.path"]
    assert (setting.value, setting.derived) == (str(tmp_path / ".orthweb" / "store"), "in the state folder")


def test_init_when_followed_by_config_then_both_agree(tmp_path: Path) -> None:
    made = orthweb(tmp_path, "init", "--set", "edge.https_port=9443", "--set", "hostname=pacs.example.org")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.splitlines()[-1].endswith("orthweb up")
    shown = orthweb(tmp_path, "config")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"^edge\.https_port +9443 +site\.toml:\d+$", shown.stdout, re.MULTILINE)
    assert re.search(r"^edge\.dicom_port +11112 +default$", shown.stdout, re.MULTILINE)


def test_config_when_json_then_as_documented(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("[edge]\nhttps_port = 9443\n")
    run = orthweb(tmp_path, "config", "--json")
    found = json.loads(run.stdout)
    assert set(found) == {"site_file", "exists", "settings"}
    assert (found["site_file"], found["exists"]) == (str(tmp_path / "site.toml"), True)
    assert all(set(each) == {"key", "value", "origin", "derived"} for each in found["settings"])
    by_name = {each["key"]: each for each in found["settings"]}
    assert by_name["edge.https_port"] == {
        "key": "edge.https_port",
        "value": 9443,
        "origin": "site.toml:2",
        "derived": None,
    }
    assert by_name["edge.listen"]["value"] == ["127.0.0.1"]
    assert by_name["archive.overwrite"]["value"] is False
    assert by_name["tls.certificate"]["value"] is None


def test_config_when_file_is_wrong_then_exit_code_2_and_problems_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("nam = 'x'\n")
    run = orthweb(tmp_path, "config")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == 'error: site.toml:1: nam: "x": unknown key; did you mean name?\n'


def test_init_when_called_twice_then_exit_code_2_and_next_step(tmp_path: Path) -> None:
    assert orthweb(tmp_path, "--site", "a.toml", "init", "--json").returncode == 0
    run = orthweb(tmp_path, "--site", "a.toml", "init")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines() == [
        "error: a.toml: exists already",
        "  next: edit it, or write a new one over it with --force",
    ]


def test_config_when_on_a_terminal_then_a_table_that_fits_it(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "TERM": "xterm"}
    with os.fdopen(master, "rb", buffering=0) as reader:
        with subprocess.Popen(
            [sys.executable, "-c", "from orthweb.cli import main; main()", "config"],
            cwd=tmp_path,
            env=environment,
            stdout=slave,
        ) as process:
            os.close(slave)
            shown = b""
            try:
                while block := reader.read(65536):
                    shown += block
            except OSError:  # Linux: the other end is closed
                pass
        assert process.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert "Key" in lines[1]
    assert any("edge.https_port" in line and "8443" in line for line in lines)
    assert max(len(line) for line in lines) <= 80

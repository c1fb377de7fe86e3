"""Terraform as a program: which one is taken, what reaches it, and how its complaints come back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orthweb.errors import UsageError
from orthweb.targets.aws import process, terraform, work
from orthweb.targets.aws.diagnostics import TerraformError
from orthweb.targets.aws.terraform import Program, Terraform
from orthweb.targets.base import Report, quiet

CANARY = 'canary "quoted" ${not.a.template} %{nor.this}\nsecond line'


def program(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)
    return path


def version(number: str) -> str:
    return f"print('{json.dumps({'terraform_version': number})}')"


def test_terraform_when_new_enough_then_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "terraform", version("1.11.4"))
    program(tmp_path / "bin", "tofu", version("1.12.0"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert str(terraform.find()) == "Terraform 1.11.4"


def test_terraform_when_too_old_then_opentofu_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "terraform", version("1.5.7"))
    program(tmp_path / "bin", "tofu", version("1.11.0"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert str(terraform.find()) == "OpenTofu 1.11.0"


@pytest.mark.parametrize(
    ("body", "says"),
    [(version("1.10.5"), "Terraform 1.10.5 is too old"), ("raise SystemExit(1)", "of unknown version is too old")],
)
def test_terraform_when_none_is_new_enough_then_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    program(tmp_path / "bin", "terraform", body)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UsageError, match=says) as caught:
        terraform.find()
    assert "install" in (caught.value.hint or "")


def test_terraform_when_there_is_none_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="neither terraform nor tofu"):
        terraform.find()


def made(tmp_path: Path, body: str, report: Report = quiet) -> Terraform:
    path = program(tmp_path / "bin", "terraform", body)
    (tmp_path / "work").mkdir()
    return Terraform(Program(path, "Terraform", "1.11.4"), tmp_path / "work", tmp_path / "log", report)


LOOK = """
import json, os, sys
option = next(word for word in sys.argv if word.startswith("-var-file="))
path = option.removeprefix("-var-file=")
found = {
    "argv": sys.argv[1:],
    "environment": dict(os.environ),
    "given": open(path).read(),
    "link": os.readlink(f"/proc/self/fd/{path.rsplit('/', 1)[1]}"),
}
print(json.dumps({"type": "look", **found}))
"""


def test_secret_variables_when_given_then_reach_terraform_without_a_name_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_VAR_name", "another")
    monkeypatch.setenv("TF_CLI_ARGS_apply", "-lock=false")
    found: list[dict[str, object]] = []
    made(tmp_path, LOOK).apply(lambda message: found.append(dict(message)), {"tls_key": CANARY})
    [said] = found
    expected = json.dumps(CANARY).replace("${", "$${").replace("%{", "%%{")
    assert said["given"] == f"tls_key = {expected}\n"
    assert "memfd" in str(said["link"])
    argv, environment = said["argv"], said["environment"]
    assert isinstance(argv, list)
    assert isinstance(environment, dict)
    assert argv[0] == "apply"
    assert argv[-1] == terraform.PLAN
    assert not any("canary" in text for text in [*argv, *environment.values()])
    assert not environment.keys() & {"TF_VAR_name", "TF_CLI_ARGS_apply"}
    assert environment["TF_IN_AUTOMATION"] == "1"


COMPLAIN = """
import json
print(json.dumps({"type": "diagnostic", "@level": "error", "diagnostic": {
    "severity": "error", "summary": "creating EC2 VPC: api error VpcLimitExceeded: The maximum number", "detail": "",
    "address": "module.network.aws_vpc.this"}}))
print("no JSON at all")
raise SystemExit(1)
"""


def test_command_when_terraform_complains_then_is_one_line_and_the_log_has_all(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match=r"network \(VPC\) .*VpcLimitExceeded"):
        made(tmp_path, COMPLAIN).apply(lambda _: None)
    assert "no JSON at all" in (tmp_path / "log").read_text()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


WAIT = """
import json, signal, sys
def stop(*_):
    print(json.dumps({"type": "stopped in order"}), flush=True)
    raise SystemExit(1)
signal.signal(signal.SIGINT, stop)
print(json.dumps({"type": "waiting"}), flush=True)
signal.pause()
"""


def test_command_when_interrupted_then_terraform_is_asked_to_end_and_waited_for(tmp_path: Path) -> None:
    found: list[str] = []

    def listen(message: object) -> None:
        assert isinstance(message, dict)
        found.append(message["type"])
        if message["type"] == "waiting":
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, WAIT).apply(listen)
    assert found == ["waiting", "stopped in order"]


COUNT = """
import json, signal, sys, time
from pathlib import Path
signal.alarm(60)
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
print(json.dumps({"type": "waiting"}), flush=True)
while not asked:
    time.sleep(0.01)
print(json.dumps({"type": "asked"}), flush=True)
while not Path("enough").exists():
    time.sleep(0.01)
for number in range(5000):
    print(json.dumps({"type": "line"}), flush=True)
Path("ended").write_text(str(len(asked)))
raise SystemExit(1)
"""


def test_command_when_interrupted_again_and_again_then_terraform_is_asked_once(tmp_path: Path) -> None:
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        if len(said) < 3:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            (tmp_path / "work" / "enough").touch()

    def listen(message: Mapping[str, Any]) -> None:
        if message["type"] == "waiting":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, COUNT, report).apply(listen)
    assert (tmp_path / "work" / "ended").read_text() == "1"
    assert said == [process.STOPPING, process.STILL, process.STILL]


def test_command_when_interrupted_and_nobody_reads_what_is_said_then_terraform_still_ends_in_order(
    tmp_path: Path,
) -> None:
    def report(_: str) -> None:
        (tmp_path / "work" / "enough").touch()
        raise BrokenPipeError

    def listen(message: Mapping[str, Any]) -> None:
        if message["type"] == "waiting":
            os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, COUNT, report).apply(listen)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "work" / "ended").read_text() == "1"


FINISHES = """
import json
from pathlib import Path
for number in range(5000):
    print(json.dumps({"type": "line"}), flush=True)
Path("ended").touch()
"""


def test_command_when_nobody_reads_its_progress_then_it_goes_on_to_its_end(tmp_path: Path) -> None:
    def listen(_: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        made(tmp_path, FINISHES).apply(listen)
    assert (tmp_path / "work" / "ended").exists()


KILLED = """
import sys
from pathlib import Path
from orthweb.targets.aws.terraform import Program, Terraform
from orthweb.targets.base import Report, quiet
folder = Path(sys.argv[1])
runner = Terraform(Program(folder / "bin/terraform", "Terraform", "1.11.4"), folder / "work", folder / "log")
runner.apply(lambda _: print("at work", flush=True))
"""


def test_command_when_orthweb_is_killed_then_terraform_ends_in_order_and_the_next_call_waits_for_it(
    tmp_path: Path,
) -> None:
    made(tmp_path, COUNT.replace("while not asked", "while False"))
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "at work\n"
        killed.kill()
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        assert not (tmp_path / "work" / "ended").exists()
        (tmp_path / "work" / "enough").touch()

    process.wait_for_earlier(tmp_path / "log", report)
    assert (tmp_path / "work" / "ended").read_text() == "0"
    assert len(said) == 1
    assert re.fullmatch(r"Terraform of an earlier call \(process \d+\) is still at work: waiting for it", said[0])
    assert (tmp_path / "log").read_text().count("line") == 5000


INIT_FAILS = """
import sys
sys.stderr.write('''╷
│ Warning: Something else
│
╵
╷
│ Error: Failed to query available provider packages
│
│ Could not retrieve the list of available versions for provider
│ hashicorp/aws: could not connect
╵
''')
raise SystemExit(1)
"""


def test_init_when_the_provider_cannot_be_had_then_says_so_in_one_line(tmp_path: Path) -> None:
    runner = made(tmp_path, INIT_FAILS)
    work.write(tmp_path / "work", {}, work.backend("pacs", "eu-central-1", None))
    with pytest.raises(TerraformError, match=r"^Terraform cannot get its AWS provider \(") as caught:
        runner.init()
    assert "registry.terraform.io" in (caught.value.hint or "")

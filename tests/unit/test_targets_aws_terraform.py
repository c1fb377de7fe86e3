"""Terraform as a program: which one is taken, what reaches it, and how its complaints come back."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from orthweb.errors import UsageError
from orthweb.targets.aws import terraform, work
from orthweb.targets.aws.diagnostics import TerraformError
from orthweb.targets.aws.terraform import Program, Terraform

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


def made(tmp_path: Path, body: str) -> Terraform:
    path = program(tmp_path / "bin", "terraform", body)
    (tmp_path / "work").mkdir()
    return Terraform(Program(path, "Terraform", "1.11.4"), tmp_path / "work", tmp_path / "log")


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

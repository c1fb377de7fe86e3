"""``orthweb up`` ended in every bad way in the middle of an apply, and called again: it goes on, nothing is doubled.

Terraform is real, AWS is the emulator; two of its answers are held back, so that something is always being made.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aws.driven_life import IMAGES
from aws.emulator import Emulator, emulator
from aws.standins import Hosts

pytestmark = pytest.mark.timeout(1500)

NAME = "storm"
REGION = "eu-central-1"
SITE = f"""\
name = "{NAME}"
target = "aws"
[aws]
region = "{REGION}"
production = false
https_from = ["203.0.113.0/24"]
dicom_from = ["203.0.113.0/24"]
{IMAGES}"""
LARGER = SITE.replace(IMAGES, f'[aws.database]\ninstance_class = "db.r6g.large"\n{IMAGES}')
UNKNOWN_PROFILE = "Value (storm) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
"""What EC2 says of a profile that was made a moment ago; the provider asks again for minutes."""


@dataclass
class Storm:
    """What came of it."""

    folder: Path
    aws: Emulator
    environment: dict[str, str]
    said: dict[str, tuple[int, str]] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)
    modified: int = 0
    before: set[str] = field(default_factory=set)
    unmoved: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)

    @property
    def work(self) -> Path:
        return (self.folder / ".orthweb").resolve() / "aws" / "work"  # root's state lies elsewhere

    @property
    def colleague(self) -> Path:
        """Give the folder of somebody else, who has the site file alone."""
        return self.folder / "colleague"

    def start(self, verb: str, command: str = "{}", folder: Path | None = None) -> subprocess.Popen[str]:
        """Call a verb as a shell does, in a process group of its own."""
        program = f"{sys.executable} -m aws.driven {self.folder} {verb}"
        return subprocess.Popen(
            ["bash", "-c", f"set -o pipefail; {command.format(program)}"],
            cwd=folder or self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, step: str, process: subprocess.Popen[str]) -> None:
        """Note what a verb said."""
        out, _ = process.communicate(timeout=600)
        self.said[step] = process.returncode, out

    def asked(self, operation: str) -> int:
        """Count Terraform's calls of an operation."""
        return sum(call.operation == operation and call.terraform for call in self.aws.calls())

    def at_work(self) -> list[int]:
        """List Terraform and its provider."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if path.readlink() == self.work:
                    found.append(int(path.parts[2]))
        return found

    def state(self) -> set[str]:
        """List the types in Terraform's state."""
        found = json.loads((self.work.parent / "terraform.tfstate").read_text())["resources"]
        return {each["type"] for each in found if each["instances"]}

    def forget(self, type_: str, key: str) -> None:
        """Take one resource out of Terraform's state, as if AWS had made it and the answer had been lost."""
        path = self.work.parent / "terraform.tfstate"
        found = json.loads(path.read_text())
        [owner] = [each for each in found["resources"] if each["type"] == type_]
        kept = [each for each in owner["instances"] if each.get("index_key") != key]
        assert len(kept) == len(owner["instances"]) - 1
        owner["instances"] = kept
        found["serial"] += 1
        path.write_text(json.dumps(found))


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 240
    while not what():
        if process.poll() is not None:
            pytest.fail(f"ended too early:\n{process.communicate()[0]}")
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def storm(
    tmp_path_factory: pytest.TempPathFactory, terraform_environment: dict[str, str], terraform_program: Path
) -> Iterator[Storm]:
    """Live through it once."""
    folder = tmp_path_factory.mktemp("storm")
    (folder / "site.toml").write_text(SITE)
    with emulator(folder / "emulator") as aws, Hosts(aws, NAME, REGION):
        python = {"PYTHONPATH": str(Path(__file__).parents[1]), "HOME": str(folder), "COLUMNS": "120"}
        path = {"PATH": os.environ.get("PATH", os.defpath)}
        found = Storm(folder, aws, {**python, **path, **terraform_environment, **aws.environment(REGION)})
        found.before = aws.resources(REGION)
        try:
            _power_cut(found)
            _interrupted_in_a_pipe(found)
            found.forget("aws_ssm_parameter", "images")
            found.end("finished", found.start("up"))
            found.made = Counter(line.split()[0] for line in aws.resources(REGION) - found.before)
            _killed(found)
            _shared(found)
            yield found
        finally:
            for number in found.at_work():
                os.kill(number, signal.SIGKILL)
            for state in (found.work.parents[1], (found.colleague / ".orthweb").resolve()):
                shutil.rmtree(state, ignore_errors=True)


def _power_cut(storm: Storm) -> None:
    """Everything ends at once, while the database is being made: no state knows of it."""
    storm.aws.database(f"{NAME}-index", status="creating")
    storm.aws.refuse("ec2:RunInstances", "InvalidParameterValue", UNKNOWN_PROFILE, 400)
    process = storm.start("up")
    wait_for(lambda: storm.asked("CreateDBInstance") and storm.asked("RunInstances"), process)
    everything = storm.at_work()
    assert everything
    for number in everything:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    storm.end("power cut", process)
    assert "aws_db_instance" not in storm.state()
    storm.aws.database(f"{NAME}-index", status="available")


def _interrupted_in_a_pipe(storm: Storm) -> None:
    """Ctrl-C reaches a whole pipeline: whoever reads what orthweb says is gone first."""
    log = storm.folder / "up.log"
    process = storm.start("up", "{} 2>&1 | tee up.log")
    wait_for(lambda: log.exists() and "Plan: " in log.read_text(), process)
    before = storm.asked("RunInstances")
    wait_for(lambda: storm.asked("RunInstances") > before, process)
    os.killpg(process.pid, signal.SIGINT)
    storm.aws.refuse("ec2:RunInstances", "")
    process.wait(timeout=600)
    deadline = time.monotonic() + 240
    while storm.at_work():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    storm.said["pipe"] = process.returncode, log.read_text()


def _killed(storm: Storm) -> None:
    """Orthweb alone is killed while the database changes; the next call comes at once."""
    (storm.folder / "site.toml").write_text(LARGER)
    storm.aws.database(f"{NAME}-index", status="modifying")
    before = storm.asked("ModifyDBInstance")
    process = storm.start("up", "exec {}")
    wait_for(lambda: storm.asked("ModifyDBInstance") > before, process)
    process.kill()
    storm.end("killed", process)
    log = storm.folder / "again.log"
    again = storm.start("up", "exec {} > again.log 2>&1")
    wait_for(lambda: log.exists() and "Terraform of an earlier call" in log.read_text(), again)
    storm.aws.database(f"{NAME}-index", status="available")
    again.wait(timeout=600)
    storm.said["again"] = again.returncode, log.read_text()
    storm.modified = storm.asked("ModifyDBInstance") - before


def _shared(storm: Storm) -> None:
    """The state moves into a bucket; somebody else looks at the site, and removes it."""
    client = storm.aws.client("s3", REGION)
    client.create_bucket(Bucket="states", CreateBucketConfiguration={"LocationConstraint": REGION})
    shared = LARGER.replace("[aws]\n", '[aws]\nstate_bucket = "states"\n', 1)
    (storm.folder / "site.toml").write_text(shared)
    storm.end("not moved", storm.start("plan"))
    storm.unmoved = [each["Key"] for each in client.list_objects_v2(Bucket="states").get("Contents", ())]
    storm.end("moved", storm.start("up"))
    storm.moved = [each["Key"] for each in client.list_objects_v2(Bucket="states").get("Contents", ())]
    (storm.folder / "site.toml").write_text(LARGER)
    storm.end("back", storm.start("up"))
    storm.colleague.mkdir()
    (storm.colleague / "site.toml").write_text(shared)
    for verb in ("status", "credentials --json", "destroy --data --yes"):
        storm.end(f"colleague's {verb.split()[0]}", storm.start(verb, folder=storm.colleague))
    storm.left = {line.split()[0] for line in storm.aws.resources(REGION) - storm.before}


def test_up_when_the_power_failed_while_the_database_was_made_then_it_is_taken_over(storm: Storm) -> None:
    _, said = storm.said["pipe"]
    assert "database: an interrupted call made it; it is taken over" in said
    assert storm.asked("CreateDBInstance") == 1


def test_up_when_ctrl_c_ends_the_whole_pipeline_then_what_was_being_made_is_in_the_state(storm: Storm) -> None:
    assert storm.made["aws_instance"] == 1
    made = [call for call in storm.aws.calls() if call.operation == "RunInstances" and call.status == 200]
    assert len(made) == 1


def test_up_when_called_again_after_all_that_then_it_goes_on_to_the_end(storm: Storm) -> None:
    code, said = storm.said["finished"]
    assert code == 0, said
    assert not re.search(r"replace +(database|host|bucket|KMS key|secret)", said)
    assert "parameter of the hosts images: an interrupted call made it; it is taken over" in said


def test_up_when_all_is_over_then_nothing_is_there_twice(storm: Storm) -> None:
    once = ("aws_vpc", "aws_db_instance", "aws_instance", "aws_eip", "aws_internet_gateway", "aws_vpc_endpoint")
    assert {kind: storm.made[kind] for kind in once} == dict.fromkeys(once, 1)
    assert storm.made["aws_kms_key"] == 2


def test_up_when_orthweb_was_killed_then_waits_for_its_terraform_and_finds_nothing_to_do(storm: Storm) -> None:
    code, said = storm.said["again"]
    assert code == 0, said
    assert re.search(r"Terraform of an earlier call \(process \d+\) is still at work: waiting for it", said)
    assert "Plan: nothing to change." in said
    assert storm.modified == 1


def test_state_when_a_bucket_is_named_then_moves_there_at_up_alone(storm: Storm) -> None:
    code, said = storm.said["not moved"]
    assert code == 0, said
    assert "stays on this machine until orthweb up moves it" in said
    assert "Plan: nothing to change." in said
    assert storm.unmoved == []
    code, said = storm.said["moved"]
    assert code == 0, said
    assert "Plan: nothing to change." in said
    assert storm.moved == [f"orthweb/{NAME}/terraform.tfstate"]


def test_state_when_the_site_file_forgets_its_bucket_then_refused_with_the_way_back(storm: Storm) -> None:
    code, said = storm.said["back"]
    assert code == 2
    assert f"the state of this site is in s3://states/orthweb/{NAME}/terraform.tfstate" in said
    assert 'put state_bucket = "states" back' in said


def test_site_when_somebody_else_has_its_file_alone_then_found_by_the_state_in_the_bucket(storm: Storm) -> None:
    _, said = storm.said["colleague's status"]
    assert "database" in said
    assert "host i-" in said
    assert "there is no site here yet" not in said
    code, said = storm.said["colleague's credentials"]
    assert code == 0, said
    assert '"password": "admin-' in said


def test_destroy_when_somebody_else_has_the_site_file_alone_then_removes_it_all_the_same(storm: Storm) -> None:
    code, said = storm.said["colleague's destroy"]
    assert code == 0, said
    assert storm.left == {"aws_db_snapshot", "aws_s3_bucket"}  # the state's own

"""What a person reads when AWS, or this machine, does not let a site come up: one line, and the next step."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aws.driven_life import IMAGES
from aws.emulator import Emulator, emulator

REGION = "eu-central-1"
SITE = f"""\
name = "errors"
target = "aws"
[aws]
https_from = ["203.0.113.0/24"]
dicom_from = ["203.0.113.0/24"]
{IMAGES}"""


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An account whose answers the tests here spoil."""
    with emulator(tmp_path_factory.mktemp("errors")) as running:
        yield running


@pytest.fixture
def environment(account: Emulator, terraform_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "site.toml").write_text(SITE)
    python = {"PYTHONPATH": str(Path(__file__).parents[1]), "HOME": str(tmp_path)}
    path = {"PATH": os.environ.get("PATH", os.defpath)}
    return {**python, **path, **terraform_environment, **account.environment(REGION)}


def orthweb(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aws.driven", str(folder), *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def errors(said: subprocess.CompletedProcess[str]) -> str:
    return "\n".join(line for line in said.stderr.splitlines() if line.startswith(("error: ", "  next: ")))


@pytest.mark.parametrize(
    ("operation", "code", "words", "says", "step"),
    [
        ("sts:GetCallerIdentity", "ExpiredToken", "expired", "error: your AWS session has expired", "sign in again"),
        ("sts:GetCallerIdentity", "InvalidClientTokenId", "invalid", "AWS does not know these credentials", "profile"),
        (
            "ec2:DescribeAvailabilityZones",
            "OptInRequired",
            "no",
            "aws.region: eu-central-1: your account may not",
            "region",
        ),
        (
            "ec2:DescribeAvailabilityZones",
            "UnauthorizedOperation",
            "User: ann is not authorized to perform: ec2:DescribeAvailabilityZones",
            "you are not allowed to do ec2:DescribeAvailabilityZones",
            "orthweb policy",
        ),
    ],
)
def test_plan_when_aws_refuses_then_one_line_and_the_next_step(
    account: Emulator,
    environment: dict[str, str],
    tmp_path: Path,
    operation: str,
    code: str,
    words: str,
    says: str,
    step: str,
) -> None:
    account.refuse(operation, code, words)
    try:
        said = orthweb(tmp_path, environment, "plan")
    finally:
        account.refuse(operation, "")
    assert said.returncode == 1
    assert says in errors(said)
    assert step in errors(said)
    assert len(errors(said).splitlines()) == 2
    assert said.stdout == ""


def test_plan_when_there_are_no_credentials_then_says_how_to_get_some(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del environment[name]
    said = orthweb(tmp_path, environment, "plan")
    assert said.returncode == 1
    assert "error: there are no AWS credentials\n  next: sign in (aws sso login)" in errors(said)


def test_plan_when_no_region_is_named_then_names_the_key(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        del environment[name]
    said = orthweb(tmp_path, environment, "plan")
    assert said.returncode == 2
    assert "error: aws.region: there is none" in errors(said)


def test_plan_when_aws_cannot_be_reached_then_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    said = orthweb(tmp_path, {**environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "plan")
    assert said.returncode == 1
    assert "AWS cannot be reached" in errors(said)
    assert "proxy" in errors(said)


def test_plan_when_there_is_no_terraform_then_says_where_to_get_it(environment: dict[str, str], tmp_path: Path) -> None:
    said = orthweb(tmp_path, {**environment, "PATH": str(tmp_path)}, "plan")
    assert said.returncode == 2
    assert "neither terraform nor tofu is on this machine" in errors(said)
    assert "https://developer.hashicorp.com/terraform/install" in errors(said)


def test_plan_when_the_state_s_bucket_is_not_there_then_names_the_key(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = SITE.replace("[aws]\n", '[aws]\nstate_bucket = "nobody-s-states"\n', 1)
    (tmp_path / "site.toml").write_text(text)
    said = orthweb(tmp_path, environment, "plan")
    assert said.returncode == 2
    assert "error: aws.state_bucket: nobody-s-states: there is no such bucket" in errors(said)


def test_up_when_quota_and_permission_lack_then_names_each_resource_and_can_be_repeated(
    account: Emulator, environment: dict[str, str], tmp_path: Path, terraform_program: Path
) -> None:
    denied = "User: ann is not authorized to perform: iam:CreateRole on resource: role errors-host"
    account.refuse("ec2:CreateVpc", "VpcLimitExceeded", "The maximum number of VPCs has been reached.", 400)
    account.refuse("iam:CreateRole", "AccessDenied", denied)
    try:
        said = orthweb(tmp_path, environment, "up")
    finally:
        account.refuse("ec2:CreateVpc", "")
        account.refuse("iam:CreateRole", "")
    assert said.returncode == 1, said.stderr
    found = errors(said)
    assert "error: network (VPC) (module.network.aws_vpc.this): AWS says VpcLimitExceeded: The maximum number" in found
    assert "you are not allowed to do iam:CreateRole" in found
    assert "RequestID" not in found
    assert "  next: " in found
    again = orthweb(tmp_path, environment, "plan")
    assert again.returncode == 0, again.stderr
    assert "+ create network (VPC)" in again.stdout
    assert "! warn aws.state_bucket" in again.stdout

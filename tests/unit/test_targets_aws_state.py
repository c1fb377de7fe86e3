"""Terraform's state: what is read of it, whose memory it is, and when it moves into a bucket; S3 is moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from orthweb.aws.session import Session
from orthweb.errors import OrthwebError, UsageError
from orthweb.sitefile import parse
from orthweb.targets.aws import tfstate, work
from orthweb.targets.aws.place import Place
from orthweb.targets.aws.target import AwsTarget

REGION = "us-east-1"
ASKED = 'https_from = ["203.0.113.0/24"]\ndicom_from = ["203.0.113.0/24"]\n'
OUTPUTS = {
    "name": "pacs",
    "region": REGION,
    "account_id": "123456789012",
    "vpc_cidr": "10.83.0.0/16",
    "storage": "s3",
    "public_name": "pacs.example.org",
}
BUCKETS = ("states", "others")


def state(lineage: str = "a", serial: int = 1, resources: int = 1, outputs: dict[str, str] | None = None) -> str:
    vpc = {"mode": "managed", "module": "module.network", "type": "aws_vpc", "name": "this", "instances": [{}]}
    data = {"mode": "data", "type": "aws_region", "name": "this", "instances": [{}]}
    said = {name: {"value": value, "type": "string"} for name, value in (outputs or {}).items()}
    found = {
        "version": 4,
        "serial": serial,
        "lineage": lineage,
        "outputs": said,
        "resources": [data] + [vpc] * resources,
    }
    return json.dumps(found)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        for bucket in BUCKETS:
            client().create_bucket(Bucket=bucket)
        yield Session(REGION)


def client() -> Any:
    return boto3.client("s3", region_name=REGION)


def put(text: str, bucket: str = "states") -> None:
    client().put_object(Bucket=bucket, Key=work.state_key("pacs"), Body=text.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / ".orthweb" / "aws" / "work"
    path.mkdir(parents=True)
    for each in (path.parents[1], path.parent, path):
        each.chmod(0o700)
    return path


def keep(folder: Path, text: str) -> None:
    (folder / work.STATE).resolve().write_text(text)


def last(folder: Path, bucket: str) -> None:
    """Let the last `init` have been for a state in a bucket."""
    (folder / ".terraform").mkdir()
    config = {"bucket": bucket, "key": work.state_key("pacs"), "region": REGION}
    document = {"version": 3, "backend": {"type": "s3", "config": config}}
    (folder / ".terraform" / "terraform.tfstate").write_text(json.dumps(document))


def wanted(bucket: str | None) -> dict[str, Any]:
    return work.backend("pacs", REGION, bucket)


def test_state_when_read_then_says_how_far_it_is_and_what_it_manages() -> None:
    found = tfstate.parse(state("a", 7, 1, OUTPUTS), "there")
    assert found == tfstate.TerraformState("there", "a", 7, OUTPUTS, ("module.network.aws_vpc.this",))
    assert tfstate.parse("", "there") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "there: is no state"), ("[]", "there: is no state"), (state().replace("4", "5", 1), "version 5")],
)
def test_state_when_it_is_none_then_says_where(text: str, says: str) -> None:
    with pytest.raises(OrthwebError, match=says):
        tfstate.parse(text, "there")


def test_state_when_there_is_none_anywhere_then_is_made_where_the_site_file_says(
    session: Session, folder: Path
) -> None:
    for bucket in (None, "states"):
        assert tfstate.settle(session, folder, wanted(bucket), applying=True) == (wanted(bucket), False)


def test_state_when_a_bucket_is_named_then_moves_there_when_applied_alone(session: Session, folder: Path) -> None:
    keep(folder, state("a", 3))
    assert tfstate.settle(session, folder, wanted("states"), applying=False) == (wanted(None), False)
    assert tfstate.settle(session, folder, wanted("states"), applying=True) == (wanted("states"), True)


def test_state_when_the_bucket_has_a_later_self_of_it_then_is_not_copied_over(session: Session, folder: Path) -> None:
    keep(folder, state("a", 3))
    for serial in (3, 9):
        put(state("a", serial))
        assert tfstate.settle(session, folder, wanted("states"), applying=True) == (wanted("states"), False)
    put(state("a", 2))
    assert tfstate.settle(session, folder, wanted("states"), applying=True) == (wanted("states"), True)


@pytest.mark.parametrize("applying", [True, False])
def test_state_when_the_bucket_has_another_one_then_refused_and_both_are_named(
    session: Session, folder: Path, applying: bool
) -> None:
    keep(folder, state("a", 30))
    put(state("b", 2))
    with pytest.raises(
        UsageError, match=r"two states .*terraform.tfstate \(1 resources\) and s3://states/orthweb/pacs"
    ):
        tfstate.settle(session, folder, wanted("states"), applying=applying)
    put(state("b", 2, resources=0))  # of a site that was destroyed
    tfstate.settle(session, folder, wanted("states"), applying=applying)


@pytest.mark.parametrize("elsewhere", [None, "others"])
@pytest.mark.parametrize("applying", [True, False])
def test_state_when_its_bucket_is_gone_from_the_site_file_then_refused_with_the_way_back(
    session: Session, folder: Path, elsewhere: str | None, applying: bool
) -> None:
    last(folder, "states")
    put(state("a", 5))
    with pytest.raises(UsageError, match="the state of this site is in s3://states/orthweb/pacs") as caught:
        tfstate.settle(session, folder, wanted(elsewhere), applying=applying)
    assert 'put state_bucket = "states" back' in (caught.value.hint or "")
    assert "aws s3 cp s3://states/" in (caught.value.hint or "")


def test_state_when_a_person_copied_it_to_another_bucket_then_taken_from_there(session: Session, folder: Path) -> None:
    last(folder, "states")
    put(state("a", 5))
    put(state("a", 5), "others")
    assert tfstate.settle(session, folder, wanted("others"), applying=True) == (wanted("others"), False)


def place(folder: Path, text: str = "") -> Place:
    site = parse(f'name = "pacs"\ntarget = "aws"\n[aws]\nregion = "{REGION}"\n{text}{ASKED}', Path("site.toml"))[0]
    return Place(site, folder.parents[2])


def test_memory_when_it_was_deleted_then_is_what_the_state_here_says(folder: Path) -> None:
    keep(folder, state(outputs=OUTPUTS))
    found = place(folder).memory()
    assert found.known
    assert (found.name, found.region, found.account, found.network, found.store) == tuple(OUTPUTS.values())[:5]
    assert found.output("public_name") == "pacs.example.org"
    keep(folder, state(resources=0, outputs=OUTPUTS))
    assert not place(folder).memory().known


def test_memory_when_the_site_was_made_on_another_machine_then_is_what_the_state_in_the_bucket_says(
    session: Session, folder: Path
) -> None:
    put(state(outputs=OUTPUTS))
    site = place(folder, 'state_bucket = "states"\n')
    assert site.memory().account == "123456789012"
    assert AwsTarget(site.site, folder.parents[2]).site.hostname == "pacs.example.org"
    assert not place(folder).memory().known
    assert session.region == REGION


def test_destroy_when_the_state_lists_something_that_nobody_can_tell_of_then_keeps_the_folder(folder: Path) -> None:
    keep(folder, state())
    target = AwsTarget(place(folder).site, folder.parents[2])
    with pytest.raises(OrthwebError, match=r"terraform.tfstate: lists 1 resources that are still in an account"):
        target.destroy(data=True)
    assert (folder / work.STATE).resolve().exists()

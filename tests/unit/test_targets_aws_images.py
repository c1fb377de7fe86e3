"""Which tag the images in a site's own repositories get, against moto in this process."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from orthweb.aws.session import Session
from orthweb.errors import UsageError
from orthweb.site import Site
from orthweb.sitefile import parse
from orthweb.targets.aws import images

REGION = "eu-central-1"
ASKED = 'target = "aws"\n[aws]\nhttps_from = ["203.0.113.0/24"]\ndicom_from = ["203.0.113.0/24"]\n'


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr(images, "_built", lambda _: None)
    with mock_aws():
        client("ecr").create_repository(repositoryName="orthweb/archive")
        yield Session(REGION)


def site(text: str = "") -> Site:
    return parse(ASKED + text, Path("site.toml"))[0]


def run(tag: str) -> None:
    references = {role: f"1.dkr.ecr.{REGION}.amazonaws.com/orthweb/{role}:{tag}" for role in images.ROLES}
    client("ssm").put_parameter(Name="/orthweb/orthweb/images", Value=json.dumps(references), Type="String")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    client("ecr").put_image(repositoryName="orthweb/archive", imageManifest=json.dumps(manifest), imageTag=tag)


def test_tag_when_nothing_runs_yet_then_is_made_of_version_and_sources(session: Session) -> None:
    made = images.tag(session, site())
    assert made == images.tag(session, site())
    run("0.0.9-aaaaaaaaaaaa")
    assert images.tag(session, site()) == made


def test_tag_when_the_site_file_says_one_then_is_that(session: Session) -> None:
    assert images.tag(session, site('image_tag = "2026-11"\n')) == "2026-11"


def test_tag_when_these_sources_run_then_stays_as_it_is(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    dated = f"{images.tag(session, site())}-20260101T0000"
    run(dated)
    assert images.tag(session, site()) == dated
    monkeypatch.setattr(images, "_built", lambda _: datetime.now(UTC) - timedelta(days=2))
    assert images.tag(session, site()) == dated


def test_tag_when_newer_images_were_built_here_then_is_another(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = images.tag(session, site())
    run(ours)
    monkeypatch.setattr(images, "_built", lambda _: datetime(2099, 1, 2, 3, 4, tzinfo=UTC))
    assert images.tag(session, site()) == f"{ours}-20990102T0304"


def test_images_when_all_are_given_then_none_is_needed(session: Session) -> None:
    given = "".join(f'{role} = "r.example.org/{role}:1"\n' for role in images.ROLES)
    assert images.needed(site(f"[aws.images]\n{given}")) == ()
    assert images.lacking(session, site(f"[aws.images]\n{given}"), "1") == []


@pytest.mark.parametrize(
    ("machine", "server", "whose"),
    [("aarch64", "amd64", "this machine is of arm64"), ("x86_64", "arm64", "the Docker engine is of arm64")],
)
def test_engine_when_not_of_the_hosts_architecture_then_refused_with_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, server: str, whose: str
) -> None:
    docker(tmp_path, monkeypatch, machine, server)
    with pytest.raises(UsageError, match=whose) as caught:
        images.engine_for(["archive"])
    assert "aws.image_tag" in (caught.value.hint or "")
    assert "[aws.images]" in (caught.value.hint or "")
    assert images.engine_for([]) is None


def test_engine_when_of_the_hosts_architecture_then_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docker(tmp_path, monkeypatch, "x86_64", "amd64")
    found = images.engine_for(["archive"])
    assert found is not None
    assert found.version == "29.0.0"


def docker(folder: Path, monkeypatch: pytest.MonkeyPatch, machine: str, server: str) -> None:
    """Put a docker command of another machine in the way."""
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\ncase "$*" in *Arch*) echo {server};; *) echo 29.0.0 29.0.0;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(platform, "machine", lambda: machine)

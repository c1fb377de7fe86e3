"""The table [aws] of the site file: what has to be given, what is refused on AWS and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthweb.errors import SiteFileError
from orthweb.site import Site
from orthweb.sitefile import parse

ASKED = 'https_from = ["203.0.113.0/24"]\ndicom_from = ["198.51.100.0/24"]\n'
LEAST = f'target = "aws"\n[aws]\n{ASKED}'


def site(text: str) -> Site:
    return parse(text, Path("site.toml"))[0]


def problems(text: str) -> list[str]:
    with pytest.raises(SiteFileError) as caught:
        site(text)
    return caught.value.problems


@pytest.mark.parametrize("text", ['target = "aws"\n', 'target = "aws"\n[aws]\n'])
def test_aws_when_nothing_is_given_then_one_line_names_both_keys(text: str) -> None:
    [line] = problems(text)
    assert line.startswith('site.toml:1: target: "aws": needs aws.https_from and aws.dicom_from: the networks that')


def test_aws_when_the_ranges_are_given_then_images_go_to_the_bucket_that_is_made() -> None:
    found = site(LEAST)
    assert found.store.kind == "s3"
    assert found.aws.production
    assert not found.loopback_only
    assert found.unknown_peers == "store"


def test_aws_when_the_target_is_another_then_asks_for_nothing() -> None:
    assert site('target = "docker"\n[aws]\nregion = "eu-central-1"\n').store.kind == "filesystem"


def test_filesystem_when_on_aws_then_refused_with_the_reason() -> None:
    assert problems(f'{LEAST}[store]\nkind = "filesystem"\n') == [
        'site.toml:6: store.kind: "filesystem": should be "s3" or "database": a disk on AWS is lost with its host'
    ]


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("[edge]\nhttps_port = 8443\n", "edge.https_port: 8443: is 443 on AWS; leave it out"),
        ('[edge]\nlisten = ["0.0.0.0"]\n', "edge.listen: "),
        ('[s3]\nbucket = "pacs-images"\n', 's3.bucket: "pacs-images": is decided on AWS: the bucket is made'),
        ('instance_type = "t4g.large"\n', "aws.instance_type: "),
        ('instance_type = "c7gn.large"\n', "aws.instance_type: "),
        ('region = "Frankfurt"\n', "aws.region: "),
        ('network = "10.83.0.0/24"\n', "aws.network: "),
        ('network = "10.83.0.1/16"\n', "aws.network: "),
        ('management_from = "0.0.0.0/0"\n', "aws.management_from: "),
        ('nat = "none"\ntopology = "ha"\n', "aws.nat: "),
        ('hosted_zone = "Z0123456789"\n', "aws.hosted_zone: "),
        ('replica_bucket = "arn:aws:s3:::elsewhere"\n', "aws.replica_bucket: "),
        ('tags = { "aws:x" = "y" }\n', "aws.tags: "),
        ("log_retention = 2\n", "aws.log_retention: "),
        ('[aws.database]\nstorage = "500GiB"\n', "aws.database.storage: "),
        ('[aws.vpn]\nnetwork = "10.84.0.0/22"\n', "aws.vpn.network: "),
        ('topology = "ha"\n[aws.vpn]\nnetwork = "10.84.0.0/22"\n', "is for topology single"),
        ('[aws.volumes]\nstudies_per_day = "many"\n', "aws.volumes.studies_per_day: "),
    ],
)
def test_value_when_wrong_on_aws_then_its_key_is_named(added: str, expected: str) -> None:
    assert any(expected in line for line in problems(LEAST + added))


@pytest.mark.parametrize("name", ["ab", "a" * 21, "two--hyphens", "ends-", "awsome"])
def test_name_when_aws_would_not_take_it_then_refused(name: str) -> None:
    assert "on AWS a name should have 3 to 20" in problems(f'name = "{name}"\n{LEAST}')[0]


@pytest.mark.parametrize("kind", ["g4dn.xlarge", "m7i-flex.large", "t3a.large", "u-3tb1.56xlarge"])
def test_instance_type_when_its_processors_are_x86_then_taken(kind: str) -> None:
    assert site(f'{LEAST}instance_type = "{kind}"\n').aws.instance_type == kind


def test_everyone_when_asked_for_then_allowed() -> None:
    assert str(
        site('target = "aws"\n[aws]\nhttps_from = ["0.0.0.0/0"]\ndicom_from = ["0.0.0.0/0"]\n').aws.https_from[0]
    )


def test_key_when_misspelt_in_an_inner_table_then_its_keys_are_named() -> None:
    [line] = problems(f'{LEAST}[aws.database]\nclass = "db.m7g.large"\n')
    assert "[aws.database] has instance_class, version, storage" in line

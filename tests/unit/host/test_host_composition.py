from __future__ import annotations

from pathlib import Path

import pytest

from orthweb.errors import OrthwebError
from orthweb.host import composition
from orthweb.host.parameters import Deployment, Parameters, Ports
from orthweb.host.rds import Rds
from orthweb.site import Site
from orthweb.sitefile.reading import parse

RDS = Rds("pacs-index.abc.eu-central-1.rds.amazonaws.com", 5432, "arn:secret", "eu-central-1a")
DEPLOYMENT = Deployment(
    region="eu-central-1",
    topology="ha",
    public_name="pacs-0123.elb.eu-central-1.amazonaws.com",
    bucket="pacs-images-123456789012-eu-central-1",
    database_identifier="pacs-index",
    log_group="/orthweb/pacs/containers",
    ports=Ports(443, 11112, 443),
)
IMAGES = {"archive": "123.example/pacs/archive:1", "edge": "123.example/pacs/edge:1", "ops": "123.example/pacs/ops:1"}


def composed(
    tmp_path: Path, site: str = "", deployment: Deployment = DEPLOYMENT, *, own: bool = False, bucket_ca: bool = False
) -> Site:
    found = Parameters(site, {}, IMAGES, deployment)
    who, kept = {"name": "pacs", "instance": "i-0123456789abcdef0"}, Path("/var/lib/orthweb")
    values = composition.values(site, found, RDS, **who, kept=kept, own=own, bucket_ca=bucket_ca)
    (tmp_path / "host").mkdir(exist_ok=True)
    for name in (composition.PASSWORD, composition.INDEX_CA, composition.CERTIFICATE, composition.KEY):
        (tmp_path / name).touch(0o600)
    return parse(composition.text(values), tmp_path / "site.toml")[0]


def test_site_file_that_says_nothing_becomes_a_site_of_the_deployment(tmp_path: Path) -> None:
    site = composed(tmp_path)
    assert site.target == "docker"
    assert site.hostname == DEPLOYMENT.public_name
    assert (site.store.kind, site.s3.bucket) == ("s3", DEPLOYMENT.bucket)
    assert site.index.host == RDS.host
    assert site.index.client == "i-0123456789abcdef0"
    assert site.docker.edge_image == IMAGES["edge"]
    assert (site.docker.log_group, site.docker.log_region) == ("/orthweb/pacs/containers", "eu-central-1")
    assert str(site.s3.cache_path) == "/var/lib/orthweb/cache"
    assert (site.edge.https_port, site.edge.dicom_port) == (443, 11112)
    assert not site.loopback_only


def test_what_the_person_decides_stays(tmp_path: Path) -> None:
    text = """
        hostname = "pacs.example.org"
        target = "aws"
        [aws]
        https_from = ["203.0.113.0/24"]
        [dicom]
        aet = "PACS"
        [index]
        connections = 4
        snapshot_before = "10.3"
        [s3]
        cache = "1GiB"
        [modalities.ct1]
        aet = "CT1"
        host = "10.0.0.5"
        port = 2762
        tls = false
    """
    site = composed(tmp_path, text)
    assert site.hostname == "pacs.example.org"
    assert site.dicom.aet == "PACS"
    assert (site.index.connections, site.index.snapshot_before) == (4, "10.3")
    assert int(site.s3.cache) == 1024**3
    assert site.modalities["ct1"].aet == "CT1"


def test_pixel_data_in_the_database_needs_no_bucket(tmp_path: Path) -> None:
    site = composed(tmp_path, deployment=Deployment(store="database", database_identifier="pacs-index"))
    assert site.store.kind == "database"
    assert site.s3.bucket is None


def test_own_certificate_is_used(tmp_path: Path) -> None:
    site = composed(tmp_path, own=True)
    assert site.tls.certificate == tmp_path / composition.CERTIFICATE


def test_bucket_is_trusted_by_the_ca_that_the_host_trusts_for_aws(tmp_path: Path) -> None:
    assert composed(tmp_path).s3.ca is None
    assert composed(tmp_path, bucket_ca=True).s3.ca == tmp_path / composition.BUCKET_CA


def test_text_that_is_no_toml_is_said(tmp_path: Path) -> None:
    with pytest.raises(OrthwebError, match="the site parameter is no TOML"):
        composed(tmp_path, "this is not TOML")


@pytest.mark.parametrize("name", ["tls/ct1.pem", "ca.pem"])
def test_files_of_the_person_lie_beside_the_site_file(name: str) -> None:
    assert str(composition.inside(name)) == name


@pytest.mark.parametrize(
    "name", ["../ca.pem", "/etc/passwd", ".orthweb/secrets/admin-password", "host/index-password", "site.toml", ""]
)
def test_files_of_the_person_lie_nowhere_else(name: str) -> None:
    with pytest.raises(OrthwebError, match="cannot have this name"):
        composition.inside(name)

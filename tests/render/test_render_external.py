"""What is rendered for an index that is somebody else's, for images by reference, and for logs in CloudWatch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from orthweb import sitefile
from orthweb.render import compose, orthanc
from orthweb.render.endpoints import CHECK_MODALITY, Endpoints, IndexEndpoint
from orthweb.site import Site
from orthweb.targets.docker import images
from orthweb.targets.docker import services as containers
from orthweb.targets.host import external
from orthweb.targets.local import services as processes
from render.rendered import DEBIAN_12, DEBIAN_13, NETWORK, Rendered

SITE = """
[index]
host = "postgresql.example.org"
port = 6432
database = "pacs"
user = "pacs_archive"
password = "index-password"
ca = "index-ca.pem"
client = "host-1"
[docker]
archive_image = "registry.example.org/pacs/archive:0.2.0"
edge_image = "registry.example.org/pacs/edge:0.2.0"
log_group = "/orthweb/pacs/containers"
log_region = "eu-central-1"
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("index-password", "index-ca.pem"):
        (tmp_path / name).touch(0o600)
    return sitefile.parse(SITE, tmp_path / "site.toml")[0]


@pytest.fixture
def index(site: Site) -> IndexEndpoint:
    found = external.endpoint(site.index)
    assert found is not None
    return found


@pytest.fixture
def endpoints(site: Site, index: IndexEndpoint) -> Endpoints:
    archives = orthanc.processes(site, DEBIAN_13)
    return containers.endpoints(archives, NETWORK, [CHECK_MODALITY], "OWCHECK", 20004, index)


@pytest.fixture
def stack(site: Site, endpoints: Endpoints, tmp_path: Path) -> dict[str, Any]:
    from orthweb.state import StateFolder

    state = StateFolder(tmp_path / ".orthweb")
    found = containers.stack(
        site,
        endpoints,
        state,
        identity="0123456789abcdef",
        project="orthweb-01234567",
        addresses=NETWORK,
        images={str(role): reference for role, reference in images.references(site).items()},
        users=dict.fromkeys(("index", "archive", "edge"), (1000, 1000)),
        data=state.index / "data",
        store=state.store,
        cache=state.cache,
        sockets=state.run / "edge",
        orthanc_program=DEBIAN_13.program,
        workers=2,
    )
    return dict(yaml.safe_load(compose.compose(found)))


def test_containers_then_are_without_an_index_and_its_network(stack: dict[str, Any]) -> None:
    assert list(stack["services"]) == ["archive", "reader", "edge"]
    assert list(stack["networks"]) == ["front", "middle"]
    assert not stack["networks"]["middle"]["internal"], "the archive has to reach the server"
    assert "depends_on" not in stack["services"]["archive"]


def test_images_by_reference_then_are_those(stack: dict[str, Any], site: Site) -> None:
    assert stack["services"]["edge"]["image"] == "registry.example.org/pacs/edge:0.2.0"
    assert stack["services"]["archive"]["image"] == "registry.example.org/pacs/archive:0.2.0"
    assert "index" not in images.references(site)


def test_logs_then_go_to_cloudwatch_and_nobody_waits_for_it(stack: dict[str, Any]) -> None:
    logging = stack["services"]["archive"]["logging"]
    assert logging["driver"] == "awslogs"
    assert logging["options"]["awslogs-stream"] == "host-1/archive"
    assert logging["options"]["mode"] == "non-blocking"
    assert logging["options"]["cache-disabled"] == "false", "orthweb logs reads the engine's own copy"


def test_processes_then_are_without_an_index(site: Site, index: IndexEndpoint, tmp_path: Path) -> None:
    default = Rendered("default", tmp_path)
    found = processes.services(
        site, replace(default.endpoints, index=index), DEBIAN_12, default.accounts, Path("/envoy")
    )
    assert "index" not in [each.name for each in found]


def test_connection_then_is_verified_for_the_servers_name(site: Site, endpoints: Endpoints) -> None:
    archive = endpoints.archives[0]
    found = json.loads(orthanc.configuration(site, endpoints, archive, DEBIAN_13))
    parts = urlsplit(found["PostgreSQL"]["ConnectionUri"])
    options = parse_qs(parts.query)
    assert parts.netloc == "pacs_archive@postgresql.example.org:6432"
    assert parts.path == "/pacs"
    assert options["sslmode"] == ["verify-full"]
    assert options["sslrootcert"] == ["/etc/orthweb/tls/index-ca.pem"]
    assert "hostaddr" not in options
    assert found["DatabaseServerIdentifier"] == "orthweb-host-1-archive"
    assert found["PostgreSQL"]["Lock"] is False, "other machines may share the index"


def test_password_file_then_quotes_what_it_has_to(index: IndexEndpoint) -> None:
    line = orthanc.passfile(index, "with:colon and\\backslash")
    assert line == "postgresql.example.org:6432:pacs:pacs_archive:with\\:colon and\\\\backslash\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[index]\nhost = "db"\nca = "index-ca.pem"\n', "index.host: needs index.password too"),
        ('[index]\nhost = "db"\npassword = "index-password"\n', "index.host: needs index.ca too"),
        ('[index]\nuser = "pacs"\n', "index.user: is never used without index.host"),
        ('[index]\nsnapshot_before = "ten"\n', 'a version, such as "10.3"'),
        ('[index]\ndatabase = "Robert; DROP"\n', "index.database"),
    ],
)
def test_site_file_that_says_half_then_is_refused(site: Site, tmp_path: Path, text: str, words: str) -> None:
    from orthweb.errors import SiteFileError

    with pytest.raises(SiteFileError) as raised:
        sitefile.parse(text, tmp_path / "site.toml")
    said = str(raised.value).replace(': "db"', "").replace(': "pacs"', "")
    assert words in said

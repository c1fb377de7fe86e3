"""An answer of the index that is lost while it commits: the image is there, or it is not; it is never half there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live.edge_clients import image, store
from live.lost_answers import assert_nothing_is_lost
from live.postgresql_server import PostgresqlServer, postgresql_server
from live.s3_server import S3Server
from live.sites import LiveSite, live_site
from live.stores import bucket

PASSWORD = "A0Password"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as made:
        yield made


@pytest.fixture(params=["filesystem", "s3", "database"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of the store; each has an index of its own."""
    return str(request.param)


@pytest.fixture
def site(kind: str, server: PostgresqlServer, s3: S3Server, tmp_path: Path) -> Iterator[LiveSite]:
    server.make_archive_user(PASSWORD, f"archive_{kind}", f"archive_{kind}")
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(PASSWORD + "\n")
    names = {"user": f"archive_{kind}", "database": f"archive_{kind}"}
    index = {"host": server.host, "port": server.port, "password": str(file), "ca": str(server.ca)} | names
    more: dict[str, Any] = {"s3": bucket(s3)} if kind == "s3" else {}
    with live_site(index=index, store={"kind": kind}, **more) as made:
        yield made


def test_image_when_the_answer_to_its_commit_is_lost_then_it_is_there_after_the_next_success(
    site: LiveSite, server: PostgresqlServer, kind: str
) -> None:
    assert store(site.access, image()) == [0]
    assert_nothing_is_lost(site.access, server, f"archive_{kind}")

"""An answer of the index that is lost while it commits: the image is there, or it is not; it is never half there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from live.counting import client, eventually
from live.edge_clients import image, store
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
def site(request: pytest.FixtureRequest, server: PostgresqlServer, s3: S3Server, tmp_path: Path) -> Iterator[LiveSite]:
    server.make_archive_user(PASSWORD, f"archive_{request.param}", f"archive_{request.param}")
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(PASSWORD + "\n")
    names = {"user": f"archive_{request.param}", "database": f"archive_{request.param}"}
    index = {"host": server.host, "port": server.port, "password": str(file), "ca": str(server.ca)} | names
    more: dict[str, Any] = {"s3": bucket(s3)} if request.param == "s3" else {}
    with live_site(index=index, store={"kind": request.param}, **more) as made:
        yield made


def lose_an_answer(server: PostgresqlServer) -> None:
    """End the connections that wait in a commit, as a failover does: what they commit is on the disk already."""

    def waiting() -> list[int]:
        found = server.as_owner("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'")
        return [pid for (pid,) in found]

    eventually(lambda: bool(waiting()), 20, "nothing commits")
    server.as_owner("ALTER SYSTEM RESET synchronous_standby_names")
    for pid in waiting():
        server.as_owner("SELECT pg_terminate_backend(%s)", (pid,))
    server.as_owner("SELECT pg_reload_conf()")


def hold_commits(server: PostgresqlServer) -> None:
    """Let each commit wait, once it is on the disk, for a standby that never comes."""
    server.as_owner("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.as_owner("SELECT pg_reload_conf()")
    eventually(lambda: server.as_owner("SHOW synchronous_standby_names") == [("nobody",)], 10, "commits do not wait")


def files(site: LiveSite, made: Dataset) -> list[int]:
    """Give the answers to a request for the file of each instance in the index that is this one."""
    with client(site.access) as http:
        found = http.post("/tools/lookup", content=str(made.SOPInstanceUID)).json()
        return [http.get(f"/instances/{each['ID']}/file").status_code for each in found if each["Type"] == "Instance"]


def test_image_when_the_answer_to_its_commit_is_lost_then_it_is_there_after_the_next_success(
    site: LiveSite, server: PostgresqlServer
) -> None:
    assert store(site.access, image()) == [0]
    made, statuses = image(), []
    hold_commits(server)
    sending = threading.Thread(target=lambda: statuses.extend(store(site.access, made)))
    sending.start()
    lose_an_answer(server)
    sending.join()
    assert statuses != [0], "nobody may be promised what the index did not answer"
    assert set(files(site, made)) <= {200}, "a row without its file"
    assert store(site.access, made) == [0]
    assert files(site, made) == [200]

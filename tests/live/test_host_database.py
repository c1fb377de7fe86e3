"""The index in an account's database: the archive's user, the lock, and a password that changes while it is used."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import psycopg
import pytest
from moto import mock_aws

from live.postgresql_server import MASTER, PostgresqlServer, postgresql_server
from orthweb.errors import NotRunningError, OrthwebError
from orthweb.host import database, rotation, vault
from orthweb.host.account import AwsAccount
from orthweb.host.database import Login, Server, SignInError
from orthweb.host.index import Index
from orthweb.host.loop import WaitError
from orthweb.host.rds import Rds
from orthweb.host.settings import HostSettings
from orthweb.host.vault import Vault

FIRST = Login("orthanc", "First0Password")


@pytest.fixture(scope="module")
def running() -> Iterator[PostgresqlServer]:
    with postgresql_server() as made:
        yield made


@pytest.fixture
def server(running: PostgresqlServer) -> Iterator[Server]:
    """Give the server as it was new."""
    yield Server(running.host, running.port, running.ca)
    running.as_owner("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'orthanc'")
    running.as_owner("DROP DATABASE IF EXISTS orthanc")
    running.as_owner("DROP ROLE IF EXISTS orthanc")


@pytest.fixture
def master(running: PostgresqlServer) -> Login:
    return Login(MASTER, running.master_password)


@pytest.fixture
def made(server: Server, master: Login) -> Server:
    """Give the server with the archive's user."""
    database.ensure_database(server, master)
    database.ensure_user(server, master, FIRST)
    return server


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """Give the secrets of a site whose password of the index is the first one."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="eu-central-1")
        client.create_secret(Name="orthweb/pacs/index")
        found = Vault(AwsAccount(HostSettings("pacs", "eu-central-1", "/orthweb/pacs")))
        found.fill(vault.INDEX, {"username": FIRST.user, "password": FIRST.password})
        yield found


def test_user_of_a_new_database_owns_it_and_may_do_nothing_else(
    running: PostgresqlServer, server: Server, master: Login
) -> None:
    database.ensure_database(server, master)
    done = database.ensure_user(server, master, FIRST)
    assert len(done) == 3
    rights = running.as_owner(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolcanlogin FROM pg_roles "
        "WHERE rolname = 'orthanc'"
    )
    assert rights == [(False, False, False, False, True)]
    with database.connect(server, FIRST) as connection:
        connection.execute("CREATE TABLE resources (id int)")
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")  # what Orthanc's plugin does at its first start
        for forbidden in ("CREATE ROLE other", "CREATE DATABASE other"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)
    # The master does not keep the membership that it needed: it cannot read images' names by itself.
    members = running.as_owner(
        "SELECT 1 FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid "
        "WHERE r.rolname = 'orthanc' AND NOT m.admin_option"
    )
    assert members == []


def test_user_that_is_as_it_should_be_is_left_alone(made: Server, master: Login) -> None:
    assert database.ensure_user(made, master, FIRST) == []


def test_user_that_was_half_made_is_finished(running: PostgresqlServer, server: Server, master: Login) -> None:
    database.ensure_database(server, master)
    with database.connect(server, master) as connection:
        connection.execute("CREATE ROLE orthanc LOGIN CREATEDB")
    done = database.ensure_user(server, master, FIRST)
    assert [each.split()[0] for each in done] == ["rights", "owner", "password"]
    assert database.signs_in(server, FIRST)
    assert database.ensure_user(server, master, FIRST) == []


def test_user_whose_secret_was_changed_by_hand_gets_that_password(made: Server, master: Login) -> None:
    by_hand = Login("orthanc", "By0Hand")
    assert database.ensure_user(made, master, by_hand) == ["password of the database user orthanc"]
    assert not database.signs_in(made, FIRST)


def test_password_never_reaches_the_server_in_the_clear(
    running: PostgresqlServer, server: Server, master: Login
) -> None:
    running.as_owner(f"ALTER ROLE {MASTER} SET log_statement = 'all'")
    try:
        database.ensure_database(server, master)
        database.ensure_user(server, master, FIRST)
    finally:
        running.as_owner(f"ALTER ROLE {MASTER} RESET log_statement")
    assert "ALTER ROLE" in running.log
    assert FIRST.password not in running.log


def test_connection_to_a_server_of_another_ca_is_refused(server: Server, master: Login, tmp_path: Any) -> None:
    with postgresql_server() as other:
        stranger = Server(server.host, server.port, other.ca)
        with pytest.raises(NotRunningError, match="certificate verify failed"):
            database.connect(stranger, master, "postgres")


def test_connection_to_another_name_than_the_certificates_is_refused(server: Server, master: Login) -> None:
    other = Server("database.example.org", server.port, server.ca, address="127.0.0.1")
    with pytest.raises(NotRunningError, match="does not match host name"):
        database.connect(other, master, "postgres")


def test_wrong_password_is_told_from_a_server_that_is_away(made: Server) -> None:
    with pytest.raises(SignInError):
        database.connect(made, Login("orthanc", "wrong"))
    with pytest.raises(NotRunningError):
        database.connect(Server("localhost", 1, made.ca), FIRST)


def test_lock_is_held_by_one_host_at_a_time_and_free_when_that_dies(made: Server, master: Login) -> None:
    first, second = database.connect(made, FIRST), database.connect(made, master)
    with second:
        with database.lock(first) as ours, database.lock(second) as theirs:
            assert (ours, theirs) == (True, False)
        with database.lock(second) as theirs:
            assert theirs
        with database.lock(first) as ours:
            assert ours
            first.close()
        deadline = datetime.now(UTC) + timedelta(seconds=10)
        while True:
            with database.lock(second) as theirs:
                if theirs:
                    break
            assert datetime.now(UTC) < deadline


def test_rotation_gives_user_and_secret_the_same_new_password(made: Server, master: Login, store: Vault) -> None:
    new = rotation.login_of(rotation.rotate(store, made, lambda: master, lambda _line: None))
    current = store.read(vault.INDEX)
    assert current is not None
    assert rotation.login_of(current) == new
    assert store.read(vault.INDEX, "AWSPENDING") is None
    assert new.password != FIRST.password
    assert not database.signs_in(made, FIRST)
    assert database.signs_in(made, new)


class KilledError(Exception):
    """The host died here."""


STEPS = ("put", "set_password", "after set_password", "promote", "after promote")


@pytest.mark.parametrize("step", STEPS)
def test_rotation_that_was_killed_is_finished_by_the_next(
    made: Server, master: Login, store: Vault, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = step.removeprefix("after ")
    place: Any = database if name == "set_password" else store
    real = getattr(place, name)

    def die(*words: Any) -> None:
        if step.startswith("after "):
            real(*words)
        if step == "put":
            real(*words)  # killed between the steps create and set
        raise KilledError

    with monkeypatch.context() as broken:
        broken.setattr(place, name, die)
        with pytest.raises(KilledError):
            rotation.rotate(store, made, lambda: master, lambda _line: None)
    current, pending = store.read(vault.INDEX), store.read(vault.INDEX, "AWSPENDING")
    assert current is not None
    if step != "after promote":
        assert rotation.due(current, pending, 0, datetime.now(UTC)), "the next round must go on"
        rotation.rotate(store, made, lambda: master, lambda _line: None)
    current = store.read(vault.INDEX)
    assert current is not None
    assert database.signs_in(made, rotation.login_of(current))
    assert not rotation.due(current, store.read(vault.INDEX, "AWSPENDING"), 30, datetime.now(UTC))


def test_rotation_where_neither_password_is_right_is_mended_by_the_master(
    made: Server, master: Login, store: Vault
) -> None:
    with database.connect(made, master) as connection:
        database.set_password(connection, Login("orthanc", "Nobody0Knows"))
    new = rotation.login_of(rotation.rotate(store, made, lambda: master, lambda _line: None))
    assert database.signs_in(made, new)


def test_rotation_leaves_open_connections_alone(made: Server, master: Login, store: Vault) -> None:
    with database.connect(made, FIRST) as connection:
        rotation.rotate(store, made, lambda: master, lambda _line: None)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_two_hosts_at_once_make_one_user(made: Server, master: Login, running: PostgresqlServer) -> None:
    """They take turns: whoever does not get the lock does nothing."""
    turns: list[bool] = []

    def host(both: threading.Barrier) -> None:
        with database.connect(made, master) as connection, database.lock(connection) as ours:
            both.wait(10)  # both have asked
            if ours:
                database.ensure_user(made, master, FIRST)
            turns.append(ours)

    both = threading.Barrier(2)
    threads = [threading.Thread(target=host, args=(both,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(turns) == [False, True]


def test_rotation_of_an_empty_secret_says_so(made: Server, master: Login, store: Vault) -> None:
    client = boto3.client("secretsmanager", region_name="eu-central-1")
    client.delete_secret(SecretId="orthweb/pacs/index", ForceDeleteWithoutRecovery=True)
    with pytest.raises(OrthwebError, match="empty"):
        rotation.rotate(store, made, lambda: master, lambda _line: None)


# --- what a host does about it ----------------------------------------------------------------------------------


@pytest.fixture
def host(made: Server, master: Login, store: Vault) -> Callable[[], Index]:
    """Give hosts of the site that have looked."""
    client = boto3.client("secretsmanager", region_name="eu-central-1")
    secret = client.create_secret(
        Name="rds!db-1", SecretString=json.dumps({"username": master.user, "password": master.password})
    )

    def new() -> Index:
        index = Index(store, made.ca, lambda _line: None)
        found = Rds(made.host, made.port, secret["ARN"], "eu-central-1a")
        index.look(found, 30, lambda: pytest.fail("nothing is empty"))
        return index

    return new


def wish(store: Vault, password: str) -> None:
    """Put the next password into the secret, as a person does."""
    store.put(vault.INDEX, {"username": FIRST.user, "password": password}, "AWSPENDING")


def signs_in(made: Server, store: Vault) -> bool:
    current = store.read(vault.INDEX)
    assert current is not None
    return database.signs_in(made, rotation.login_of(current))


def test_host_that_looked_before_another_one_rotated_takes_the_new_password(
    made: Server, store: Vault, host: Callable[[], Index]
) -> None:
    wish(store, "Second0Password")
    late, other = host(), host()
    assert late.due()
    assert other.due()
    with other.lock() as ours:
        assert ours
        other.rotate()
    with late.lock() as ours:
        assert ours
        assert late.current.values["password"] == "Second0Password"
        assert not late.due(), "one rotation is enough"
    assert signs_in(made, store)


def test_rotation_that_was_cut_off_before_its_end_is_finished_by_whoever_has_the_lock(
    made: Server, master: Login, store: Vault, host: Callable[[], Index]
) -> None:
    wish(store, "Second0Password")
    with database.connect(made, master) as connection:
        database.set_password(connection, Login(FIRST.user, "Second0Password"))
    index = host()
    with index.lock() as ours:
        assert ours
        assert not index.due()
    assert index.current.values["password"] == "Second0Password"
    assert signs_in(made, store)


def test_password_that_somebody_put_as_the_current_one_is_taken_by_the_database(
    made: Server, store: Vault, host: Callable[[], Index]
) -> None:
    store.put(vault.INDEX, {"username": FIRST.user, "password": "By0Hand"})
    assert not signs_in(made, store)
    host().let_in()
    assert signs_in(made, store)


def test_host_whose_lock_went_with_its_connection_does_not_go_on(
    running: PostgresqlServer, host: Callable[[], Index]
) -> None:
    index = host()
    with index.lock() as ours:
        assert ours
        index.keep_turn()
        running.as_owner("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        with pytest.raises(WaitError, match="during this host's turn"):
            index.keep_turn()

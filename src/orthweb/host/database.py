"""The index in the account's database: its lock, and the one user that the archive signs in as.

The hosts of a site share one PostgreSQL. Whoever changes something for all of them (the archive's user, empty secrets,
an Orthanc with another configuration) holds an advisory lock there meanwhile; PostgreSQL gives it up by itself when a
host dies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import sql

from orthweb.errors import NotRunningError, OrthwebError
from orthweb.postgresql import Connection, Login, Server, SignInError, connect, signs_in
from orthweb.render.postgresql import DATABASE

__all__ = ["Login", "Server", "SignInError", "connect", "signs_in"]

LOCK: Final = 0x4F525448_57454200
"""Key of the advisory lock: ``ORTHWEB`` in ASCII."""

MAINTENANCE: Final = "postgres"
"""The database that every PostgreSQL has, for making another one."""


@contextlib.contextmanager
def lock(connection: Connection) -> Iterator[bool]:
    """Hold the site's lock while a block runs, if nobody else does; tell whether it is ours."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    ours = bool(row and row[0])
    try:
        yield ours
    finally:
        if ours:
            with contextlib.suppress(psycopg.Error):  # with the connection the lock is gone, too
                connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def ensure_database(server: Server, master: Login) -> None:
    """Make the archive's database where there is none."""
    with connect(server, master, MAINTENANCE) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def verifier(connection: Connection, login: Login) -> str:
    """Give the SCRAM verifier of a password: what the server keeps, so that it is never sent the password itself."""
    made = connection.pgconn.encrypt_password(login.password.encode(), login.user.encode(), b"scram-sha-256")
    return made.decode()


def set_password(connection: Connection, login: Login) -> None:
    """Give a user a new password: somebody else's as the master, its own as itself."""
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
    with _no_statement_in_errors():
        connection.execute(statement.format(sql.Identifier(login.user), sql.Literal(verifier(connection, login))))


def ensure_user(server: Server, master: Login, login: Login) -> list[str]:
    """Make the archive's user be as it should: owner of its database, nothing else, with this password.

    To be called with the site's lock held. What is already so is left alone; what an interrupted call left is finished.

    Returns
    -------
    What was changed, for the log.

    Raises
    ------
    SignInError : the master's secret is wrong.
    OrthwebError : the master may not do it.
    """
    done = []
    with connect(server, master) as connection, _no_statement_in_errors():
        user, owner = sql.Identifier(login.user), sql.Identifier(master.user)
        row = connection.execute(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR NOT rolcanlogin FROM pg_roles WHERE rolname = %s",
            (login.user,),
        ).fetchone()
        if row is None:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN NOCREATEDB NOCREATEROLE").format(user))
            done.append(f"database user {login.user}")
        elif row[0]:
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN NOCREATEDB NOCREATEROLE").format(user))
            done.append(f"rights of the database user {login.user}")
        row = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (DATABASE,)
        ).fetchone()
        if row is None or row[0] != login.user:
            # Only a member may give something to a role; the owner of the database owns its schema "public" as well.
            with connection.transaction():
                connection.execute(sql.SQL("GRANT {} TO {}").format(user, owner))
                for statement in (
                    "ALTER DATABASE {database} OWNER TO {user}",
                    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
                    "GRANT CONNECT ON DATABASE {database} TO {master}",  # it repairs what is here
                ):
                    words = {"database": sql.Identifier(DATABASE), "user": user, "master": owner}
                    connection.execute(sql.SQL(statement).format(**words))
                connection.execute(sql.SQL("REVOKE {} FROM {}").format(user, owner))
            done.append(f"owner of the database {DATABASE}")
        if not signs_in(server, login):
            set_password(connection, login)
            done.append(f"password of the database user {login.user}")
    return done


@contextlib.contextmanager
def _no_statement_in_errors() -> Iterator[None]:
    """Turn an error of PostgreSQL into one line, without the statement."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise NotRunningError(f"the database went away: {' '.join(str(error).split())[:200]}") from error
    except psycopg.Error as error:
        words = error.diag.message_primary or type(error).__name__
        raise OrthwebError(
            f"the database refuses: {words}", "its master user needs the rights that RDS gives"
        ) from None

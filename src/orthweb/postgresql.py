"""A PostgreSQL server that somebody else runs, reached over verified TLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from orthweb.errors import NotRunningError, OrthwebError
from orthweb.render.postgresql import DATABASE

Connection = psycopg.Connection[Any]

APPLICATION: Final = "orthweb"
"""What the server calls these connections."""

_KEEP_ALIVE: Final = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""Asked of both ends: the lock of a host that is cut off is free after 25 seconds, not after two hours."""


@dataclass(frozen=True)
class Login:
    """A name and a password; ``repr`` does not show the latter."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Server:
    """Where the database is.

    Parameters
    ----------
    host : the name that its certificate is verified for.
    ca : file with the CAs that may have signed it (PEM).
    address : skips the look-up of the name.
    database : what is connected to, unless another one is named.
    """

    host: str
    port: int
    ca: Path
    address: str | None = None
    database: str = DATABASE


class SignInError(OrthwebError):
    """The server answers and does not take this name and password."""


def connect(server: Server, login: Login, database: str | None = None, timeout: int = 5) -> Connection:
    """Connect over verified TLS (``verify-full``).

    Raises
    ------
    SignInError : name or password is wrong, or the user may not use this database.
    NotRunningError : the server does not answer, or is not the one that its certificate should name.
    """
    database = database or server.database
    options = " ".join(f"-c {key}={value}" for key, value in _KEEP_ALIVE.items())
    try:
        return psycopg.connect(
            host=server.host,
            hostaddr=server.address,
            port=server.port,
            dbname=database,
            user=login.user,
            password=login.password,
            passfile="/dev/null",  # nobody's own file decides
            sslmode="verify-full",
            sslrootcert=str(server.ca),
            connect_timeout=timeout,
            application_name=APPLICATION,
            gssencmode="disable",
            keepalives_idle=_KEEP_ALIVE["tcp_keepalives_idle"],
            keepalives_interval=_KEEP_ALIVE["tcp_keepalives_interval"],
            keepalives_count=_KEEP_ALIVE["tcp_keepalives_count"],
            options=f"{options} -c lock_timeout=30s",
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        words = " ".join(str(error).split())[:300]
        # libpq gives no SQLSTATE for a refused connection: its own words say why.
        if any(each in words for each in ("password authentication failed", "does not exist", "permission denied")):
            raise SignInError(f"{login.user} cannot sign in to the database {database}: {words}") from error
        raise NotRunningError(f"the database at {server.host}:{server.port} does not answer: {words}") from error


def signs_in(server: Server, login: Login) -> bool:
    """Tell whether a name and a password are right.

    Raises
    ------
    NotRunningError : the server does not answer.
    """
    try:
        connect(server, login).close()
    except SignInError:
        return False
    return True


def most_connections(connection: Connection) -> int:
    """Ask how many connections the server takes from ordinary users."""
    row = connection.execute(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    ).fetchone()
    return int(row[0]) if row else 0

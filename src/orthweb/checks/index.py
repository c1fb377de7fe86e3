"""Group ``index``: PostgreSQL, reached as the archive reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg

from orthweb.checks.check import CheckFailed, check

if TYPE_CHECKING:
    from orthweb.checks.context import Context

_LOGS = "see `orthweb logs index` and `orthweb logs archive`"
_HBA = "pg_hba.conf is not what orthweb renders: `orthweb plan` shows the difference, `orthweb up` mends it"

TABLES = (
    "attachedfiles",
    "changes",
    "deletedfiles",
    "dicomidentifiers",
    "exportedresources",
    "globalproperties",
    "maindicomtags",
    "metadata",
    "patientrecyclingorder",
    "resources",
    "serverproperties",
)
"""What Orthanc's PostgreSQL plugin makes (its ``PrepareIndex.sql``)."""


@contextmanager
def connection(context: Context, **other: Any) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Connect as the archive does (``verify-full``), or with other libpq parameters.

    Raises
    ------
    psycopg.OperationalError : no connection.
    """
    index = context.index
    parameters: dict[str, Any] = {
        "host": index.host,
        **({"hostaddr": index.hostaddr} if index.hostaddr else {}),
        "port": index.port,
        "dbname": index.dbname,
        "user": index.user,
        "sslmode": "verify-full",
        "sslrootcert": str(index.sslrootcert),
        "passfile": str(index.passfile),
        "connect_timeout": 5,
        "application_name": "orthweb-validate",
        # The environment of whoever calls must not decide: no PGSSLMODE, no service file, no GSSAPI.
        "gssencmode": "disable",
        "options": "-c statement_timeout=5000 -c default_transaction_read_only=on",
    }
    with psycopg.connect(autocommit=True, **(parameters | other)) as opened:
        yield opened


@check(
    "index.tls",
    "Verified TLS",
    "PostgreSQL's certificate verifies against the site's internal CA and its name, over TLS 1.2 or later",
    hint=_LOGS,
)
def tls(context: Context) -> str:
    """Connect with ``sslmode=verify-full`` and ask what was agreed on."""
    with connection(context) as index:
        row = index.execute("SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl").fetchone()
        version = index.info.parameter_status("server_version")
    if row is None:
        raise CheckFailed("the connection is not encrypted")
    if row[0] not in ("TLSv1.2", "TLSv1.3"):
        raise CheckFailed(f"the connection uses {row[0]}")
    return f"PostgreSQL {version} over {row[0]} {row[1]}, certificate and name verified"


@check(
    "index.archive_tls",
    "Archive's connections",
    "Each connection of the archive to the index is encrypted with TLS 1.2 or later",
    hint="the archive's ConnectionUri must say sslmode=verify-full: `orthweb up` renders it",
)
def archive_tls(context: Context) -> str:
    """Look at all sessions of the archive's role in ``pg_stat_ssl``."""
    with connection(context) as index:
        rows = index.execute(
            "SELECT coalesce(s.version, 'no TLS') FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)"
            " WHERE a.usename = current_user AND a.datname = current_database()"
            " AND a.application_name <> 'orthweb-validate' AND a.backend_type = 'client backend'"
        ).fetchall()
    versions = [str(row[0]) for row in rows]
    if not versions:
        raise CheckFailed("the archive has no connection to the index")
    weak = [version for version in versions if version not in ("TLSv1.2", "TLSv1.3")]
    if weak:
        raise CheckFailed(f"{len(weak)} of {len(versions)} connections of the archive: {weak[0]}")
    return f"{len(versions)} of {len(versions)} connections encrypted ({', '.join(sorted(set(versions)))})"


@check("index.plaintext", "Connection without TLS refused", "PostgreSQL refuses a connection without TLS", hint=_HBA)
def plaintext(context: Context) -> str:
    """Connect with ``sslmode=disable`` and the right password."""
    return _refused(context, "without TLS", "pg_hba.conf", sslmode="disable")


@check(
    "index.password",
    "Wrong password refused",
    "PostgreSQL refuses the archive's role with a wrong password, and with none",
    hint=_HBA,
)
def password(context: Context) -> str:
    """Connect with a wrong password, and with an empty password file."""
    with TemporaryDirectory(prefix="orthweb-") as folder:
        empty = Path(folder) / "passfile"
        empty.touch(0o600)
        wrong = _refused(
            context,
            "with a wrong password",
            "password authentication",
            passfile=str(empty),
            password="wrong",  # noqa: S106
        )
        none = _refused(context, "without a password", "no password supplied", passfile=str(empty))
    return f"{wrong}, {none}"


def _refused(context: Context, how: str, reason: str, **other: str) -> str:
    try:
        with connection(context, **other):
            pass
    except psycopg.OperationalError as error:
        text = " ".join(str(error).split())
        if reason not in text:
            raise CheckFailed(f"{how}: failed, but not because it was refused: {text[:200]}") from error
        return f"refused {how}"
    raise CheckFailed(f"accepted {how}")


@check(
    "index.role",
    "Role without privileges",
    "The archive's role is no superuser and may not create roles or databases, replicate or bypass row security",
    hint="ALTER ROLE ... NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS",
)
def role(context: Context) -> str:
    """Read the role's attributes, and whether it is in a role that reaches the server's files."""
    with connection(context) as index:
        row = index.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        dangerous = index.execute(
            "SELECT rolname FROM pg_roles WHERE rolname IN"
            " ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')"
            " AND pg_has_role(current_user, oid, 'member')"
        ).fetchall()
    names = ("SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS")
    found = [name for name, has in zip(names, row or (), strict=True) if has] + [str(name[0]) for name in dangerous]
    if found:
        raise CheckFailed(f"the role has {', '.join(found)}")
    return "none of the privileges"


@check("index.tables", "Tables", "The tables of Orthanc's index are there", hint=_LOGS)
def tables(context: Context) -> str:
    """Look for the tables, and read the schema's version."""
    with connection(context) as index:
        rows = index.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false))"
        ).fetchall()
        missing = sorted(set(TABLES) - {str(row[0]) for row in rows})
        if missing:
            raise CheckFailed(f"missing: {', '.join(missing)}")
        schema = index.execute("SELECT value FROM globalproperties WHERE property = 1").fetchone()
    return f"{len(rows)} tables, schema {schema[0] if schema else 'unknown'}"


@check(
    "index.row",
    "Row of the test instance",
    "The stored test instance has its row, with patient, study and series above it, and the sent identifiers",
    hint=_LOGS,
)
def row(context: Context) -> str:
    """Find the instance by its Orthanc id, walk up, and compare identifiers (0008,0018), (0020,000E), (0020,000D)."""
    instance = context.sent()[0]
    query = (
        "WITH RECURSIVE up AS (SELECT internalid, parentid, resourcetype FROM resources WHERE publicid = %s"
        " UNION ALL SELECT r.internalid, r.parentid, r.resourcetype"
        " FROM resources r JOIN up ON r.internalid = up.parentid)"
        " SELECT up.resourcetype, d.taggroup, d.tagelement, d.value"
        " FROM up JOIN dicomidentifiers d ON d.id = up.internalid"
    )
    with connection(context) as index:
        found = {(int(r[0]), int(r[1]), int(r[2])): str(r[3]) for r in index.execute(query, (instance.orthanc_id,))}
    if not found:
        raise CheckFailed("the stored instance has no row")
    wanted = {
        (3, 0x0008, 0x0018): instance.sop_instance,
        (2, 0x0020, 0x000E): instance.series,
        (1, 0x0020, 0x000D): instance.study,
        (0, 0x0010, 0x0020): context.patient.patient_id,
    }
    wrong = [key for key, text in wanted.items() if found.get(key, "").strip().upper() != text.upper()]
    if wrong:
        raise CheckFailed("the rows of " + ", ".join(f"({key[1]:04X},{key[2]:04X})" for key in wrong) + " differ")
    return "patient, study, series and instance, with the identifiers sent"


CHECKS = (tls, archive_tls, plaintext, password, role, tables, row)

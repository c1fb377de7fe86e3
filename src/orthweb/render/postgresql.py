"""PostgreSQL's configuration: TLS only, one role, one database, nothing about patients in its log."""

from __future__ import annotations

from orthweb.render.endpoints import IndexEndpoint

ROLE = "orthanc"
DATABASE = "orthanc"
SUPERUSER = "postgres"
RESERVED_CONNECTIONS = 12
"""Besides the archive's: checks, an administrator, autovacuum's own."""

LEAST_CONNECTIONS = 100
"""PostgreSQL's default: room for some more processes of the archive, so that adding one does not restart the index."""


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def postgresql_conf(index: IndexEndpoint, connections: int) -> str:
    """Give ``postgresql.conf`` (PostgreSQL 15 to 17) for an archive that keeps so many connections.

    A commit is on the disk before it is acknowledged (``synchronous_commit`` and ``fsync`` stay on): the DICOM
    acknowledgement rests on it. Statements are never logged, not even failing ones: they carry patient data.
    """
    tls = index.folder / "tls"
    settings: dict[str, object] = {
        "listen_addresses": index.listen,
        "port": index.port,
        # A list: the quotation marks keep a comma in the path from separating two.
        "unix_socket_directories": '"' + str(index.run).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
        "max_connections": max(LEAST_CONNECTIONS, connections + RESERVED_CONNECTIONS),
        "password_encryption": "scram-sha-256",
        "ssl": "on",
        "ssl_cert_file": tls / "index.pem",
        "ssl_key_file": tls / "index.key",
        "ssl_min_protocol_version": "TLSv1.3",
        "hba_file": index.folder / "pg_hba.conf",
        "ident_file": index.folder / "pg_ident.conf",
        "shared_buffers": "256MB",
        "wal_compression": "on",
        "max_wal_size": "2GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] ",
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "log_parameter_max_length": 0,
        "log_parameter_max_length_on_error": 0,
        "log_error_verbosity": "terse",
        "log_checkpoints": "off",
    }
    return "".join(f"{key} = {_quoted(value)}\n" for key, value in settings.items())


def pg_hba_conf(index: IndexEndpoint) -> str:
    """Give ``pg_hba.conf``: the archive's role over TLS with a password, the owner over the socket, nobody else."""
    lines = [
        f"local    all         {SUPERUSER}  peer map=owner",
        *(f"hostssl  {DATABASE}     {ROLE}   {network}  scram-sha-256" for network in index.clients),
        "host     all         all       all           reject",
    ]
    return "".join(f"{line}\n" for line in lines)


def pg_ident_conf(system_users: tuple[str, ...]) -> str:
    """Give ``pg_ident.conf``: which users of the machine may act as PostgreSQL's owner."""
    return "".join(f'owner  "{user}"  {SUPERUSER}\n' for user in dict.fromkeys(system_users))

"""Orthanc's configuration folder: files that Orthanc merges; the one with a secret lies apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from orthweb.capabilities.build import LARGEST_CONNECTIONS, OrthancBuild
from orthweb.errors import SiteFileError
from orthweb.render.endpoints import CHECK_MODALITY, FIRST_ARCHIVE, ArchiveProcess, Endpoints, IndexEndpoint, Role
from orthweb.render.plugin import plugin_settings
from orthweb.site import Modality, Site

EDGE_USER = "edge"
"""The one user that Orthanc knows: the edge, which has checked who is calling."""

ENVIRONMENT = {"TCP_NODELAY": "1"}
"""DCMTK leaves Nagle's algorithm on unless told so: without this ingest is a third (measured)."""

MOST_CONNECTIONS = 400
"""To the index from all processes together: each is a process of PostgreSQL with some 10 MB of its own."""


def connections(site: Site, role: Role, build: OrthancBuild) -> int:
    """Give how many connections to the index one Orthanc keeps (measured: see docs/benchmarks.md)."""
    if site.index.connections is not None:
        return site.index.connections
    if role == "reader":
        # What answers a query waits for each round trip to an index on another machine, and others can use that time.
        return build.reader_connections if site.index.host is None else LARGEST_CONNECTIONS
    return build.writer_connections


def processes(site: Site, build: OrthancBuild) -> list[tuple[str, Role]]:
    """Name every Orthanc of a site with its role, the writers first."""
    readers = site.archive.readers
    if readers is None:
        readers = build.default_readers
    role: Role = "writer" if readers else "both"
    names = [
        (FIRST_ARCHIVE if number == 1 else f"{FIRST_ARCHIVE}-{number}", role)
        for number in range(1, site.archive.writers + 1)
    ]
    return names + [("reader" if number == 1 else f"reader-{number}", "reader") for number in range(1, readers + 1)]


def connection_budget(site: Site, archives: Sequence[tuple[str, Role]], build: OrthancBuild) -> int:
    """Give how many connections to the index all processes keep together.

    Raises
    ------
    SiteFileError : more than PostgreSQL should have.
    """
    total = sum(connections(site, role, build) for _, role in archives)
    if total > MOST_CONNECTIONS:
        raise SiteFileError(
            [
                f"index.connections: {site.index.connections} for each of {len(archives)} processes are {total} "
                f"connections, and the index takes {MOST_CONNECTIONS}: lower it, or archive.writers and archive.readers"
            ]
        )
    return total


def index_uri(process: ArchiveProcess, index: IndexEndpoint) -> str:
    """Give one Orthanc's connection to the index (libpq URI): verified TLS, the password in a file of its own.

    Only ``ConnectionUri`` reaches libpq's ``sslmode=verify-full``; the plugin's ``EnableSsl`` merely requires TLS.
    """
    authority = process.index_ca if index.external else process.tls / "internal-ca.pem"
    return uri(index, authority, process.passfile, f"orthweb-{process.name}")


def uri(index: IndexEndpoint, authority: Path, passfile: Path, name: str) -> str:
    """Give a connection to the index (libpq URI).

    Parameters
    ----------
    authority, passfile : where Orthanc sees the CA of the index's certificate, and the password.
    name : what the server calls the connection.
    """
    options = ({"hostaddr": index.address} if index.address else {}) | {
        "sslmode": "verify-full",
        "sslrootcert": str(authority),
        "ssl_min_protocol_version": "TLSv1.2" if index.external else "TLSv1.3",
        "passfile": str(passfile),
        "application_name": name,
        "connect_timeout": "5",
        "tcp_user_timeout": "10000",
    }
    host = f"[{index.host}]" if ":" in index.host else index.host
    return f"postgresql://{index.user}@{host}:{index.port}/{index.database}?{urlencode(options, quote_via=quote)}"


def passfile(index: IndexEndpoint, password: str) -> str:
    """Give libpq's password file (0600) for the archive's connection to the index."""
    fields = (index.host, str(index.port), index.database, index.user, password)
    return ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields) + "\n"


def server_identifier(site: Site, process: str) -> str:
    """Tell one Orthanc from all others on its index."""
    return "-".join(name for name in (site.name, site.index.client, process) if name)


def users(password: str) -> str:
    """Give the configuration file with the edge's credential; the only one with a secret in it."""
    return _json({"RegisteredUsers": {EDGE_USER: password}})


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _modality(aet: str, host: str, port: int, tls: bool, allow: Sequence[str]) -> dict[str, Any]:
    return {
        "AET": aet,
        "Host": host,
        "Port": port,
        "UseDicomTls": tls,
        "AllowEcho": "echo" in allow,
        "AllowStore": "store" in allow,
        "AllowFind": "find" in allow,
        "AllowFindWorklist": "find" in allow,
        "AllowGet": "get" in allow,
        "AllowMove": "move" in allow,
    }


def modalities(site: Site, endpoints: Endpoints) -> dict[str, dict[str, Any]]:
    """Give Orthanc's modalities: a peer with TLS is reached through the edge, which verifies the peer's certificate."""

    def of(name: str, peer: Modality) -> dict[str, Any]:
        host, port = (endpoints.edge.host, endpoints.egress[name]) if peer.tls else (peer.host, peer.port)
        return _modality(peer.aet, host, port, peer.tls, peer.allow)

    everything = ("echo", "store", "find", "get", "move")
    check = _modality(
        endpoints.check_aet, endpoints.edge.host, endpoints.egress[CHECK_MODALITY], tls=True, allow=everything
    )
    return {CHECK_MODALITY: check} | {name: of(name, peer) for name, peer in site.modalities.items()}


def _python(process: ArchiveProcess, build: OrthancBuild) -> dict[str, Any]:
    """Name the script, and let other threads run while it calls Orthanc where that is possible."""
    allowed = {"Python": {"AllowThreads": True}} if build.python_allow_threads else {}
    return {"PythonScript": str(process.script), "PythonVerbose": False, **allowed}


def configuration(site: Site, endpoints: Endpoints, process: ArchiveProcess, build: OrthancBuild) -> str:
    """Give the main configuration file of one Orthanc, without any secret.

    What differs between Orthanc 1.10 and 1.13 is decided by `build`; keys that an older one does not know
    are harmless to it and left in.
    """
    tls = process.tls
    allowed = site.unknown_peers
    config: dict[str, Any] = {
        "Name": site.name,
        "Plugins": [str(plugin.library) for plugin in build.loaded(site.store.kind)],
        "StorageDirectory": str(endpoints.store),
        "IndexDirectory": str(process.work),
        "TemporaryDirectory": str(process.work),
        # The files of the store are plain DICOM, and on the disk before a sender is told so.
        "StorageCompression": False,
        "SyncStorageArea": True,
        "StoreMD5ForAttachments": True,
        "OverwriteInstances": site.archive.overwrite,
        "StableAge": site.archive.stable_age,
        # HTTP: for the edge alone.
        "HttpServerEnabled": True,
        "HttpPort": process.http,
        "HttpBindAddresses": ["127.0.0.1" if endpoints.one_host else "0.0.0.0"],  # noqa: S104
        "HttpDescribeErrors": True,
        "HttpCompressionEnabled": False,
        "HttpThreadsCount": site.archive.http_threads,
        "HttpRequestTimeout": 300,
        "KeepAlive": True,
        "KeepAliveTimeout": 60,
        "TcpNoDelay": True,
        "RemoteAccessAllowed": not endpoints.one_host,
        "AuthenticationEnabled": True,
        "SslEnabled": False,
        "ExecuteLuaEnabled": False,
        "RestApiWriteToFileSystemEnabled": False,
        "WebDavEnabled": False,
        "OrthancExplorerEnabled": True,
        # DICOM: mutual TLS, for the edge alone.
        "DicomServerEnabled": process.dicom is not None,
        "DicomAet": site.dicom.aet,
        "DicomCheckCalledAet": False,
        "DicomPort": process.dicom or 4242,
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(tls / "archive.pem"),
        "DicomTlsPrivateKey": str(tls / "archive.key"),
        "DicomTlsTrustedCertificates": str(tls / "internal-ca.pem"),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomThreadsCount": site.archive.dicom_threads,
        "MaximumPduLength": 131072,
        "UnknownSopClassAccepted": True,
        "DicomScpTimeout": 60,
        "DicomScuTimeout": 30,
        "DicomCheckModalityHost": False,
        "DicomAlwaysAllowEcho": allowed != "none",
        "DicomAlwaysAllowStore": allowed != "none",
        "DicomAlwaysAllowFind": allowed == "all",
        "DicomAlwaysAllowFindWorklist": False,
        "DicomAlwaysAllowGet": allowed == "all",
        "DicomAlwaysAllowMove": allowed == "all",
        "DicomModalitiesInDatabase": False,
        "DicomModalities": modalities(site, endpoints),
        "OrthancPeersInDatabase": False,
        "SaveJobs": True,
        "JobsHistorySize": 100,
        "MetricsEnabled": True,
        # Whose jobs are whose in the index: the same for ever, and no other process's.
        "DatabaseServerIdentifier": server_identifier(site, process.name),
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": site.store.kind == "database",
            "ConnectionUri": index_uri(process, endpoints.index),
            # Other machines may share an index that is not this site's own.
            "Lock": len(endpoints.archives) == 1 and not endpoints.index.external,
            "IndexConnectionsCount": connections(site, process.role, build),
            **({"TransactionMode": build.transaction_mode} if build.transaction_mode else {}),
            # Together ten seconds: longer than PostgreSQL's restart, shorter than a sender's patience.
            "MaximumConnectionRetries": 10,
            "ConnectionRetryInterval": 1,
        },
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "EnableWado": True,
            "WadoRoot": "/wado",
            # No Host: links lead back to the address that was called, which the edge tells in Forwarded.
            "Ssl": True,
            "StudiesMetadata": "Full",
            "SeriesMetadata": "Full",
        },
        "Orthweb": plugin_settings(site, endpoints, process, build),
        **_python(process, build),
        "Gdcm": {"Enable": True, "Throttling": 4},
    }
    if not process.writes and build.read_only_mode:
        config["ReadOnly"] = True
    return _json(config)

"""The files that a site's services read, from the site file, the PKI and the secrets."""

from __future__ import annotations

import configparser
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from cryptography import x509

from orthweb.access import CertificatePair
from orthweb.capabilities.build import OrthancBuild
from orthweb.errors import SiteFileError, UsageError
from orthweb.pki import Pki
from orthweb.render import envoy, envoy_replicas, envoy_tls, orthanc, postgresql
from orthweb.render.endpoints import ArchiveProcess, Endpoints, IndexEndpoint
from orthweb.secrets import ADMIN_USER, Secrets, basic, htpasswd
from orthweb.site import S3, Site
from orthweb.state import StateFolder
from orthweb.targets.host.deployment import Bundle, Effect, File

OLD_KEEP_ALIVE = 0.4
"""Seconds: Orthanc before 1.11.3 closes an idle connection after half a second and cannot be told otherwise."""

S3_KEYS = ("aws_access_key_id", "aws_secret_access_key")


def archive_scripts() -> Path:
    """Find the folder of what runs inside Orthanc: in an installed package, or beside the sources.

    Raises
    ------
    UsageError : it is not there.
    """
    package = Path(__file__).parents[2]
    for folder in (package / "plugin", package.parents[1] / "plugin"):
        if (folder / "archive.py").is_file():
            return folder
    raise UsageError(f"{package / 'plugin'}: is missing", "install orthweb again")


def archive_folders(site: Site, folder: Path) -> list[Path]:
    """Name the folders of one Orthanc's files, outer ones first."""
    scripts = archive_scripts()
    inside = [path.relative_to(scripts) for path in sorted(scripts.rglob("*.py"))]
    names = {Path("configuration"), Path("tls"), *(Path("plugin") / path.parent for path in inside)}
    names |= {Path("s3")} if site.store.kind == "s3" else set()
    return [folder, *(folder / name for name in sorted(names))]


def s3_files(s3: S3) -> dict[str, bytes]:
    """Read the files that a site file names for the bucket: the CA and the credentials.

    Raises
    ------
    SiteFileError : one cannot be read, is not what it should be, or lets others read a secret.
    """
    found, problems = {}, []
    for key, name, path in (("s3.ca", "ca.pem", s3.ca), ("s3.credentials", "credentials", s3.credentials)):
        if path is None:
            continue
        try:
            found[name] = path.read_bytes()
            if name == "ca.pem" and not x509.load_pem_x509_certificates(found[name]):
                problems.append(f"{key}: {path}: should be a certificate (PEM)")
            if name == "credentials":
                problems += [f"{key}: {path}: {problem}" for problem in _credentials_problems(path, found[name])]
        except OSError as error:
            problems.append(f"{key}: {path}: {error.strerror}")
        except ValueError:
            problems.append(f"{key}: {path}: should be a certificate (PEM)")
    if problems:
        raise SiteFileError(problems)
    return found


def forget_credentials(site: Site, folder: Path) -> None:
    """Delete what an Orthanc was given for a bucket and a site, which answers, does not use any more.

    Parameters
    ----------
    folder : that of the Orthanc.
    """
    if site.store.kind != "s3":
        shutil.rmtree(folder / "s3", ignore_errors=True)
    elif site.s3.credentials is None:
        (folder / "s3" / "credentials").unlink(missing_ok=True)


def _credentials_problems(path: Path, content: bytes) -> Iterator[str]:
    """Say what is wrong with an AWS credentials file, never what stands in it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield f"mode {mode:04o} lets other users read it: chmod 600 {path}"
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(content.decode())
        missing = [key for key in S3_KEYS if not parser.get("default", key, fallback="")]
    except (configparser.Error, UnicodeDecodeError):
        missing = list(S3_KEYS)
    if missing:
        yield f"should have the profile [default] with {' and '.join(S3_KEYS)}"


def _pair(name: str, pair: CertificatePair) -> dict[str, bytes]:
    return {f"{name}.pem": pair.certificate.read_bytes(), f"{name}.key": pair.key.read_bytes()}


def modality_authorities(site: Site) -> dict[str, bytes]:
    """Read the CAs that modalities' certificates are verified with, by modality.

    Raises
    ------
    SiteFileError : a file cannot be read or holds no certificate.
    """
    found, problems = {}, []
    for name, peer in site.modalities.items():
        if peer.ca is None:
            continue
        try:
            found[name] = peer.ca.read_bytes()
            if not x509.load_pem_x509_certificates(found[name]):
                problems.append(f"modalities.{name}.ca: {peer.ca}: should be a certificate (PEM)")
        except OSError as error:
            problems.append(f"modalities.{name}.ca: {peer.ca}: {error.strerror}")
        except ValueError:
            problems.append(f"modalities.{name}.ca: {peer.ca}: should be a certificate (PEM)")
    if problems:
        raise SiteFileError(problems)
    return found


def edge_tls(site: Site, pki: Pki, state: StateFolder) -> Bundle:
    """Give the edge's certificates, keys and trusted CAs, which change together and without a restart."""
    files = {
        f"{envoy_tls.SITE_CA}.pem": pki.site_ca.certificate.read_bytes(),
        f"{envoy_tls.INTERNAL_CA}.pem": pki.internal_ca.certificate.read_bytes(),
    }
    for number, pair in enumerate(pki.edge):
        files |= _pair(envoy_tls.edge_secret(number), pair)
    files |= _pair(envoy_tls.EDGE_INTERNAL, pki.edge_internal)
    files |= _pair(envoy_tls.EGRESS, pki.check)
    for name, authority in modality_authorities(site).items():
        files[f"{envoy_tls.modality_ca(name)}.pem"] = authority
    return Bundle(state.edge / "tls", files, "edge")


def _sds(pki: Pki, state: StateFolder, endpoints: Endpoints, secrets: Secrets) -> list[File]:
    tls = endpoints.edge.folder / "tls"
    found = {
        envoy_tls.edge_secret(number): envoy_tls.certificate_secret(tls, envoy_tls.edge_secret(number))
        for number in range(len(pki.edge))
    }
    for name in (envoy_tls.EDGE_INTERNAL, envoy_tls.EGRESS):
        found[name] = envoy_tls.certificate_secret(tls, name)
    for name in (envoy_tls.SITE_CA, envoy_tls.INTERNAL_CA):
        found[name] = envoy_tls.trust_secret(tls, name)
    login = basic(orthanc.EDGE_USER, secrets.archive_password)
    found[envoy_tls.ARCHIVE_CREDENTIAL] = envoy_tls.credential_secret(login)
    return [
        File(state.edge / "sds" / f"{name}.json", envoy_tls.sds_file(name, secret).encode(), "edge", "none")
        for name, secret in found.items()
    ]


def files(
    site: Site,
    state: StateFolder,
    endpoints: Endpoints,
    pki: Pki,
    secrets: Secrets,
    build: OrthancBuild,
    owners: tuple[str, ...],
) -> list[File | Bundle]:
    """Give every file that the services read, each with what a change of it asks for.

    Parameters
    ----------
    state : where the files are written; `endpoints` tells where their services see them.
    owners : users of the machine that may act as PostgreSQL's owner.
    """
    index, edge = state.index, state.edge
    keep_alive = 20.0 if build.keep_alive_timeout else OLD_KEEP_ALIVE
    bootstrap = envoy.bootstrap(site, endpoints, certificates=len(pki.edge), keep_alive=keep_alive)
    archives = [(process.name, process.role) for process in endpoints.archives]
    connections = orthanc.connection_budget(site, archives, build)
    if site.store.kind == "database":
        connections += len(endpoints.archives)
    return [
        *_index(index, endpoints.index, connections, pki, owners),
        *(
            file
            for process in endpoints.archives
            for file in _archive(site, state.service(process.name), endpoints, process, pki, secrets, build)
        ),
        edge_tls(site, pki, state),
        *_sds(pki, state, endpoints, secrets),
        File(edge / "htpasswd", htpasswd(ADMIN_USER, secrets.admin_password).encode(), "edge", "restart"),
        *replicas(state, endpoints),
        File(edge / "envoy.json", bootstrap.encode(), "edge", "restart"),
    ]


def _index(folder: Path, endpoint: IndexEndpoint, connections: int, pki: Pki, owners: tuple[str, ...]) -> list[File]:
    """Give PostgreSQL's files; none for an index that is somebody else's."""
    if endpoint.external:
        return []
    conf = postgresql.postgresql_conf(endpoint, connections)
    return [
        File(folder / "postgresql.conf", conf.encode(), "index", "restart"),
        File(folder / "pg_hba.conf", postgresql.pg_hba_conf(endpoint).encode(), "index", "reload"),
        File(folder / "pg_ident.conf", postgresql.pg_ident_conf(owners).encode(), "index", "reload"),
        File(folder / "tls" / "index.pem", pki.index.certificate.read_bytes(), "index", "reload"),
        File(folder / "tls" / "index.key", pki.index.key.read_bytes(), "index", "reload"),
    ]


def replicas(state: StateFolder, endpoints: Endpoints, draining: Collection[str] = ()) -> list[File]:
    """Give the files that tell the edge which processes the archive has; it takes a change up at once.

    Parameters
    ----------
    draining : names of processes that get nothing new.
    """
    files = envoy_replicas.eds_files(endpoints, draining)
    return [File(state.edge / "eds" / name, text.encode(), "edge", "none") for name, text in files.items()]


def _archive(
    site: Site,
    folder: Path,
    endpoints: Endpoints,
    process: ArchiveProcess,
    pki: Pki,
    secrets: Secrets,
    build: OrthancBuild,
) -> Iterator[File]:
    """Give the files of one Orthanc."""

    def one(path: str, content: str | bytes, effect: Effect = "restart", *, private: bool = False) -> File:
        data = content.encode() if isinstance(content, str) else content
        return File(folder / path, data, process.name, effect, private)

    yield one("configuration/orthanc.json", orthanc.configuration(site, endpoints, process, build))
    yield one("configuration/users.json", orthanc.users(secrets.archive_password))
    passfile = orthanc.passfile(endpoints.index, secrets.index_password)
    # libpq reads both at every new connection: a password that was changed at somebody else's server needs no restart.
    yield one("index-passfile", passfile, "none" if endpoints.index.external else "restart", private=True)
    if endpoints.index.external:
        assert site.index.ca is not None, "the site's model asks for it"
        yield one("tls/index-ca.pem", site.index.ca.read_bytes(), "none")
    scripts = archive_scripts()
    for path in sorted(scripts.rglob("*.py")):
        yield one(f"plugin/{path.relative_to(scripts)}", path.read_bytes())
    if site.store.kind == "s3":
        for name, content in s3_files(site.s3).items():
            # The plugin itself notices new credentials.
            yield one(f"s3/{name}", content, "none" if name == "credentials" else "restart")
    # Orthanc reads these at its start alone: a restart waits until no association is open.
    yield one("tls/archive.pem", pki.archive.certificate.read_bytes(), "idle")
    yield one("tls/archive.key", pki.archive.key.read_bytes(), "idle")
    yield one("tls/internal-ca.pem", pki.internal_ca.certificate.read_bytes(), "idle")

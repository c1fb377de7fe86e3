"""All files of a local site, from the site file, the PKI and the secrets."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from orthweb.access import CertificatePair
from orthweb.errors import SiteFileError
from orthweb.pki import Pki
from orthweb.render import envoy, envoy_tls, orthanc, postgresql, supervisor
from orthweb.render.endpoints import LocalEndpoints
from orthweb.render.supervisor import Service
from orthweb.secrets import ADMIN_USER, Secrets, basic, htpasswd
from orthweb.site import Site
from orthweb.targets.local.accounts import Accounts, caller
from orthweb.targets.local.deployment import Bundle, File
from orthweb.targets.local.programs import Programs, archive_scripts

OLD_KEEP_ALIVE = 0.4
"""Seconds: Orthanc before 1.11 closes an idle connection after half a second and cannot be told otherwise."""


def services(
    site: Site, endpoints: LocalEndpoints, programs: Programs, accounts: Accounts, envoy_binary: Path, workers: int = 2
) -> list[Service]:
    """Give the three services of a local site; `workers` is the number of Envoy's threads."""
    state = endpoints.state
    low = min(site.edge.https_port, site.edge.dicom_port) < 1024
    return [
        Service(
            name="index",
            command=[
                str(programs.postgresql / "postgres"),
                *("-D", str(endpoints.index_data)),
                *("-c", f"config_file={state.index / 'postgresql.conf'}"),
            ],
            account=accounts.index,
            stop_signal="INT",
            death_signal="INT",
            order=10,
        ),
        Service(
            name="archive",
            command=[str(programs.orthanc.program), str(state.archive / "configuration")],
            account=accounts.archive,
            stop_signal="TERM",
            death_signal="TERM",
            order=20,
            # It ends in about four, but forgets a signal that comes while it starts, and does not end while somebody
            # keeps an association open. A kill loses nothing: what was acknowledged is on the disk.
            stop_seconds=10,
            environment=orthanc.ENVIRONMENT,
            low_ports=endpoints.ports.archive_http < 1024,
        ),
        Service(
            name="edge",
            command=[
                str(envoy_binary),
                *("-c", str(state.edge / "envoy.json")),
                *("--disable-hot-restart", "--concurrency", str(workers), "--log-level", "warning"),
                # Envoy would hold its access log back for ten seconds: too long to watch it, and lost in a crash.
                *("--file-flush-interval-msec", "1000"),
            ],
            account=accounts.edge,
            stop_signal="TERM",
            death_signal="TERM",
            order=30,
            # It ends at once, unless the signal comes in the first moments after its start: that one it forgets.
            stop_seconds=3,
            low_ports=low,
            stdout_log="edge-access",
        ),
    ]


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


def edge_tls(site: Site, pki: Pki, endpoints: LocalEndpoints) -> Bundle:
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
    return Bundle(endpoints.state.edge / "tls", files, "edge")


def _sds(pki: Pki, endpoints: LocalEndpoints, secrets: Secrets) -> list[File]:
    tls = endpoints.state.edge / "tls"
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
        File(endpoints.state.edge / "sds" / f"{name}.json", envoy_tls.sds_file(name, secret).encode(), "edge", "none")
        for name, secret in found.items()
    ]


def files(
    site: Site,
    endpoints: LocalEndpoints,
    pki: Pki,
    secrets: Secrets,
    programs: Programs,
    accounts: Accounts,
) -> list[File | Bundle]:
    """Give every file that the services read, each with what a change of it asks for."""
    state = endpoints.state
    archive, index, edge = state.archive, state.index, state.edge
    owners = (caller(), accounts.index.user if accounts.index else "root")
    keep_alive = 20.0 if programs.orthanc.version >= (1, 11) else OLD_KEEP_ALIVE
    bootstrap = envoy.bootstrap(site, endpoints, certificates=len(pki.edge), keep_alive=keep_alive)
    configuration = orthanc.configuration(site, endpoints, programs.orthanc)
    internal_ca = pki.internal_ca.certificate.read_bytes()
    return [
        File(index / "postgresql.conf", postgresql.postgresql_conf(site, endpoints).encode(), "index", "restart"),
        File(index / "pg_hba.conf", postgresql.pg_hba_conf().encode(), "index", "reload"),
        File(index / "pg_ident.conf", postgresql.pg_ident_conf(owners).encode(), "index", "reload"),
        File(index / "tls" / "index.pem", pki.index.certificate.read_bytes(), "index", "reload"),
        File(index / "tls" / "index.key", pki.index.key.read_bytes(), "index", "reload"),
        File(archive / "configuration" / "orthanc.json", configuration.encode(), "archive", "restart"),
        File(
            archive / "configuration" / "users.json",
            orthanc.users(secrets.archive_password).encode(),
            "archive",
            "restart",
        ),
        File(
            archive / "index-passfile",
            orthanc.passfile(endpoints, secrets.index_password).encode(),
            "archive",
            "restart",
            private=True,
        ),
        *(
            File(endpoints.archive_script.with_name(path.name), path.read_bytes(), "archive", "restart")
            for path in sorted(archive_scripts().glob("*.py"))
        ),
        # Orthanc reads these at its start alone: a restart waits until no association is open.
        File(archive / "tls" / "archive.pem", pki.archive.certificate.read_bytes(), "archive", "idle"),
        File(archive / "tls" / "archive.key", pki.archive.key.read_bytes(), "archive", "idle"),
        File(archive / "tls" / "internal-ca.pem", internal_ca, "archive", "idle"),
        edge_tls(site, pki, endpoints),
        *_sds(pki, endpoints, secrets),
        File(edge / "htpasswd", htpasswd(ADMIN_USER, secrets.admin_password).encode(), "edge", "restart"),
        File(edge / "envoy.json", bootstrap.encode(), "edge", "restart"),
    ]


def supervisor_file(endpoints: LocalEndpoints, found: list[Service], programs: Programs, *, root: bool) -> File:
    """Give supervisord's configuration."""
    text = supervisor.configuration(found, endpoints, programs.setpriv, root=root)
    return File(endpoints.state.root / "supervisord.conf", text.encode(), "supervisor", "restart")

"""How a site on AWS is reached from a person's machine: what the hosts made is fetched from Secrets Manager."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from orthweb import secrets
from orthweb.access import Credentials, SiteAccess
from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.contradictions_aws import DICOM_PORT, HTTPS_PORT
from orthweb.errors import NotRunningError, OrthwebError
from orthweb.files import write_whole
from orthweb.pki import own
from orthweb.targets.aws.place import Place
from orthweb.verification import client_context

SHARED = ("site-ca.pem", "check.pem", "check.key")
"""What a person's machine needs of the hosts' PKI: what to trust, and the pair of the checks. Never a CA's key."""


_ERRNO: Final = re.compile(r"^\[Errno -?\d+\] ")


def _secret(session: Session, name: str) -> dict[str, str]:
    try:
        with told(f"secret {name}"):
            text = session.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
    except AwsError as error:
        if error.code == "ResourceNotFound":  # there, and without a value
            raise NotRunningError(
                f"secret {name}: is empty: no host of the site has started yet", "orthweb up, or orthweb status"
            ) from error
        raise
    try:
        found = json.loads(text)
        return {str(key): str(value) for key, value in found.items()}
    except (ValueError, AttributeError):
        raise OrthwebError(f"secret {name}: should be a JSON object", "orthweb logs host") from None


def _prefix(place: Place) -> str:
    """Give what the names of the site's secrets begin with: it is called as it was made, whatever its file says now."""
    return f"orthweb/{place.memory().name or place.site.name}"


def fetch(session: Session, place: Place) -> None:
    """Bring password, certificates and the checks' AE title into the state folder; to be called with the lock held.

    Raises
    ------
    NotRunningError : no host has made them yet.
    AwsError, OrthwebError : they cannot be read.
    """
    prefix = _prefix(place)
    admin, tls, shared = (_secret(session, f"{prefix}/{which}") for which in ("admin", "tls", "site"))
    wanted = {
        **{place.state.pki / name: tls.get(name, "") for name in SHARED},
        place.state.secrets / secrets.file_name("admin_password"): admin.get("password", ""),
        place.state.secrets / secrets.file_name("check_aet"): shared.get("check_aet", ""),
    }
    missing = [path.name for path, text in wanted.items() if not text]
    if missing:
        raise NotRunningError(f"the site's secrets lack {', '.join(missing)}", "orthweb logs host")
    for path, text in wanted.items():
        write_whole(path, f"{text.rstrip()}\n".encode())
    if place.site.tls.certificate is not None:
        found = own.load(place.site, place.base, datetime.now(UTC))
        write_whole(place.pki.trusted_by_clients, found.root.public_bytes(Encoding.PEM))


@contextlib.contextmanager
def issuing(session: Session, place: Place) -> Iterator[None]:
    """Have the site's CA at hand for a block; its key stays in memory. To be called with the lock held.

    Raises
    ------
    NotRunningError : no host has made it yet.
    """
    found = _secret(session, f"{_prefix(place)}/tls")
    files = place.pki.site_ca
    if not found.get("site-ca.pem") or not found.get("site-ca.key"):
        raise NotRunningError("the site has no CA yet", "orthweb up")
    write_whole(files.certificate, found["site-ca.pem"].encode())
    descriptor = os.memfd_create("orthweb")
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, found["site-ca.key"].encode())
        # A name that leads into this process: when it is gone, so is the key.
        files.key.unlink(missing_ok=True)
        files.key.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
        yield
    finally:
        files.key.unlink(missing_ok=True)
        os.close(descriptor)


def access(place: Place) -> SiteAccess:
    """Give endpoints, trust and credentials of a site that was brought up from this machine.

    Raises
    ------
    NotRunningError : there is none, or nothing was fetched yet.
    """
    host = place.memory().output("public_name")
    if not host:
        raise NotRunningError("there is no site here yet", "orthweb up")
    values = {}
    for field in ("admin_password", "check_aet"):
        path = place.state.secrets / secrets.file_name(field)
        try:
            values[field] = path.read_text().strip()
        except OSError:
            raise NotRunningError("the site has not been ready yet", "orthweb up, or orthweb status") from None
    return SiteAccess(
        name=place.site.name,
        host=host,
        https_port=HTTPS_PORT,
        dicom_port=DICOM_PORT,
        aet=place.site.dicom.aet,
        ca=place.pki.trusted_by_clients,
        credentials=Credentials(secrets.ADMIN_USER, values["admin_password"]),
        client_certificates=place.site.tls.client_certificates,
        tls_profile=place.site.tls.profile,
        client=place.pki.check,
        # The archive is in AWS's network and cannot open a connection to this machine.
        move_destination=None,
        check_aet=values["check_aet"],
    )


def ready(found: SiteAccess, timeout: float = 5.0) -> str | None:
    """Ask the site once, over verified HTTPS and DICOM TLS; None when it answers, else what is wrong."""
    from orthweb.dicom.echo import echo
    from orthweb.dicom.peer import Peer, Timeouts

    login = httpx.BasicAuth(found.credentials.user, found.credentials.password)
    try:
        answer = httpx.get(
            f"{found.url}/statistics",
            verify=client_context(found.ca),
            auth=login,
            timeout=timeout,
            trust_env=False,
        )
        if answer.status_code == 401:
            return (
                "the archive does not take the password that is kept here: orthweb credentials fetches the present one"
            )
        if answer.status_code != 200:
            return f"the archive's statistics answer {answer.status_code}"
    except (httpx.HTTPError, OSError) as error:
        # What a library says of the system's errors begins with their number.
        return f"HTTPS at {found.host}: {_ERRNO.sub('', str(error)) or type(error).__name__}"
    try:
        echo(Peer.of_site(found, found.check_aet or "ORTHWEB", Timeouts(timeout, timeout, timeout)))
    except OrthwebError as error:
        return str(error)
    return None


def check_reach(found: SiteAccess, dns_target: str = "", timeout: float = 10.0) -> None:
    """Connect to the site's ports.

    Parameters
    ----------
    dns_target : where the site's name should lead.
    timeout : seconds, for each port.

    Raises
    ------
    NotRunningError : neither can be reached; has what to look at.
    """
    reasons = []
    for port in (found.https_port, found.dicom_port):
        try:
            socket.create_connection((found.host, port), timeout).close()
        except socket.gaierror as error:
            where = f" to {dns_target}" if dns_target else ""
            raise NotRunningError(
                f"{found.host}: this machine does not find the site's name in DNS",
                f"let the name point{where} in DNS, and try again when that has spread",
            ) from error
        except OSError as error:
            reasons.append(f"{found.host}:{port}: {error.strerror or error}")
        else:
            return
    raise NotRunningError(
        f"the site cannot be reached from here: {'; '.join(reasons)}",
        "`orthweb status` shows whether its hosts run; is this machine in aws.https_from and aws.dicom_from, and does "
        "its own network let it out?",
    )


def statistics(found: SiteAccess, timeout: float = 5.0) -> dict[str, int]:
    """Ask how many studies and instances there are; nothing when the site does not answer."""
    login = httpx.BasicAuth(found.credentials.user, found.credentials.password)
    try:
        answer = httpx.get(
            f"{found.url}/statistics", verify=client_context(found.ca), auth=login, timeout=timeout, trust_env=False
        ).raise_for_status()
        said = answer.json()
        return {"studies": int(said["CountStudies"]), "instances": int(said["CountInstances"])}
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
        return {}

"""When a site answers: a C-ECHO and the archive's statistics, both through the edge, both from *our* archive."""

from __future__ import annotations

from dataclasses import replace

import httpx

from orthweb.access import SiteAccess
from orthweb.errors import OrthwebError
from orthweb.pki import Pki
from orthweb.render.endpoints import CHECK_MODALITY, ArchiveProcess
from orthweb.render.orthanc import EDGE_USER
from orthweb.secrets import Secrets
from orthweb.verification import client_context


def ready(access: SiteAccess, timeout: float = 3.0) -> str | None:
    """Ask once; None when the site answers, else what is wrong.

    Orthanc's ``/system`` answers while the index is away and so does a stranger's Orthanc on our port. The statistics
    come from the index; the AE title of our validation suite is known to our archive alone.
    """
    from orthweb.dicom.echo import echo
    from orthweb.dicom.peer import Peer, Timeouts

    known = access.move_destination.aet if access.move_destination else None
    try:
        with own_edge(access, timeout) as client:
            problem = _ours(client, known)
            if problem is not None:
                return problem
    except (httpx.HTTPError, ValueError) as error:
        return f"HTTPS on port {access.https_port}: {str(error) or type(error).__name__}"
    try:
        peer = Peer.of_site(access, known or "ORTHWEB", Timeouts(timeout, timeout, timeout))
        if access.local is not None and peer.tls is not None:
            peer = replace(peer, host=access.local, tls=replace(peer.tls, server_name=access.host))
        echo(peer)
    except OrthwebError as error:
        return str(error)
    return None


def own_edge(access: SiteAccess, timeout: float) -> httpx.Client:
    """Give a client of this machine's own edge, whose certificate has to be for the site's name.

    Parameters
    ----------
    timeout : seconds for each step of a request.
    """

    def name(request: httpx.Request) -> None:
        if access.local is not None:
            request.extensions = {**request.extensions, "sni_hostname": access.host}
            request.headers["Host"] = f"{access.host}:{access.https_port}"

    return httpx.Client(
        base_url=replace(access, host=access.local or access.host).url,
        verify=client_context(access.ca),
        auth=httpx.BasicAuth(access.credentials.user, access.credentials.password),
        timeout=timeout,
        trust_env=False,
        event_hooks={"request": [name]},
    )


def process_ready(process: ArchiveProcess, aet: str, secrets: Secrets, pki: Pki, timeout: float = 3.0) -> str | None:
    """Ask one Orthanc itself, as the edge does; None when it answers, else what is wrong.

    Parameters
    ----------
    aet : AE title of the archive.
    pki : masters of the certificates: the edge's own is shown.
    """
    from orthweb.dicom.echo import echo
    from orthweb.dicom.peer import Peer, Timeouts, TlsOptions

    login = httpx.BasicAuth(EDGE_USER, secrets.archive_password)
    url = f"http://{process.host}:{process.http}"
    try:
        with httpx.Client(base_url=url, auth=login, timeout=timeout, trust_env=False) as client:
            problem = _ours(client, secrets.check_aet)
    except (httpx.HTTPError, ValueError) as error:
        return f"HTTP: {str(error) or type(error).__name__}"
    if problem is not None or process.dicom is None:
        return problem
    tls = TlsOptions(pki.internal_ca.certificate, pki.edge_internal, "archive")
    waits = Timeouts(timeout, timeout, timeout)
    try:
        echo(Peer(aet, process.host, process.dicom, tls, secrets.check_aet, waits))
    except OrthwebError as error:
        return str(error)
    return None


def _ours(client: httpx.Client, known: str | None) -> str | None:
    """Ask for what only our archive knows, with its index behind it."""
    statistics = client.get("/statistics")
    if statistics.status_code != 200:
        return f"the archive's statistics answer {statistics.status_code}"
    check = client.get(f"/modalities/{CHECK_MODALITY}/configuration")
    if check.status_code != 200 or check.json().get("AET") != known:
        return "another archive answers on this site's internal port"
    return None

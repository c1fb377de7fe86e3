"""The options with which the ``orthweb dicom`` commands choose their peer: the site, or any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orthweb.cli import console
from orthweb.errors import UsageError

if TYPE_CHECKING:
    from orthweb.access import CertificatePair, SiteAccess
    from orthweb.dicom.peer import Peer

PeerOption = Annotated[
    str | None,
    typer.Option("--peer", metavar="AET@HOST:PORT", help="Call this peer instead of the site.", show_default=False),
]
NoTls = Annotated[bool, typer.Option("--no-tls", help="Speak plain DICOM; only with --peer.")]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", help="CA to trust (PEM). Default: the site's; with --peer the system's.", show_default=False),
]
Cert = Annotated[Path | None, typer.Option("--cert", help="Client certificate (PEM), with --key.", show_default=False)]
Key = Annotated[Path | None, typer.Option("--key", help="Its private key (PEM, no passphrase).", show_default=False)]
Aet = Annotated[str, typer.Option("--aet", help="AE title to call oneself.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for an answer to one DICOM message.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]

CALLING_AET = "ORTHWEB"
TIMEOUT = 120.0


def site_access() -> SiteAccess:
    """Give the running site's endpoints and trust.

    Raises
    ------
    UsageError, NotRunningError
        There is no site here, or it is down.
    """
    from orthweb.targets import open_site

    return open_site(console.settings.site_file).access()


def choose(
    peer: str | None, no_tls: bool, ca: Path | None, cert: Path | None, key: Path | None, aet: str, timeout: float
) -> Peer:
    """Turn the options into a peer; connects nowhere.

    Raises
    ------
    UsageError
        The options contradict each other.
    """
    from dataclasses import replace

    from orthweb.dicom.peer import Peer, Timeouts, TlsOptions, parse_address

    pair = certificate_pair(cert, key)
    timeouts = Timeouts(response=timeout)
    if peer is None:
        if no_tls:
            raise UsageError(
                "--no-tls: a site never offers plain DICOM", "leave it out, or name another peer with --peer"
            )
        chosen = Peer.of_site(site_access(), aet, timeouts)
        assert chosen.tls is not None
        return replace(
            chosen, tls=replace(chosen.tls, ca=ca or chosen.tls.ca, certificate=pair or chosen.tls.certificate)
        )
    if no_tls and (ca or pair):
        raise UsageError("--no-tls: contradicts --ca, --cert and --key", "leave one side out")
    title, host, port = parse_address(peer)
    return Peer(title, host, port, None if no_tls else TlsOptions(ca, pair), aet, timeouts)


def certificate_pair(cert: Path | None, key: Path | None) -> CertificatePair | None:
    """Take --cert and --key together, or neither."""
    from orthweb.access import CertificatePair

    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("--cert and --key go together", "give both, or neither")
    return CertificatePair(cert, key)

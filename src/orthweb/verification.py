"""How our own clients verify a server: its chain, its name, TLS 1.2 or later."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca: Path | None = None) -> ssl.SSLContext:
    """Give a client's TLS context.

    Parameters
    ----------
    ca : PEM file of the CA to trust, alone; None trusts the system's CAs.

    Raises
    ------
    OSError : the file cannot be read or has no certificate in it (`ssl.SSLError` is one too).
    """
    context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 began to refuse CAs that lack an extension of RFC 5280, as many hospitals' own ones do. What is
    # verified stays the same: signatures up to the CA that we were told to trust, validity and name.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context

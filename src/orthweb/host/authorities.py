"""Which CAs may have signed the database's certificate: RDS has roots of its own, one set for each region.

They ship with orthweb (``rds-roots.pem``), so that a host needs nobody's word for them. A region that opened later
is asked for at AWS's own address, over HTTPS that the machine's ordinary CAs vouch for.
Source: Amazon RDS User Guide, "Using SSL/TLS to encrypt a connection to a DB instance or cluster".
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from orthweb.errors import OrthwebError

SHIPPED = Path(__file__).with_name("rds-roots.pem")

ADDRESS = "https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem"


def _roots(pem: bytes) -> list[x509.Certificate]:
    return [each for each in x509.load_pem_x509_certificates(pem) if each.subject == each.issuer]


def _name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


@cache
def shipped(region: str) -> bytes:
    """Give the roots of a region (PEM); nothing for one that is not known here."""
    wanted = f"Amazon RDS {region} Root CA "
    found = [each for each in _roots(SHIPPED.read_bytes()) if _name(each).startswith(wanted)]
    return b"".join(each.public_bytes(Encoding.PEM) for each in found)


def roots(region: str, address: str = ADDRESS, timeout: float = 10.0) -> bytes:
    """Give the roots of a region (PEM): the shipped ones, or else AWS's own answer.

    Raises
    ------
    OrthwebError : there are none here, and AWS's address does not give them.
    """
    known = shipped(region)
    if known:
        return known
    url = address.format(region=region)
    try:
        answer = httpx.get(url, timeout=timeout, follow_redirects=False).raise_for_status()
        found = _roots(answer.content)
    except (httpx.HTTPError, ValueError) as error:
        raise OrthwebError(
            f"the CAs of RDS in {region} are not known here, and {url} does not give them: {error}",
            "let hosts reach that address (HTTPS), or use a later version of orthweb",
        ) from error
    return b"".join(each.public_bytes(Encoding.PEM) for each in found)

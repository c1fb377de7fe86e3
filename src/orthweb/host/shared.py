"""What the hosts of a site, and the person who operates it, share: passwords, the site's CA, what it signed."""

from __future__ import annotations

import secrets
import string
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orthweb import secrets as generated
from orthweb.errors import OrthwebError
from orthweb.host import rotation, vault
from orthweb.host.vault import Vault, Version
from orthweb.pki import pair
from orthweb.render.postgresql import ROLE

ENDINGS: Final = (".pem", ".key")
SHARED: Final = ("site-ca", "edge-ecdsa", "edge-rsa", "check")
"""What of the PKI is the same everywhere; the internal CA and what it signed is each host's own and stays there."""


def fill(store: Vault) -> None:
    """Fill what is empty, but for the certificates, which `up` makes; to be called with the site's lock held."""
    store.fill(vault.ADMIN, {"username": generated.ADMIN_USER, "password": _password(24)})
    store.fill(vault.INDEX, {"username": ROLE, "password": rotation.new_password()})
    store.fill(vault.SITE, {"identity": uuid.uuid4().hex, "check_aet": "OW" + _word(14)})


def _password(length: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def _word(length: int) -> str:
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(length))


def write_passwords(folder: Path, admin: Version, site: Version) -> bool:
    """Put the shared secrets where `up` finds them; tell whether one differed.

    Raises
    ------
    OrthwebError : a secret lacks one of its values, or the administrator has another name.
    """
    if admin.values.get("username", generated.ADMIN_USER) != generated.ADMIN_USER:
        raise OrthwebError(
            f"the secret of the administrator names {admin.values['username']}, and a site has the one user "
            f"{generated.ADMIN_USER}",
            f'put {{"username": "{generated.ADMIN_USER}", "password": ...}}',
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    wanted = {
        "admin_password": _of(
            admin, "password", f'the administrator: put {{"username": "{generated.ADMIN_USER}", "password": ...}}'
        ),
        "check_aet": _of(site, "check_aet", _SITE),
    }
    files = {folder / generated.file_name(name): f"{value}\n".encode() for name, value in wanted.items()}
    return write(files, 0o600)


_SITE: Final = 'what hosts share: put {"identity": ..., "check_aet": ...}'


def _of(version: Version, key: str, whose: str) -> str:
    """Give a value; the last argument says which secret it is, and what to put into it."""
    try:
        return version.values[key]
    except KeyError:
        name, _, put = whose.partition(": ")
        raise OrthwebError(f"the secret of {name} lacks {key}", f"{put}, or {{}} to have it filled again") from None


def identity(site: Version) -> str:
    """Give the site's identity, which its bucket carries too."""
    return _of(site, "identity", _SITE)


def certificates(folder: Path) -> dict[str, str]:
    """Read what of the PKI is shared."""
    found = [folder / f"{name}{ending}" for name in SHARED for ending in ENDINGS]
    return {path.name: path.read_text() for path in found if path.exists()}


def write_certificates(folder: Path, tls: Version | None) -> bool:
    """Put the shared part of the PKI where `up` finds it; tell whether something differed.

    Raises
    ------
    OrthwebError : the secret has the CA's certificate without its key.
    """
    if tls is None:
        return False
    names = {f"{name}{ending}" for name in SHARED for ending in ENDINGS}
    given = {name: text for name, text in tls.values.items() if name in names}
    if "site-ca.key" not in given or "site-ca.pem" not in given:
        raise OrthwebError(
            "the secret of the certificates lacks the site's CA", "put it back, or {} to have another CA made"
        )
    pair.prepare(folder)
    keys = {folder / name: text.encode() for name, text in given.items() if name.endswith(".key")}
    others = {folder / name: text.encode() for name, text in given.items() if name.endswith(".pem")}
    changed = write(keys, 0o600)
    return write(others, 0o600) or changed


def write(files: Mapping[Path, bytes], mode: int) -> bool:
    """Write the files that differ, each whole; tell whether one did."""
    from orthweb.files import write_whole

    changed = False
    for path, content in files.items():
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content, mode)
            changed = True
    return changed

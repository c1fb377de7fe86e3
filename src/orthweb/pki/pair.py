"""Certificate and key files: read whole or not at all, written so that a kill at any point is noticed and mended."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from orthweb.access import CertificatePair
from orthweb.errors import OrthwebError
from orthweb.files import sync_folder
from orthweb.pki.issue import Identity, PrivateKey, certificate_pem, key_pem

UNFINISHED = ".new-"
"""What names of files start with while they are written."""


DAMAGED = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What reading a certificate raises when its bytes are not what they should be."""


class BrokenPairError(Exception):
    """A pair that cannot be used; the text says why, in a few words."""


def read(pair: CertificatePair) -> Identity | None:
    """Read a pair that this site made.

    Returns
    -------
    The identity, or None when there is no certificate: a key alone is what a kill between the two files leaves.

    Raises
    ------
    BrokenPairError : the files are damaged or do not belong together.
    OrthwebError : the files may not be read.
    """
    pem = content(pair.certificate)
    if pem is None:
        return None
    try:
        chain = tuple(x509.load_pem_x509_certificates(pem))
        # Reading extensions is lazy: a certificate that is damaged inside must be noticed here, not later.
        for certificate in chain:
            _ = certificate.extensions, certificate.subject, certificate.issuer, certificate.public_key()
    except DAMAGED as error:
        raise BrokenPairError(f"{pair.certificate.name} is damaged") from error
    key = read_key(pair.key)
    if key is None:
        raise BrokenPairError(f"{pair.key.name} is missing")
    if key.public_key() != chain[0].public_key():
        raise BrokenPairError(f"{pair.key.name} does not belong to {pair.certificate.name}")
    return Identity(chain, key)


def read_key(path: Path) -> PrivateKey | None:
    """Read a private key that this site made; None when there is none."""
    pem = content(path)
    if pem is None:
        return None
    try:
        # The key was made here and its public half is compared with the certificate: RSA's primality test (30 ms) adds
        # nothing.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BrokenPairError(f"{path.name} is damaged") from error
    if not isinstance(key, PrivateKey):
        raise BrokenPairError(f"{path.name} is neither an RSA nor an EC key")
    return key


def content(path: Path) -> bytes | None:
    """Read a file of the PKI folder; None when there is none.

    Raises
    ------
    OrthwebError : it is there and may not be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> OrthwebError:
    """Say that a file or folder of the PKI cannot be used, and what to do."""
    if isinstance(error, PermissionError):
        return OrthwebError(
            f"{path}: {error.strerror} for user id {os.geteuid()}",
            "run orthweb as the user that started the site, or give the folder back to this user",
        )
    return OrthwebError(f"{path}: {error.strerror}", "see to it that the folder can be written and has space left")


def write(identities: Mapping[CertificatePair, Identity], others: Mapping[Path, bytes] | None = None) -> None:
    """Write pairs, each key before its certificate; every file appears whole or not at all.

    A kill on the way leaves a key without its certificate, or one that does not belong to it: `read` tells.

    Parameters
    ----------
    identities : what to write where; all in existing folders.
    others : further public files.
    """
    files: dict[Path, tuple[bytes, int]] = {}
    for pair, identity in identities.items():
        files[pair.key] = (key_pem(identity.key), 0o600)
        files[pair.certificate] = (certificate_pem(identity.chain), 0o644)
    for path, data in (others or {}).items():
        files[path] = (data, 0o644)
    write_files(files)


def write_files(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Write files (content, mode) in their order, each of them whole or not at all, and make them last."""
    unfinished: list[Path] = []
    try:
        for path, (data, mode) in files.items():
            descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
            unfinished.append(Path(name))
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
        for path in files:
            unfinished[0].rename(path)
            del unfinished[0]
        for folder in {path.parent for path in files}:
            sync_folder(folder)
    except OSError as error:
        raise unusable(path, error) from error
    finally:
        for rest in unfinished:
            rest.unlink(missing_ok=True)


def prepare(folder: Path) -> None:
    """Make the PKI folder, close it to others, and remove what a kill left unfinished."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        for path in folder.iterdir():
            if path.name.startswith(UNFINISHED):
                path.unlink()
    except OSError as error:
        raise unusable(folder, error) from error


def close_keys(keys: Iterable[Path]) -> None:
    """Take back rights on private keys that somebody widened."""
    for key in keys:
        try:
            if key.stat().st_mode & 0o177:
                key.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unusable(key, error) from error

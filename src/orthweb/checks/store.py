"""Group ``store``: the DICOM files themselves, in a folder, in a bucket or in the index."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from orthweb.checks.archive import expect
from orthweb.checks.check import CheckFailed, NotApplicable, check
from orthweb.checks.index import connection
from orthweb.checks.subject import Instance, dataset_bytes
from orthweb.errors import OrthwebError
from orthweb.store.attachment import DICOM
from orthweb.verification import client_context

if TYPE_CHECKING:
    from orthweb.checks.context import Context
    from orthweb.site import S3
    from orthweb.store.attachment import Backend
    from orthweb.store.s3 import ObjectStore

_WHERE = "is the store the one that this site uses? `orthweb status` names it, `orthweb store check` compares all of it"

ENCRYPTION = {"s3": "AES256", "kms": "aws:kms"}
"""What S3 answers in x-amz-server-side-encryption, by ``s3.encryption``."""


@dataclass(frozen=True)
class _Kept:
    """What the index says of a file: its name, how long it is, its MD5."""

    uuid: str
    size: int
    md5: str


def _kept(context: Context, instance: Instance) -> _Kept:
    """Ask the index for the instance's DICOM attachment."""
    query = (
        "SELECT a.uuid, a.compressedsize, a.compressedhash FROM attachedfiles a"
        " JOIN resources r ON r.internalid = a.id WHERE r.publicid = %s AND a.filetype = %s"
    )
    with connection(context) as index:
        row = index.execute(query, (instance.orthanc_id, DICOM)).fetchone()
    if row is None:
        raise CheckFailed("the index knows no file of the stored instance", "see `orthweb logs archive`")
    return _Kept(str(row[0]), int(row[1]), str(row[2]))


@contextmanager
def _opened(context: Context) -> Iterator[Backend]:
    """Open the store; what it says against being looked into is the check's failure."""
    try:
        backend = context.store.open(context.index)
        try:
            yield backend
        finally:
            backend.close()
    except OrthwebError as error:
        raise CheckFailed(str(error)) from error


def _read(backend: Backend, kept: _Kept) -> bytes:
    try:
        return b"".join(backend.read(kept.uuid, DICOM))
    except OSError as error:
        raise CheckFailed(f"the instance's file cannot be read: {error.strerror}") from error


@check(
    "store.file",
    "File of the test instance",
    "The stored instance's file has the size that the index says and the data set that was sent",
    hint=_WHERE,
)
def file(context: Context) -> str:
    """Find the file by way of the index and compare it with what was sent."""
    with _opened(context) as backend:
        for instance in context.sent():
            kept = _kept(context, instance)
            content = _read(backend, kept)
            if len(content) != kept.size:
                raise CheckFailed(f"a file has {len(content)} bytes, the index says {kept.size}")
            if dataset_bytes(content) != dataset_bytes(instance.content):
                raise CheckFailed("a file's data set is not the one sent")
    return f"{len(context.sent())} files of the right size, data sets as sent"


@check(
    "store.hash",
    "Hash of the test instance",
    "The file's MD5 is the one in the index and the one that the archive tells",
    hint=f"the file was changed after it was stored; {_WHERE}",
)
def md5(context: Context) -> str:
    """Compare three hashes of the same file."""
    with _opened(context) as backend:
        for instance in context.sent():
            kept = _kept(context, instance)
            # MD5 is what Orthanc keeps; it finds damage, it proves no origin.
            seen = hashlib.md5(_read(backend, kept), usedforsecurity=False).hexdigest()
            told = expect(context.http().get(f"/instances/{instance.orthanc_id}/attachments/dicom/md5")).text.strip()
            if not kept.md5 or seen != kept.md5:
                raise CheckFailed("a file's MD5 differs from the one in the index")
            if seen != told:
                raise CheckFailed("a file's MD5 differs from the one that the archive tells")
    return f"{len(context.sent())} files: store, index and archive agree"


@check(
    "store.mode",
    "Store closed to others",
    "The store's folder is open to its owner alone",
    hint="chmod 700 on the store's folder; `orthweb up` does it too",
)
def mode(context: Context) -> str:
    """Look at the folder's mode."""
    folder = context.store.path
    if folder is None:
        raise NotApplicable("the files of this site are not in a folder")
    bits = stat.S_IMODE(folder.stat().st_mode)
    if bits & 0o077:
        raise CheckFailed(f"mode {bits:04o}: others than the owner may read it or pass")
    return f"mode {bits:04o}"


@contextmanager
def _object(context: Context) -> Iterator[tuple[S3, ObjectStore, _Kept]]:
    """Give the bucket and the test instance's object in it."""
    settings = context.store.s3
    if settings is None:
        raise NotApplicable("the files of this site are not in a bucket")
    from orthweb.store.s3 import bucket_of

    try:
        yield settings, bucket_of(settings), _kept(context, context.sent()[0])
    except OrthwebError as error:
        raise CheckFailed(str(error)) from error


def _get(settings: S3, url: str) -> httpx.Response:
    """Ask for an object as anybody can who knows its address."""
    verify = client_context(settings.ca) if settings.ca is not None else True
    try:
        with httpx.Client(verify=verify, trust_env=False, timeout=20) as client:
            return client.get(url)
    except httpx.HTTPError as error:
        raise CheckFailed(f"the bucket does not answer: {type(error).__name__}") from error


@check(
    "store.strangers",
    "Bucket closed to strangers",
    "Without credentials nobody gets the test instance's object, and with the site's own it is the file that was sent",
    hint="block public access to the bucket and look at its policy",
)
def strangers(context: Context) -> str:
    """Ask for the object with and without a signature."""
    with _object(context) as (settings, bucket, kept):
        signed = bucket.signed_url(kept.uuid, DICOM)
        unsigned = _get(settings, signed.partition("?")[0])
        content = _get(settings, signed)
    if unsigned.status_code not in (401, 403):
        raise CheckFailed(f"a request without credentials is answered {unsigned.status_code}")
    if content.status_code != 200 or len(content.content) != kept.size:
        raise CheckFailed(f"a request with the site's credentials is answered {content.status_code}")
    return f"refused without credentials ({unsigned.status_code})"


@check(
    "store.encryption",
    "Objects encrypted",
    "The test instance's object is encrypted at rest in the way that s3.encryption asks for",
    hint="does the server support what s3.encryption says? look at the bucket's default encryption",
)
def encryption(context: Context) -> str:
    """Look at what the server says of the object."""
    with _object(context) as (settings, bucket, kept):
        headers = _get(settings, bucket.signed_url(kept.uuid, DICOM)).headers
    seen: str = headers.get("x-amz-server-side-encryption", "")
    if settings.encryption == "bucket":
        if not seen and settings.endpoint is None:
            raise CheckFailed("the object is not encrypted at rest")
        return seen or "left to the server, which says nothing of it"
    if seen != ENCRYPTION[settings.encryption]:
        raise CheckFailed(f"asked for {ENCRYPTION[settings.encryption]}, the object has {seen or 'none'}")
    return seen


def _remember(context: Context) -> None:
    """Keep the names while the index still knows them."""
    context.notes["store.removal"] = [_kept(context, instance).uuid for instance in context.sent()]


@check(
    "store.removal",
    "Files gone after deletion",
    "Once the test patient is deleted its files are no longer in the store",
    hint="may the archive delete files in the store? see `orthweb logs archive`",
    prepare=_remember,
)
def removal(context: Context) -> str:
    """Look for the files again."""
    context.removed()
    names = context.notes["store.removal"]
    with _opened(context) as backend:
        left = [name for name in names if backend.size(name, DICOM) is not None]
    if left:
        raise CheckFailed(f"{len(left)} of {len(names)} files are still in the store")
    return f"{len(names)} files gone"


CHECKS = (file, md5, mode, strangers, encryption, removal)

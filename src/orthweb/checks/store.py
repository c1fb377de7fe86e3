"""Group ``store``: the DICOM files themselves."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.checks.archive import expect
from orthweb.checks.check import CheckFailed, check
from orthweb.checks.index import connection
from orthweb.checks.subject import Instance, dataset_bytes

if TYPE_CHECKING:
    from orthweb.checks.context import Context

_WHERE = "is the store the one that this site uses? `orthweb status` names its folder"


@dataclass(frozen=True)
class _Kept:
    """What the index says of a file: where it lies, how long it is, its MD5."""

    path: Path
    size: int
    md5: str


def _kept(context: Context, instance: Instance) -> _Kept:
    """Ask the index for the instance's DICOM attachment (type 1)."""
    store = context.store
    query = (
        "SELECT a.uuid, a.compressedsize, a.compressedhash FROM attachedfiles a"
        " JOIN resources r ON r.internalid = a.id WHERE r.publicid = %s AND a.filetype = 1"
    )
    with connection(context) as index:
        row = index.execute(query, (instance.orthanc_id,)).fetchone()
    if row is None:
        raise CheckFailed("the index knows no file of the stored instance", "see `orthweb logs archive`")
    return _Kept(store.file(str(row[0])), int(row[1]), str(row[2]))


def _read(kept: _Kept) -> bytes:
    try:
        return kept.path.read_bytes()
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
    for instance in context.sent():
        kept = _kept(context, instance)
        content = _read(kept)
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
    for instance in context.sent():
        kept = _kept(context, instance)
        # MD5 is what Orthanc keeps; it finds damage, it proves no origin.
        seen = hashlib.md5(_read(kept), usedforsecurity=False).hexdigest()
        told = expect(context.http().get(f"/instances/{instance.orthanc_id}/attachments/dicom/md5")).text.strip()
        if not kept.md5 or seen != kept.md5:
            raise CheckFailed("a file's MD5 differs from the one in the index")
        if seen != told:
            raise CheckFailed("a file's MD5 differs from the one that the archive tells")
    return f"{len(context.sent())} files: disk, index and archive agree"


@check(
    "store.mode",
    "Store closed to others",
    "The store's folder is open to its owner alone",
    hint="chmod 700 on the store's folder; `orthweb up` does it too",
)
def mode(context: Context) -> str:
    """Look at the folder's mode."""
    folder = context.store.path
    bits = stat.S_IMODE(folder.stat().st_mode)
    if bits & 0o077:
        raise CheckFailed(f"mode {bits:04o}: others than the owner may read it or pass")
    return f"mode {bits:04o}"


def _remember(context: Context) -> None:
    """Keep the paths while the index still knows them."""
    context.notes["store.removal"] = [str(_kept(context, instance).path) for instance in context.sent()]


@check(
    "store.removal",
    "Files gone after deletion",
    "Once the test patient is deleted its files are no longer in the store",
    hint="may the archive's user delete files in the store? see `orthweb logs archive`",
    prepare=_remember,
)
def removal(context: Context) -> str:
    """Look for the files again."""
    context.removed()
    paths = [Path(name) for name in context.notes["store.removal"]]
    left = [path for path in paths if path.exists()]
    if left:
        raise CheckFailed(f"{len(left)} of {len(paths)} files are still in the store")
    return f"{len(paths)} files gone"


CHECKS = (file, md5, mode, removal)

"""Whose a bucket is: a small object in it says so, and nothing is deleted from a bucket that another site has claimed.

The object lies beside the images as ``[root]orthweb-site``; its first line is the site's identity, its second the
random name of the claim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from orthweb.errors import SiteFileError, UsageError

if TYPE_CHECKING:
    from orthweb.site import Site
    from orthweb.store.attachment import Backend
    from orthweb.store.s3 import ObjectStore
    from orthweb.store.site import Stored

_WORD: Final = re.compile(r"[0-9A-Za-z._-]{1,64}")

UNREADABLE: Final = "?"
"""The identity that a mark has which is none: no site's, so that nobody takes it for its own."""


@dataclass(frozen=True)
class Mark:
    """What the object says.

    Parameters
    ----------
    site : identity of the site.
    claim : random name of this one claim, which tells two buckets of one site apart; empty in a mark that a person
        wrote.
    """

    site: str
    claim: str = ""

    def content(self) -> bytes:
        """Give it as it is stored."""
        return f"{self.site}\n{self.claim}\n".encode()

    @classmethod
    def parse(cls, content: bytes) -> Mark:
        """Read it as it is stored."""
        site, claim, *_ = [*content.decode(errors="replace").splitlines(), "", ""]
        words = site.strip(), claim.strip()
        if not _WORD.fullmatch(words[0]) or (words[1] and not _WORD.fullmatch(words[1])):
            return cls(UNREADABLE)
        return cls(*words)


class Standing(Enum):
    """What a bucket is to a site."""

    OURS = "ours"
    UNCLAIMED = "unclaimed"
    FOREIGN = "another site's"
    ELSEWHERE = "not the one with this site's images"


def standing(found: Mark | None, own: Mark, remembered: str, name: str) -> Standing:
    """Judge a bucket.

    Parameters
    ----------
    found : its mark; None when it has none.
    own : the site's identity and its last claim, either empty when there is none.
    remembered : name of the bucket that this site's images are in (`store.site.name_of`); empty when they are in none.
    name : the name that this bucket has.
    """
    moved = remembered not in ("", name)
    if found is None:
        return Standing.ELSEWHERE if moved else Standing.UNCLAIMED
    if found.site != own.site:
        return Standing.FOREIGN
    return Standing.ELSEWHERE if moved and found != own else Standing.OURS


def foreign(bucket: ObjectStore, found: Mark) -> UsageError:
    """Say that a bucket is another site's."""
    return UsageError(
        f"s3: {bucket.place}: belongs to another site, {found.site}",
        "name another bucket or another s3.root; only if that site is gone for good, delete its objects there and then"
        f" the object {bucket.mark_key}",
    )


def elsewhere(remembered: str) -> SiteFileError:
    """Say that the images are in another bucket than the site file names."""
    return SiteFileError(
        [
            f"s3: names another place than {remembered}, where this site's images are: set it again; to "
            "move them, `orthweb store migrate --to filesystem` first, and from there to the new bucket"
        ]
    )


def assure(backend: Backend, stored: Stored, site: Site, *, before_deletion: bool = False) -> None:
    """Refuse a bucket that is not the one with this site's images. Other kinds of stores are not looked at.

    Parameters
    ----------
    stored : where the site's images are.
    before_deletion : whether one that no site has claimed is refused too.

    Raises
    ------
    UsageError : with whose it is, and the next step.
    StoreError : it does not answer.
    """
    from orthweb.store.s3 import ObjectStore
    from orthweb.store.site import name_of

    if not isinstance(backend, ObjectStore):
        return
    found = backend.mark()
    own = Mark(stored.site, stored.claim)
    match standing(found, own, stored.bucket, name_of("s3", site, stored.folder)):
        case Standing.FOREIGN:
            assert found is not None
            raise foreign(backend, found)
        case Standing.ELSEWHERE:
            raise elsewhere(stored.bucket)
        case Standing.UNCLAIMED if before_deletion:
            raise UsageError(
                f"s3: {backend.place}: has no object {backend.mark_key}, which says whose it is; nothing was deleted",
                "`orthweb up` marks it as this site's",
            )

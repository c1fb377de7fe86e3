"""A bucket as a site's store: claimed for one site, known again under another name, and left when the site goes."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orthweb.errors import OrthwebError, SiteFileError, UsageError
from orthweb.store.attachment import StoreError
from orthweb.store.ownership import Mark, Standing, elsewhere, foreign, standing
from orthweb.targets.base import PlanItem
from orthweb.targets.host import folder

if TYPE_CHECKING:
    from orthweb.site import S3
    from orthweb.store.s3 import ObjectStore
    from orthweb.targets.base import Report
    from orthweb.targets.host.place import SitePlace

PATIENCE: Final = 5.0
"""How long a bucket is waited for, seconds."""


def _opened(s3: S3) -> ObjectStore:
    from orthweb.store.s3 import bucket_of

    return bucket_of(s3, timedelta(seconds=min(s3.deadline, PATIENCE)))


def check(s3: S3, facts: folder.Facts, name: str) -> None:
    """Refuse a bucket under another name than the site's own has, unless it is the same one.

    Parameters
    ----------
    name : what `store.site.name_of` calls the bucket that the site file names.

    Raises
    ------
    SiteFileError : it is another one, or does not say.
    """
    if facts.bucket in ("", name):
        return
    try:
        found = _opened(s3).mark()
    except StoreError as error:
        refused = elsewhere(facts.bucket)
        raise SiteFileError([*refused.problems, f"s3: whether it is the same cannot be told: {error}"]) from error
    if standing(found, Mark(facts.site, facts.bucket_claim), facts.bucket, name) is not Standing.OURS:
        raise elsewhere(facts.bucket)


def renaming(place: SitePlace) -> list[PlanItem]:
    """Say that the site file names the site's bucket in another way than before."""
    before = folder.read_facts(place.state).bucket
    if not place.bucket or before in ("", place.bucket):
        return []
    return [PlanItem("change", "store", f"{before} -> {place.bucket}: the same bucket under another name")]


def take(place: SitePlace, report: Report) -> list[PlanItem]:
    """Claim the bucket for the site; to be called with the lock held.

    One that may have the site's images already does not have to answer: the site comes up without it, only says so,
    and claims it the next time.

    Raises
    ------
    UsageError : it takes no objects, or is not this site's and must not become it.
    """
    facts = folder.read_facts(place.state)
    known = bool(facts.bucket)
    opened = _opened(place.site.s3)
    consequence = "images are refused as long as that is so"
    try:
        opened.probe()
        consequence = "whose it is cannot be told now"
        return _claim(place, facts, opened)
    except StoreError as error:
        if not known:
            raise UsageError(
                f"s3: {error.message}",
                "make that bucket, or mend [s3] in the site file: s3.credentials where this machine has no role",
            ) from error
        report(f"s3: {error.message}; {consequence}")
        return renaming(place)


def _claim(place: SitePlace, facts: folder.Facts, opened: ObjectStore) -> list[PlanItem]:
    name = place.bucket
    site = facts.site or uuid.uuid4().hex
    done = renaming(place)
    found = opened.mark()
    if found is None and facts.bucket in ("", name):
        if not facts.bucket:
            _refuse_strangers(opened)
            done.append(PlanItem("create", opened.place, f"the object {opened.mark_key} says that it is this site's"))
        claim = facts.bucket_claim if facts.bucket else ""
        mark = Mark(site, claim or uuid.uuid4().hex)
        # Noted first: who is killed now finds a mark of its own the next time.
        facts = replace(facts, site=site, site_file=place.file_name, bucket_claim=mark.claim)
        folder.write_facts(place.state, facts)
        found = opened.claim(mark)
    own = Mark(facts.site, facts.bucket_claim)
    match standing(found, own, facts.bucket, name):
        case Standing.FOREIGN:
            assert found is not None
            raise foreign(opened, found)
        case Standing.OURS if found is not None and found != own:
            folder.write_facts(place.state, replace(facts, bucket_claim=found.claim))
        case Standing.ELSEWHERE | Standing.UNCLAIMED:
            raise elsewhere(facts.bucket)
    return done


def _refuse_strangers(opened: ObjectStore) -> None:
    if next(opened.listing(), None) is not None:
        raise UsageError(
            f"s3: {opened.place}: has images, and no object {opened.mark_key} which says whose they are",
            "name another bucket or another s3.root; where they are this site's, make that object, with the site's"
            " identity (.orthweb/site-id) as its content",
        )


def leave(place: SitePlace) -> str:
    """Say what stays in the bucket of a site that is being destroyed; its mark goes where nothing else is.

    Objects are never deleted here: they are patients' images.
    """
    where = place.bucket
    try:
        opened = _opened(place.site.s3)
        if opened.release(folder.read_facts(place.state).site):
            return f"{where}: there was nothing in it but the mark of this site, which is deleted"
        mark = opened.mark_key
    except OrthwebError as error:
        return f"{where}: whatever is in it stays there, and cannot be looked at: {error.message}"
    return (
        f"{where}: its objects, which are patients' images, stay there; delete them with your S3 tools, and at last"
        f" {mark}: before that no other site takes it"
    )

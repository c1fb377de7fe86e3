"""Whose a bucket is: how the mark is read, and what each mark means to a site."""

from __future__ import annotations

import pytest

from orthweb.errors import SiteFileError
from orthweb.site import S3
from orthweb.store.ownership import UNREADABLE, Mark, Standing, elsewhere, foreign, standing
from orthweb.store.s3 import bucket_of

SITE, OTHER = "0" * 32, "f" * 32
HERE, THERE = "s3 https://s3.example.org pacs-images", "s3 https://old.example.org pacs-images"
OWN = Mark(SITE, "c1")


def test_mark_then_it_is_read_as_it_was_written() -> None:
    assert OWN.content() == f"{SITE}\nc1\n".encode()
    assert Mark.parse(OWN.content()) == OWN


@pytest.mark.parametrize("content", [f"{SITE}", f"{SITE}\n", f" {SITE} \r\n", f"{SITE}\n\n"])
def test_mark_that_a_person_wrote_then_the_identity_alone_is_enough(content: str) -> None:
    assert Mark.parse(content.encode()) == Mark(SITE)


@pytest.mark.parametrize("content", [b"", b"\n", b"<xml>\n", b"\xff\xfe", b"a b\n", b"a" * 65, b"site\n\x1b[31m\n"])
def test_object_that_is_no_mark_then_it_is_nobodys_and_never_quoted(content: bytes) -> None:
    found = Mark.parse(content)
    assert found == Mark(UNREADABLE)
    for own in (OWN, Mark("")):
        assert standing(found, own, "", HERE) is Standing.FOREIGN


@pytest.mark.parametrize(
    ("found", "remembered", "expected"),
    [
        # its own
        (OWN, HERE, Standing.OURS),
        (OWN, "", Standing.OURS),
        (Mark(SITE, "c0"), HERE, Standing.OURS),
        (Mark(SITE, "c0"), "", Standing.OURS),  # the state folder came from a backup
        # one that got another name, and one that the site left once
        (OWN, THERE, Standing.OURS),
        (Mark(SITE, "c0"), THERE, Standing.ELSEWHERE),
        (Mark(SITE), THERE, Standing.ELSEWHERE),
        # nobody's
        (None, HERE, Standing.UNCLAIMED),
        (None, "", Standing.UNCLAIMED),
        (None, THERE, Standing.ELSEWHERE),
        # another site's, whatever this one remembers
        (Mark(OTHER, "c1"), HERE, Standing.FOREIGN),
        (Mark(OTHER, "c1"), "", Standing.FOREIGN),
        (Mark(OTHER, "c1"), THERE, Standing.FOREIGN),
    ],
)
def test_bucket_then_its_mark_and_the_sites_memory_say_what_it_is(
    found: Mark | None, remembered: str, expected: Standing
) -> None:
    assert standing(found, OWN, remembered, HERE) is expected


def test_site_that_was_never_brought_up_then_every_mark_is_anothers() -> None:
    assert standing(OWN, Mark(""), "", HERE) is Standing.FOREIGN


def test_refusal_then_it_names_the_bucket_the_other_site_and_the_object() -> None:
    said = str(foreign(bucket_of(S3(bucket="pacs-images", root="images/")), Mark(OTHER, "c1")))
    for word in ("the bucket pacs-images under images/", OTHER, "s3.root", "images/orthweb-site"):
        assert word in said
    assert isinstance(elsewhere(THERE), SiteFileError)
    assert THERE in str(elsewhere(THERE))

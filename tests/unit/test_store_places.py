"""How stores are named, and what is said before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthweb.cli.store import refuse_many
from orthweb.errors import OrthwebError, UsageError
from orthweb.site import S3, Site, Store
from orthweb.store.s3 import bucket_of
from orthweb.store.site import kind_and_folder, name_of

BUCKET = S3(bucket="pacs-images", root="images/", endpoint="https://s3.example.org:9000")


def test_names_then_they_tell_kind_and_place_and_never_a_secret() -> None:
    site = Site(store=Store(kind="s3"), s3=BUCKET)
    assert name_of("s3", site, Path("/x")) == "s3 https://s3.example.org:9000 pacs-images images/"
    assert name_of("database", site, Path("/x")) == "database"
    assert name_of("filesystem", site, Path("/srv/with space")) == "filesystem /srv/with space"
    for kind in ("filesystem", "s3", "database"):
        assert kind_and_folder(name_of(kind, site, Path("/srv/with space"))).kind == kind
    assert kind_and_folder("filesystem /srv/with space").folder == Path("/srv/with space")
    with pytest.raises(UsageError):
        kind_and_folder("tape /dev/st0")


def test_keys_then_they_are_those_of_the_flat_layout() -> None:
    name = "0a1b2c3d-0000-4000-8000-000000000001"
    store = bucket_of(BUCKET)
    assert [store.key(name, file_type).removeprefix(f"images/{name}") for file_type in (1, 2, 3, 0)] == [
        ".dcm",
        ".json",
        ".dcm.head",
        ".unk",
    ]
    assert store.place == "the bucket pacs-images under images/"


def test_bucket_that_is_not_named_then_the_key_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"s3\.bucket: is missing"):
        bucket_of(S3())
    with pytest.raises(UsageError, match=r"s3\.ca: .*No such file"):
        bucket_of(S3(bucket="pacs-images", endpoint="https://s3.example.org", ca=tmp_path / "no.pem"))


@pytest.mark.parametrize(
    "content", [None, "", "[other]\naws_access_key_id = A\n", "[default]\naws_secret = TOPSECRET\n"]
)
def test_credentials_file_that_is_wrong_then_it_is_named_and_not_quoted(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "credentials"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"s3\.credentials: ") as said:
        bucket_of(S3(bucket="pacs-images", credentials=path))
    assert "TOPSECRET" not in str(said.value)


@pytest.mark.parametrize(
    ("orphans", "stored", "refused"), [(10, 12, False), (11, 12, True), (100, 1000, False), (101, 1000, True)]
)
def test_orphans_that_are_many_then_they_are_not_removed_just_so(orphans: int, stored: int, refused: bool) -> None:
    if refused:
        with pytest.raises(OrthwebError, match="older backup"):
            refuse_many(orphans, stored)
    else:
        refuse_many(orphans, stored)

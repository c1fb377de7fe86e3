"""A bucket belongs to one site: others are refused, repair never touches theirs, and a new name is no new bucket."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from typer.testing import CliRunner

from live.counting import Sample, samples, sending
from live.s3_server import S3Server
from live.sites import LiveSite, live_site
from live.stores import bucket, digests
from orthweb import cli
from orthweb.cli import console
from orthweb.cli import store as verbs
from orthweb.site import S3
from orthweb.store import s3 as objects
from orthweb.store.ownership import Mark
from orthweb.store.s3 import bucket_of

MARK = "images/orthweb-site"
SAME_NAME, OTHER_NAME = "https://localhost:", "https://127.0.0.1:"


def in_bucket(s3: S3Server, root: str) -> dict[str, Any]:
    """Give the tables of a site file whose images are under a root of the bucket."""
    return {"store": {"kind": "s3"}, "s3": bucket(s3, root=root)}


@pytest.fixture(scope="module")
def first(s3: S3Server) -> Iterator[LiveSite]:
    """The site that the bucket's images/ belongs to."""
    with live_site(**in_bucket(s3, "images/")) as made:
        yield made


@pytest.fixture(scope="module")
def sent(first: LiveSite, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    made = samples(tmp_path_factory.mktemp("sent"), 3, seed="owned")
    with sending(first, made) as books:
        pass
    assert len(books.acknowledged) == len(made)
    return made


@pytest.fixture(scope="module")
def second(s3: S3Server, first: LiveSite) -> Iterator[LiveSite]:
    """Another site, whose images are in a folder until a test moves them."""
    with live_site() as made:
        yield made


def remembered(site: LiveSite) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site.state / "state.json").read_text())
    return found


def repaired(site: LiveSite, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Call `store check --repair` as if everything in the store were old enough; give code and what it said."""
    monkeypatch.setattr(verbs, "SAFE_AGE", 0.0)
    words = ["--site", str(site.file), "store", "check", "--repair", "--yes", "--many", "--older-than", "0s"]
    before = console.settings
    try:
        done = CliRunner().invoke(cli.app, words)
    finally:
        console.settings = before
    return done.exit_code, done.output + str(done.exception or "")


@pytest.fixture
def orphan(s3: S3Server) -> Iterator[str]:
    key = f"images/{uuid.uuid4()}.dcm"
    s3.write(key, b"belongs to nothing")
    yield key
    s3.delete(key)


@pytest.fixture
def whole(first: LiveSite, s3: S3Server) -> Iterator[None]:
    """What is done to the mark or the site file is undone afterwards."""
    mark, file = s3.read(MARK), first.file.read_text()
    yield
    s3.write(MARK, mark)
    first.file.write_text(file)


def test_up_when_it_is_the_first_then_the_bucket_says_whose_it_is(first: LiveSite, s3: S3Server) -> None:
    facts = remembered(first)
    assert Mark.parse(s3.read(MARK)) == Mark(facts["site"], facts["bucket_claim"])
    assert facts["bucket_claim"]
    said = json.loads(first.orthweb("store", "check", "--json").stdout)
    assert (said["foreign"], said["orphaned"]) == (0, 0), "the mark is a part of the store"


def test_second_site_when_it_comes_up_or_migrates_there_then_refused_and_it_goes_on_as_it_was(
    first: LiveSite, second: LiveSite, sent: list[Sample], s3: S3Server
) -> None:
    before = {key: s3.read(key) for key in s3.keys("images/")}
    second.write(**in_bucket(s3, "images/"))
    try:
        for words in (("up",), ("store", "migrate", "--to", "s3")):
            done = second.orthweb(*words, check=False)
            assert done.returncode == 2, words
            owner = remembered(first)["site"]
            assert f"the bucket {s3.bucket} under images/: belongs to another site, {owner}" in done.stderr
            assert "s3.root" in done.stderr
            assert f"delete its objects there and then the object {MARK}" in done.stderr
    finally:
        second.write()
    assert second.target.status().answers
    assert remembered(second)["store_kind"] == "filesystem"
    assert {key: s3.read(key) for key in s3.keys("images/")} == before


def test_first_site_when_the_second_was_there_before_it_then_refused(second: LiveSite, s3: S3Server) -> None:
    second.write(**in_bucket(s3, "second/"))
    second.orthweb("store", "migrate", "--to", "s3")
    owner = remembered(second)["site"]
    assert Mark.parse(s3.read("second/orthweb-site")).site == owner
    with live_site(up=False, **in_bucket(s3, "second/")) as late:
        done = late.orthweb("up", check=False)
    assert done.returncode == 2
    assert f"belongs to another site, {owner}" in done.stderr
    assert Mark.parse(s3.read("second/orthweb-site")).site == owner


def test_new_site_when_images_without_a_mark_are_there_then_refused_and_nothing_is_written(s3: S3Server) -> None:
    key = f"strange/{uuid.uuid4()}.dcm"
    s3.write(key, b"somebody's")
    with live_site(up=False, **in_bucket(s3, "strange/")) as site:
        done = site.orthweb("up", check=False)
        assert done.returncode == 2
        assert "under strange/: has images, and no object strange/orthweb-site" in done.stderr
        assert s3.keys("strange/") == [key]


def test_site_that_lost_all_but_its_identity_then_its_bucket_knows_it(s3: S3Server) -> None:
    s3.write(f"restored/{uuid.uuid4()}.dcm", b"an image")
    mark = Mark(uuid.uuid4().hex, "c1")
    s3.write("restored/orthweb-site", mark.content())
    with live_site(up=False, **in_bucket(s3, "restored/")) as site:
        assert site.orthweb("up", check=False).returncode == 2
        (site.folder / ".orthweb").mkdir(mode=0o700, exist_ok=True)
        (site.state / "site-id").write_text(f"{mark.site}\n")
        site.orthweb("up")
        facts = remembered(site)
    assert Mark(facts["site"], facts["bucket_claim"]) == mark == Mark.parse(s3.read("restored/orthweb-site"))


def test_repair_when_the_bucket_is_the_sites_own_then_the_orphan_goes_and_the_mark_stays(
    first: LiveSite, sent: list[Sample], s3: S3Server, orphan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = repaired(first, monkeypatch)
    assert code == 0, said
    assert "Removed 1 orphan" in said
    assert orphan not in s3.keys("images/")
    assert MARK in s3.keys("images/")
    assert len(digests(first, sent)) == len(sent)


def _of_another(s3: S3Server) -> None:
    s3.write(MARK, Mark("f" * 32, "c1").content())


def _of_none(s3: S3Server) -> None:
    s3.delete(MARK)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("change", "expected"),
    [(_of_another, f"belongs to another site, {'f' * 32}"), (_of_none, f"has no object {MARK}")],
    ids=["another site's", "nobody's"],
)
def test_repair_when_the_mark_is_not_the_sites_own_then_refused_and_nothing_is_deleted(
    first: LiveSite,
    s3: S3Server,
    orphan: str,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[S3Server], None],
    expected: str,
) -> None:
    change(s3)
    before = s3.keys("images/")
    code, said = repaired(first, monkeypatch)
    assert code == 2, said
    assert expected in said
    assert s3.keys("images/") == before
    assert orphan in before


@pytest.mark.usefixtures("whole")
def test_repair_when_another_site_claims_the_bucket_while_a_person_thinks_then_nothing_is_deleted(
    first: LiveSite, s3: S3Server, orphan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def think(*_: object, **__: object) -> bool:
        _of_another(s3)
        return True

    monkeypatch.setattr(verbs, "_wanted", think)
    code, said = repaired(first, monkeypatch)
    assert code == 2, said
    assert orphan in s3.keys("images/")


@pytest.mark.usefixtures("whole")
def test_site_whose_bucket_another_one_has_claimed_then_up_and_check_say_so_and_it_goes_on(
    first: LiveSite, s3: S3Server
) -> None:
    _of_another(s3)
    for words in (("up",), ("store", "check"), ("store", "check", "--repair", "--yes")):
        done = first.orthweb(*words, check=False)
        assert done.returncode == 2, words
        assert f"belongs to another site, {'f' * 32}" in done.stderr
    assert first.target.status().answers


def test_site_from_before_there_were_marks_when_the_bucket_fails_then_it_comes_up_and_claims_it_the_next_time(
    first: LiveSite, s3: S3Server
) -> None:
    facts = remembered(first)
    (first.state / "state.json").write_text(json.dumps(facts | {"bucket_claim": ""}))
    s3.delete(MARK)
    assert first.orthweb("store", "check").returncode == 0, "without --repair there is nothing to lose"
    with s3.fault(status=403, code="AccessDenied", methods={"PUT"}):
        assert "takes no objects" in first.orthweb("up").stderr
    assert MARK not in s3.keys("images/")
    done = first.orthweb("up")
    assert "mark" not in done.stdout + done.stderr
    assert Mark.parse(s3.read(MARK)) == Mark(facts["site"], remembered(first)["bucket_claim"])
    # Nor does a site with images depend on being told whose it is.
    with s3.fault(status=403, code="AccessDenied", methods={"GET"}, key=lambda key: key == MARK):
        assert "whose it is cannot be told now" in first.orthweb("up").stderr


@pytest.mark.usefixtures("whole")
def test_bucket_when_it_is_a_former_one_of_the_site_then_refused_because_the_images_are_elsewhere(
    first: LiveSite, s3: S3Server
) -> None:
    s3.write("former/orthweb-site", Mark(remembered(first)["site"], "c0").content())
    first.file.write_text(first.file.read_text().replace("images/", "former/"))
    for words in (("plan",), ("up",), ("store", "check")):
        done = first.orthweb(*words, check=False)
        assert done.returncode == 2, words
        assert "s3: names another place than s3 https://localhost" in done.stderr


@pytest.mark.usefixtures("whole")
def test_bucket_when_its_server_got_another_name_then_plan_says_so_and_up_goes_on_with_the_same_images(
    first: LiveSite, sent: list[Sample], s3: S3Server
) -> None:
    before = digests(first, sent)
    old = first.file.read_text()
    assert SAME_NAME in old
    first.file.write_text(old.replace(SAME_NAME, OTHER_NAME))
    with s3.fault(status=403, code="AccessDenied", key=lambda key: key == MARK):
        refused = first.orthweb("plan", check=False)
    assert refused.returncode == 2
    assert "whether it is the same cannot be told" in refused.stderr
    assert first.orthweb("store", "check").returncode == 0
    for verb in ("plan", "up"):
        said = " ".join(first.orthweb(verb).stdout.split())
        assert "the same bucket under another name" in said, said
    assert OTHER_NAME in remembered(first)["bucket"]
    assert "another name" not in first.orthweb("plan").stdout
    assert digests(first, sent) == before


@pytest.mark.parametrize("conditions", [True, False], ids=["conditional writes", "a server that knows no conditions"])
def test_bucket_when_many_sites_claim_it_at_once_then_one_of_them_has_it(
    s3: S3Server, conditions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "SETTLING", 1.0)
    root, sites = f"raced-{conditions}/".lower(), [Mark(f"site{number}", "c") for number in range(6)]
    settings = S3.model_validate(bucket(s3, root=root))
    together = threading.Barrier(len(sites))

    def claim(mark: Mark) -> Mark:
        opened = bucket_of(settings)
        assert opened.mark() is None
        together.wait()
        return opened.claim(mark)

    s3.conditions = conditions
    try:
        with ThreadPoolExecutor(len(sites)) as pool:
            found = list(pool.map(claim, sites))
    finally:
        s3.conditions = True
    assert len(set(found)) == 1
    assert Mark.parse(s3.read(f"{root}orthweb-site")) == found[0]


def test_server_that_refuses_conditions_then_the_mark_is_written_without(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "SETTLING", 0.0)
    opened = bucket_of(S3.model_validate(bucket(s3, root="plain/")))
    with s3.fault(status=501, code="NotImplemented", methods={"PUT"}, times=1):
        assert opened.claim(Mark("mine", "c")) == Mark("mine", "c")
    assert opened.claim(Mark("yours", "c")) == Mark("mine", "c")


def test_destroy_when_objects_are_left_then_the_mark_stays_too_and_else_it_goes(
    first: LiveSite, second: LiveSite, sent: list[Sample], s3: S3Server
) -> None:
    before = s3.keys("images/")
    said = first.orthweb("destroy", "--data", "--yes").stderr
    assert "patients' images, stay there" in said
    assert f"and at last {MARK}" in said
    assert s3.keys("images/") == before
    said = second.orthweb("destroy", "--data", "--yes").stderr
    assert "nothing in it but the mark of this site, which is deleted" in said
    assert s3.keys("second/") == []

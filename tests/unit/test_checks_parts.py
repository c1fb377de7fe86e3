"""What checks are made of: the test patient, multipart answers, the catalogue."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthweb.checks import archive, catalogue
from orthweb.checks.check import GROUPS, CheckFailed
from orthweb.checks.probe import association_request
from orthweb.checks.subject import PATIENT_NAME, TestPatient, dataset_bytes, is_leftover, new_patient_id
from orthweb.errors import UsageError

NOW = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)


def test_catalogue_then_ids_are_unique_named_after_their_group_and_at_least_thirty() -> None:
    ids = [check.id for check in catalogue.ALL]
    assert len(set(ids)) == len(ids) >= 30
    assert all(re.fullmatch(r"[a-z]+\.[a-z0-9_]+", name) for name in ids)
    assert {check.group for check in catalogue.ALL} == set(GROUPS)
    assert all(check.title and check.expected and check.hint for check in catalogue.ALL)


def test_select_when_nothing_is_named_then_it_gives_all() -> None:
    assert catalogue.select() == list(catalogue.ALL)


def test_select_when_groups_and_ids_are_named_then_it_gives_both_once_in_order() -> None:
    chosen = [check.id for check in catalogue.select(["store"], ["dicom.echo", "store.hash"])]
    assert chosen == ["dicom.echo", *(check.id for check in catalogue.ALL if check.group == "store")]


@pytest.mark.parametrize(("groups", "ids"), [(["nope"], []), ([], ["dicom.nope"])])
def test_select_when_a_name_is_unknown_then_it_says_which(groups: list[str], ids: list[str]) -> None:
    with pytest.raises(UsageError, match="nope: no such"):
        catalogue.select(groups, ids)


def test_page_of_checks_then_it_is_what_the_checks_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "checks.md"
    assert page.read_text() == catalogue.markdown(), "python -m orthweb.checks.catalogue > docs/checks.md"


def test_list_when_asked_for_then_it_needs_no_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orthweb", "--site", str(tmp_path / "none.toml"), "validate", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(catalogue.ALL) + 1


def test_patient_id_then_it_fits_the_vr_and_never_repeats() -> None:
    made = {new_patient_id(NOW) for _ in range(50)}
    assert len(made) == 50
    assert all(len(name) <= 64 and name.startswith("ORTHWEB-VALIDATION-20300517T120000Z-") for name in made)


@pytest.mark.parametrize(
    ("age", "leftover"),
    [(timedelta(minutes=59), False), (timedelta(minutes=61), True), (timedelta(hours=-2), False)],
)
def test_leftover_when_its_run_began_long_ago_then_it_is_one(age: timedelta, leftover: bool) -> None:
    assert is_leftover(new_patient_id(NOW - age), NOW) is leftover


@pytest.mark.parametrize("name", ["", "ORTHWEB-VALIDATION-", "ORTHWEB-VALIDATION-JOHN", "12345"])
def test_leftover_when_the_id_is_not_ours_then_it_is_none(name: str) -> None:
    assert not is_leftover(name, NOW)


def test_patient_when_images_are_made_then_all_carry_the_clear_name_and_uids_differ() -> None:
    patient = TestPatient("ORTHWEB-VALIDATION-X")
    images = [*patient.slices("a", 2, 2048), *patient.slices("b", 2, 2048), patient.multiframe("c")]
    assert {str(image.dataset.PatientName) for image in images} == {PATIENT_NAME}
    assert {str(image.dataset.PatientID) for image in images} == {"ORTHWEB-VALIDATION-X"}
    assert len({image.sop_instance for image in images}) == 5
    assert len({image.study for image in images}) == 3
    assert len(images[-1].pixels) == int(images[-1].dataset.NumberOfFrames) * 512 * 512 * 2


def test_orthanc_id_then_it_is_sha1_over_patient_and_uids() -> None:
    instance = TestPatient("p").slices("a", 1, 2048)[0]
    assert re.fullmatch(r"([0-9a-f]{8}-){4}[0-9a-f]{8}", instance.orthanc_id)


def test_dataset_bytes_when_meta_information_differs_then_the_rest_is_the_same() -> None:
    from orthweb.dicom import phantom

    instance = TestPatient("p").slices("a", 1, 2048)[0]
    before = instance.content
    instance.dataset.file_meta.ImplementationVersionName = "ANOTHER"
    after = phantom.encode(instance.dataset)
    assert after != before
    assert dataset_bytes(after) == dataset_bytes(before)
    assert dataset_bytes(before).endswith(instance.pixels)
    assert dataset_bytes(before)[:4] == b"\x08\x00\x05\x00"


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"\0" * 128 + b"DICM" + b"\0" * 40])
def test_dataset_bytes_when_it_is_no_dicom_file_then_it_says_so(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a DICOM file"):
        dataset_bytes(content)


def answer(body: bytes, kind: str) -> httpx.Response:
    return httpx.Response(200, content=body, headers={"content-type": kind})


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_parts_when_contents_are_any_bytes_then_they_come_back(contents: list[bytes]) -> None:
    body = b"".join(archive._parts("a-boundary", contents))
    found = archive.parts(answer(body, 'multipart/related; type="application/dicom"; boundary="a-boundary"'))
    assert found == contents


@pytest.mark.parametrize("kind", ["application/json", "multipart/related", ""])
def test_parts_when_the_answer_is_not_multipart_then_the_check_fails(kind: str) -> None:
    with pytest.raises(CheckFailed, match="not multipart"):
        archive.parts(answer(b"{}", kind))


def test_expect_when_the_status_differs_then_the_text_names_no_patient() -> None:
    request = httpx.Request("GET", "https://site/dicom-web/studies/1.2.3/series?PatientID=4711")
    with pytest.raises(CheckFailed, match=r"GET /dicom-web/studies/\.\.\. answered 404, not 200") as caught:
        archive.expect(httpx.Response(404, request=request))
    assert "1.2.3" not in caught.value.evidence
    assert "4711" not in caught.value.evidence


def test_association_request_then_it_is_one_pdu_with_both_titles() -> None:
    request = association_request("ORTHANC", "ME")
    assert request[0] == 1
    assert int.from_bytes(request[2:6], "big") == len(request) - 6
    assert request[10:42] == b"ORTHANC".ljust(16) + b"ME".ljust(16)

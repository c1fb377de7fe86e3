"""Identifiers of queries and retrievals."""

from __future__ import annotations

import pytest

from orthweb.cli.dicom import _shown, parse_keys
from orthweb.dicom.find import identifier, keyword
from orthweb.dicom.move import Suboperations, retrieve_keys
from orthweb.dicom.status import category, describe
from orthweb.errors import UsageError


@pytest.mark.parametrize("name", ["PatientID", "patientid", "0010,0020", "(0010,0020)", "00100020"])
def test_keyword_when_any_spelling_of_an_element_then_its_keyword(name: str) -> None:
    assert keyword(name) == "PatientID"


@pytest.mark.parametrize("name", ["Patient", "0011,0020", "", "PatientID=1"])
def test_keyword_when_dictionary_has_none_then_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="not a DICOM keyword or tag"):
        keyword(name)


def test_identifier_when_instance_level_then_dicom_calls_it_image() -> None:
    assert identifier("instance", {}).QueryRetrieveLevel == "IMAGE"
    assert identifier("study", {}).QueryRetrieveLevel == "STUDY"


def test_identifier_when_value_is_a_list_then_backslash_separates() -> None:
    assert list(identifier("study", {"StudyInstanceUID": "1.2\\1.3"}).StudyInstanceUID) == ["1.2", "1.3"]


def test_identifier_when_value_is_not_ascii_then_character_set_is_named() -> None:
    asked = identifier("study", {"PatientName": "Müller*"})
    assert asked.SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in identifier("study", {"PatientName": "Miller*"})


def test_identifier_when_key_is_a_sequence_then_usage_error() -> None:
    with pytest.raises(UsageError, match="sequence"):
        identifier("study", {"ReferencedStudySequence": "1"})


def test_retrieve_keys_when_unique_key_is_missing_then_usage_error_names_it() -> None:
    with pytest.raises(UsageError, match="SeriesInstanceUID"):
        retrieve_keys("series", {"StudyInstanceUID": "1.2"})


@pytest.mark.parametrize("keys", [["=1"], ["PatientID=1", "PatientID=2"]])
def test_parse_keys_when_empty_or_twice_then_usage_error(keys: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_keys(keys)


def test_parse_keys_when_value_has_equals_sign_then_it_is_kept() -> None:
    assert parse_keys(["PatientComments=a=b", "StudyDate"]) == {"PatientComments": "a=b", "StudyDate": ""}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, "success"),
        (0xB000, "warning"),
        (0xB007, "warning"),
        (0xFF00, "pending"),
        (0xFF01, "pending"),
        (0xFE00, "cancel"),
        (0xA700, "failure"),
        (0xC001, "failure"),
        (0x0122, "failure"),
    ],
)
def test_category_when_status_is_of_ps3_7_annex_c_then_sorted_as_there(status: int, expected: str) -> None:
    assert category(status) == expected


def test_describe_when_peer_comments_then_code_and_comment_are_shown() -> None:
    assert describe(0xA7FF, " disk full ") == "out of resources (0xA7FF): disk full"


def test_suboperations_when_one_uid_failed_then_it_is_a_tuple_of_one() -> None:
    from pydicom.dataset import Dataset

    answer, details = Dataset(), Dataset()
    answer.Status = 0xB000
    answer.NumberOfFailedSuboperations = 1
    details.FailedSOPInstanceUIDList = "1.2.3"
    assert Suboperations.of(answer, details).failed_uids == ("1.2.3",)


def test_shown_when_several_values_a_name_or_control_characters_then_one_clean_line() -> None:
    from pydicom.dataset import Dataset

    match = Dataset()
    match.ModalitiesInStudy = ["CT", "SR"]
    match.PatientName = "A^B"
    match.StudyDescription = "red \x1b[31m alert"
    shown = [_shown(match, name) for name in ("ModalitiesInStudy", "PatientName", "StudyDescription", "StudyID")]
    assert shown == ["CT\\SR", "A^B", "red  [31m alert", ""]

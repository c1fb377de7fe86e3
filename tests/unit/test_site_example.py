"""The commented site file and the reference: generated from the model, and true."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orthweb.errors import SiteFileError, UsageError
from orthweb.site import Modality, Site
from orthweb.sitefile import load, parse
from orthweb.sitefile.example import assignments, example
from orthweb.sitefile.keys import MODALITY_TABLE, field_at, form_of, tables
from orthweb.sitefile.new import write
from orthweb.sitefile.reference import WORKED_EXAMPLES, WorkedExample, reference

REPOSITORY = Path(__file__).parents[2]


def uncommented(text: str) -> str:
    return re.sub(r"^#(?! |$)", "", text, flags=re.MULTILINE)


def test_example_when_left_as_it_is_then_default_site() -> None:
    assert parse(example(), Path("site.toml"))[0] == Site()


def leaves(tables: Mapping[str, object], above: str = "") -> Iterator[str]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def test_example_when_everything_is_uncommented_then_default_site_with_every_default_given() -> None:
    text = uncommented(example())
    assert parse(text, Path("site.toml"))[0] == Site()
    given = set(leaves(tomllib.loads(text)))
    keys = [key for table in tables() if table.name != MODALITY_TABLE for key in table.keys]
    assert given == {key.dotted for key in keys if key.default is not None}


def test_example_when_read_then_every_key_is_explained() -> None:
    text = " ".join(example().replace("\n#", " ").split())
    for table in tables():
        for key in table.keys:
            assert " ".join(key.description.split()) in text, key.dotted


def test_example_modality_when_uncommented_then_valid(tmp_path: Path) -> None:
    _, _, block = example().partition("# [modalities.ct1]")
    text = "[modalities.ct1]" + block.replace("\n# ", "\n")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "ct1-ca.pem").touch()
    site, _ = parse(text, tmp_path / "site.toml")
    assert site.modalities["ct1"].aet == "CT1"
    assert set(tomllib.loads(text)["modalities"]["ct1"]) == set(Modality.model_fields)


def test_example_when_in_a_terminal_then_no_line_is_wider_than_100() -> None:
    assert max(map(len, example().splitlines())) <= 100


def test_example_when_values_are_set_then_they_are_in_force() -> None:
    values = {"name": "clinic", "edge.https_port": 9443, "modalities.ct.aet": "CT1", "modalities.ct.host": "ct1"}
    site, lines = parse(example(values | {"modalities.ct.port": 104}), Path("site.toml"))
    assert (site.name, site.edge.https_port) == ("clinic", 9443)
    assert site.modalities["ct"] == Modality(aet="CT1", host="ct1", port=104)
    assert ("edge", "dicom_port") not in lines


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("edge.https_port=9443", 9443),
        ("edge.max_body=500MiB", "500MiB"),
        ("edge.max_body=500000000", 500_000_000),
        ("edge.listen=0.0.0.0", ["0.0.0.0"]),
        ("edge.listen=127.0.0.1, ::1", ["127.0.0.1", "::1"]),
        ('edge.listen=["::1"]', ["::1"]),
        ("hostname=pacs.example.org", "pacs.example.org"),
        ("hostname='pacs.example.org'", "pacs.example.org"),
        ("name=true", "true"),
        ("dicom.aet=1234", "1234"),
        ("archive.overwrite=true", True),
        ("tls.profile=modern", "modern"),
        ("tls.key=tls/a=b.key", "tls/a=b.key"),
        ("name=a\n[edge]", "a\n[edge]"),
        ("modalities.ct.allow=echo,store", ["echo", "store"]),
    ],
)
def test_assignment_when_from_a_command_line_then_typed_value(argument: str, value: Any) -> None:
    assert list(assignments([argument]).values()) == [value]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("edge.https_port", "--set edge.https_port: should be KEY=VALUE, such as edge.https_port=9443"),
        ("=5", "--set =5: should be KEY=VALUE"),
        ("edge.htps_port=1", "--set edge.htps_port: unknown key; did you mean https_port?"),
        ("egde.https_port=1", "--set egde.https_port: unknown key; did you mean edge?"),
        ("edge=1", "--set edge: is a table; name one of its keys: listen, https_port"),
        ("modalities.ct=1", "--set modalities.ct: is a table; name one of its keys: aet, host"),
        ("edge.https_port.x=1", "--set edge.https_port.x: unknown key; edge.https_port is no table"),
        ("modalities.a b.aet=X", "--set modalities.a b.aet=X: should be KEY=VALUE"),
    ],
)
def test_assignment_when_wrong_then_said(argument: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        assignments([argument])
    assert str(caught.value).startswith(message)


def test_write_when_file_exists_then_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("name = 'mine'\n")
    with pytest.raises(UsageError, match=r"exists already .*--force"):
        write(path, {})
    assert load(path).name == "mine"
    write(path, {"name": "new"}, replace=True)
    assert load(path).name == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_write_when_value_is_wrong_then_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    with pytest.raises(SiteFileError) as caught:
        write(path, {"edge.https_port": "eighty"})
    assert caught.value.problems == ['--set edge.https_port: "eighty": should be a whole number from 1 to 65535']
    assert list(tmp_path.iterdir()) == []


def test_write_when_path_is_a_link_then_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "real.toml", tmp_path / "site.toml"
    link.symlink_to(target)
    write(link, {"name": "a"})
    write(link, {"name": "b"}, replace=True)
    assert link.is_symlink()
    assert load(target).name == "b"


def test_write_when_folder_is_missing_or_path_is_one_then_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere \(mkdir -p"):
        write(tmp_path / "nowhere" / "site.toml", {})
    with pytest.raises(UsageError, match="is a folder"):
        write(tmp_path, {})


def test_reference_when_model_changes_then_generated_again() -> None:
    current = (REPOSITORY / "docs" / "site-file.md").read_text(encoding="utf-8")
    assert current == reference(), "run: python -m orthweb.sitefile.reference docs/site-file.md"


@pytest.mark.parametrize("worked", WORKED_EXAMPLES, ids=lambda worked: worked.title)
def test_worked_example_when_loaded_then_valid(worked: WorkedExample, tmp_path: Path) -> None:
    for name in worked.files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / "site.toml"
    path.write_text(worked.text)
    assert load(path) != Site()
    assert f"```toml\n{worked.text}```" in reference()


def test_reference_messages_when_compared_with_the_reader_then_the_same() -> None:
    text = "\n\n[edge]\nhttps_port = 'eighty'\ndicm_port = 11112\n"
    with pytest.raises(SiteFileError) as caught:
        parse(text, Path("site.toml"))
    for problem in caught.value.problems:
        assert f"error: {problem}\n" in reference()


def test_keys_when_listed_then_complete_and_explained() -> None:
    for table in tables():
        assert table.description
        for key in table.keys:
            assert key.description.endswith((".", ".)")), key.dotted
            assert key.required or key.default is not None or key.example is not None, key.dotted
            assert "\n" not in key.form


def test_form_when_number_has_a_unit_then_named() -> None:
    field = field_at(("archive", "stable_age"))
    assert field is not None
    assert form_of(field) == "a whole number of seconds from 1 to 86400"

"""The keys archive.image and archive.extra_plugins: a list of tables is read, refused and explained like the rest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orthweb.errors import SiteFileError, UsageError
from orthweb.site import ExtraPlugin
from orthweb.sitefile import load
from orthweb.sitefile.example import assignments, example
from orthweb.sitefile.keys import field_at, known_keys
from orthweb.sitefile.provenance import settings

SHA256 = hashlib.sha256(b"plugin").hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.so").write_bytes(b"plugin")
    return tmp_path


def problems(text: str) -> list[str]:
    Path("site.toml").write_text(text)
    with pytest.raises(SiteFileError) as caught:
        load(Path("site.toml"))
    return caught.value.problems


@pytest.mark.parametrize(
    "text",
    [
        f'[archive]\nextra_plugins = [{{ path = "p.so", sha256 = "{SHA256.upper()}" }}]\n',
        f'[[archive.extra_plugins]]\npath = "p.so"\nsha256 = "{SHA256}"\n',
    ],
)
def test_extra_plugins_when_given_inline_or_as_tables_then_the_same(folder: Path, text: str) -> None:
    Path("site.toml").write_text(text)
    assert load(Path("site.toml")).archive.extra_plugins == (ExtraPlugin(path=folder / "p.so", sha256=SHA256),)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ('"p.so"', '[0]: "p.so": should be a table { path = ..., sha256 = ... }'),
        ('{ path = "p.so" }', "[0].sha256: missing: should be 64 hexadecimal digits"),
        ('{ path = "p.so", sha256 = "no" }', '[0].sha256: "no": should be 64 hexadecimal digits'),
        ('{ path = "p.so", sha = "no" }', '[0].sha: "no": unknown key; did you mean sha256?'),
        (f'{{ path = "q.so", sha256 = "{SHA256}" }}', '[0].path: "q.so": there is no file'),
        (f'{{ path = ".", sha256 = "{SHA256}" }}', "should be a shared object (.so)"),
        (
            ", ".join([f'{{ path = "p.so", sha256 = "{SHA256}" }}'] * 2),
            '[1].path: "p.so": is archive.extra_plugins[0].path as well; name it once',
        ),
    ],
)
def test_extra_plugins_when_an_element_is_wrong_then_named_with_its_number(
    folder: Path, elements: str, expected: str
) -> None:
    found = problems(f"[archive]\nextra_plugins = [{elements}]\n")
    assert any(line.startswith("site.toml:2: archive.extra_plugins") and expected in line for line in found), found


def test_extra_plugins_when_several_are_wrong_then_all_are_named_and_nothing_else(folder: Path) -> None:
    found = problems('[archive]\nextra_plugins = [\n 5,\n { path = "p.so" },\n]\nwriters = 99\n')
    assert [line.split(":")[1:3] for line in found] == [
        ["3", " archive.extra_plugins[0]"],
        ["4", " archive.extra_plugins[1].sha256"],
        ["6", " archive.writers"],
    ]


def test_extra_plugins_when_no_list_then_said(folder: Path) -> None:
    assert problems('[archive]\nextra_plugins = "p.so"\n') == [
        'site.toml:2: archive.extra_plugins: "p.so": should be a list of tables { path = ..., sha256 = ... }'
    ]


@pytest.mark.parametrize(
    "image",
    ["debian", "upstream", "team/orthanc", "orthanc:1.13.0", "r.example.org:5000/a/b_c:1.0-2", f"a@sha256:{SHA256}"],
)
def test_image_when_a_choice_or_a_reference_then_taken(folder: Path, image: str) -> None:
    Path("site.toml").write_text(f'[archive]\nimage = "{image}"\n')
    assert load(Path("site.toml")).archive.image == image


@pytest.mark.parametrize(
    "image", ["", "upstraem", "Team/Orthanc", "a b:1", "--privileged:1", "https://r/orthanc", "a:1:2"]
)
def test_image_when_neither_then_said(folder: Path, image: str) -> None:
    assert 'should be "debian", "upstream" or an image' in problems(f'[archive]\nimage = "{image}"\n')[0]


def test_image_when_the_target_is_local_then_refused(folder: Path) -> None:
    assert problems('target = "local"\n[archive]\nimage = "upstream"\n') == [
        'site.toml:3: archive.image: "upstream": is for target = "docker"; local runs this machine\'s own Orthanc'
    ]


def test_settings_when_plugins_are_given_then_each_key_with_its_line(folder: Path) -> None:
    Path("site.toml").write_text(f'[[archive.extra_plugins]]\npath = "p.so"\nsha256 = "{SHA256}"\n')
    found = {each.key: each for each in settings(Path("site.toml"))}
    assert found["archive.extra_plugins[0].path"].value == str(folder / "p.so")
    assert found["archive.extra_plugins[0].sha256"].origin == "site.toml:3"
    assert "archive.extra_plugins" not in found


def test_settings_when_there_are_no_plugins_then_nothing(folder: Path) -> None:
    found = {each.key: each for each in settings(Path("site.toml"))}
    assert (found["archive.extra_plugins"].value, found["archive.extra_plugins"].shown) == ([], "nothing")


def test_example_when_plugins_are_set_then_loaded_back(folder: Path) -> None:
    values = assignments([f'archive.extra_plugins=[{{ path = "p.so", sha256 = "{SHA256}" }}]'])
    Path("site.toml").write_text(example(values))
    assert load(Path("site.toml")).archive.extra_plugins[0].sha256 == SHA256


def test_assignments_when_a_key_lies_in_a_list_then_refused() -> None:
    with pytest.raises(UsageError, match=r"archive\.extra_plugins\.path: unknown key"):
        assignments(["archive.extra_plugins.path=p.so"])


def test_keys_of_an_element_when_asked_then_only_with_its_number() -> None:
    assert known_keys(("archive", "extra_plugins", 0)) == ("path", "sha256")
    assert known_keys(("archive", "extra_plugins")) == ()
    assert field_at(("archive", "extra_plugins", "path")) is None
    assert field_at(("edge", "listen", 0)) is field_at(("edge", "listen"))

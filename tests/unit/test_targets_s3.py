"""What a local site hands to Orthanc for its bucket: the CA, the credentials and the package that speaks S3."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from orthweb.errors import SiteFileError
from orthweb.site import S3
from orthweb.targets.host import libraries
from orthweb.targets.host.rendering import s3_files

CREDENTIALS = "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI\n"


def credentials(path: Path, text: str = CREDENTIALS, mode: int = 0o600) -> S3:
    path.write_text(text)
    path.chmod(mode)
    return S3(credentials=path)


def test_credentials_when_right_then_handed_on_as_they_are(tmp_path: Path) -> None:
    assert s3_files(credentials(tmp_path / "keys")) == {"credentials": CREDENTIALS.encode()}


def test_files_when_none_is_named_then_none() -> None:
    assert s3_files(S3()) == {}


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        (CREDENTIALS, 0o640, "mode 0640 lets other users read it: chmod 600"),
        ("", 0o600, r"should have the profile \[default\] with aws_access_key_id and aws_secret_access_key"),
        (CREDENTIALS.replace("default", "other"), 0o600, "should have the profile"),
        ("[default]\naws_access_key_id = AKIDEXAMPLE\n", 0o600, "should have the profile"),
        ("not a file of that kind", 0o600, "should have the profile"),
    ],
)
def test_credentials_when_wrong_then_named_without_their_content(
    tmp_path: Path, text: str, mode: int, expected: str
) -> None:
    with pytest.raises(SiteFileError, match=f"s3.credentials: {tmp_path}/keys: {expected}") as caught:
        s3_files(credentials(tmp_path / "keys", text, mode))
    assert "AKID" not in str(caught.value)


def test_files_when_missing_or_no_certificate_then_all_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(SiteFileError) as caught:
        s3_files(S3(endpoint="https://s3.example.org", ca=tmp_path / "ca.pem", credentials=tmp_path / "gone"))
    assert caught.value.problems == [
        f"s3.ca: {tmp_path}/ca.pem: should be a certificate (PEM)",
        f"s3.credentials: {tmp_path}/gone: No such file or directory",
    ]


def test_libraries_when_delivered_then_a_python_without_packages_can_use_them(tmp_path: Path) -> None:
    place = tmp_path / "libraries"
    libraries.deliver(place, None)
    program = f"import sys; sys.path.append({str(place)!r}); import obstore; print(obstore.__version__)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version("obstore")
    assert place.stat().st_mode & 0o077 == 0
    assert not [path for path in place.rglob("*") if path.stat().st_mode & 0o022]


def test_libraries_when_another_version_lies_there_then_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "libraries"
    libraries.deliver(place, None)
    before = (place / "obstore" / "__init__.py").stat().st_ino
    libraries.deliver(place, None)
    assert (place / "obstore" / "__init__.py").stat().st_ino == before
    old = next(place.glob("obstore-*.dist-info"))
    old.rename(place / "obstore-0.1.dist-info")
    (place / "obstore" / "gone.py").touch()
    libraries.deliver(place, None)
    assert not (place / "obstore" / "gone.py").exists()

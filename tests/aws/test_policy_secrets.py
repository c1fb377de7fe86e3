"""No secret passes through Terraform, but for those that a person gives; and these are in no file that it writes.

The deployment `single` was made with an own password and key. Everything that Terraform, its provider and the emulator
wrote on the way is searched, plans unpacked and user data decoded.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import zipfile
from collections.abc import Iterator

import pytest

from aws.lifecycle import Lifecycle
from aws.resources import of_type, resources

pytestmark = pytest.mark.timeout(900)

every = pytest.mark.parametrize("life", ["stranger", "single", "ha"], indirect=True)

BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
SHORTEST = 16
"""Lines of a PEM file that are shorter are no proof of anything."""


def layers(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Give a file's content, and what is packed or encoded in it."""
    yield name, content
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            for inner in packed.namelist():
                yield from layers(f"{name}/{inner}", packed.read(inner))
    elif content.startswith(b"\x1f\x8b"):
        yield from layers(f"{name} (gzip)", gzip.decompress(content))
    else:
        for found in BASE64.findall(content):
            decoded = base64.b64decode(found + b"=" * (-len(found) % 4)) if len(found) % 4 != 1 else b""
            yield f"{name} (base64)", decoded


def needles(secrets: dict[str, str]) -> set[bytes]:
    """Give what to look for: each secret's lines, as they are and encoded."""
    lines = {line for secret in secrets.values() for line in secret.splitlines()}
    plain = {line.encode() for line in lines if len(line) >= SHORTEST and not line.startswith("-----")}
    # Three ways that a text can lie in base64, by where it begins; the ends depend on what is beside it.
    encoded = {base64.b64encode(b"x" * shift + line)[4:-4] for line in plain for shift in range(3)}
    return plain | {each for each in encoded if len(each) >= SHORTEST}


def traces(life: Lifecycle, secrets: dict[str, str]) -> set[str]:
    """Name what holds a secret."""
    assert life.left is not None, "everything is over"
    wanted = needles(secrets)
    assert wanted
    return {
        layer
        for name, content in life.texts().items()
        for layer, text in layers(name, content)
        if any(needle in text for needle in wanted)
    }


def test_search_when_a_secret_lies_somewhere_then_finds_it() -> None:
    secret = {"password": "canary-0123456789abcdef"}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tfplan", f"...{secret['password']}...")
    hidden = [
        packed.getvalue(),
        base64.b64encode(f"user data {secret['password']} and more".encode()),
        b"canary-0123456789abcdef",
    ]
    for content in hidden:
        assert any(needle in text for _, text in layers("file", content) for needle in needles(secret))


def test_given_secrets_when_applied_changed_and_destroyed_then_are_in_no_file(single: Lifecycle) -> None:
    given = {name: single.plot.secrets[name] for name in ("admin_password", "tls_key")}
    assert traces(single, given) == set()


def test_given_secrets_when_applied_then_are_in_secrets_manager(single: Lifecycle) -> None:
    """So the search above looked for something that did go through Terraform."""
    given, kept = single.plot.secrets, single.secrets
    assert json.loads(kept["orthweb/clinic/admin"])["password"] == given["admin_password"]
    assert given["tls_key"] in json.loads(kept["orthweb/clinic/certificate"]).values()


@every
def test_password_of_the_databases_master_when_rds_makes_it_then_is_in_no_file(life: Lifecycle) -> None:
    (secret,) = [value for name, value in life.secrets.items() if name.startswith("rds!db-")]
    assert traces(life, {"password": json.loads(secret)["password"]}) == set()


@every
def test_secrets_when_nothing_is_given_then_are_empty_until_a_host_fills_them(life: Lifecycle) -> None:
    given = {"admin", "certificate"} if life.plot.secrets else set()
    filled = {name.rsplit("/", 1)[-1] for name in life.secrets if name.startswith("orthweb/")}
    assert filled == given
    assert len(of_type(life.state, "aws_secretsmanager_secret")) > len(given)


@every
def test_state_when_applied_then_has_no_argument_for_a_password(life: Lifecycle) -> None:
    (database,) = of_type(life.state, "aws_db_instance")
    assert database.values["manage_master_user_password"] is True
    assert not database.values.get("password")
    for version in of_type(life.state, "aws_secretsmanager_secret_version"):
        assert not version.values.get("secret_string"), version.address
        assert not version.values.get("secret_binary"), version.address
    banned = {"random_password", "tls_private_key", "aws_iam_access_key"}
    assert not [found.address for found in resources(life.state) if found.type in banned]


def test_user_data_when_given_to_hosts_then_is_small_and_says_nothing_secret(single: Lifecycle, ha: Lifecycle) -> None:
    (template,) = of_type(ha.state, "aws_launch_template")
    planned = [found.values.get("user_data") for found in of_type(single.planned, "aws_instance")]
    texts = [base64.b64decode(template.values["user_data"]).decode(), *filter(None, planned)]
    for text in texts:
        assert text.startswith("#cloud-config")
        assert len(text) < 8192, "EC2 takes 16 kB; a person reads less"
        told = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        assert not re.search(r"(?i)BEGIN [A-Z ]*KEY|(password|secret|token|key)\w*\"? *[:=] *\S", told)

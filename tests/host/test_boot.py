"""A host from its user data to a validated site, and what happens to it in its life."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from host.conftest import measured
from host.machine import Machine
from host.visitors import validate
from host.world import World
from live.counting import TIMEOUTS, account, client, eventually, many_samples, samples, sending
from live.lost_answers import assert_nothing_is_lost
from orthweb.access import SiteAccess
from orthweb.dicom.peer import Peer
from orthweb.pki.issue import SERVER, Identity, Leaf, certificate_pem, key_pem, new_leaf

APPLIED = 150
"""Seconds in which a host has seen and applied a change: it looks every 20."""


def containers(host: Machine) -> dict[str, str]:
    """Give since when each of the site's running containers has run: one that was restarted keeps its id."""
    ids = host.run("docker", "ps", "--quiet").split()
    lines = host.run("docker", "inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *ids).splitlines()
    found = dict(line.lstrip("/").split() for line in lines)
    return {name: since for name, since in found.items() if name != "orthweb-host"}


def edge(host: Machine) -> str:
    """Name the edge's container."""
    [name] = [name for name in containers(host) if "edge" in name]
    return name


def wait_applied(world: World, host: Machine, before: str) -> None:
    """Wait until a host has applied something else than before."""

    def applied() -> bool:
        said = world.status(host)
        assert said["state"] != "failed", said
        return bool(said["state"] == "ready" and said["applied"] != before)

    host.wait(applied, "applies the change", APPLIED)


def test_site_on_a_freshly_booted_host_passes_validation_from_outside(
    host: Machine, site: SiteAccess, outside: str, record_property: Callable[[str, object], None]
) -> None:
    started = time.monotonic()
    found = validate(site, outside)
    measured["validation from outside"] = time.monotonic() - started
    record_property("validation", json.dumps(found))
    assert {name: said for name, said in found.items() if said[0] == "fail"} == {}
    passed = [name for name, (status, _) in found.items() if status == "pass"]
    assert len(passed) >= 20, found


def test_user_data_was_run_to_its_end_without_errors(host: Machine) -> None:
    said = json.loads(host.run("cloud-init", "status", "--wait", "--format", "json"))
    assert (said["status"], said["errors"], said["recoverable_errors"]) == ("done", [], {}), said
    assert said["datasource"] == "ec2"
    assert host.run("systemctl", "is-system-running", "--wait", check=False).strip() == "running", host.run(
        "systemctl", "--failed", "--no-legend", check=False
    )


def test_metadata_service_gives_nothing_without_a_token(host: Machine) -> None:
    address = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
    code = host.run("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", address)
    assert code == "401"


def test_archive_keeps_images_with_the_credentials_of_the_role(
    the_world: World, site: SiteAccess, host: Machine, tmp_path: Path
) -> None:
    sent = samples(tmp_path, 5, seed="role")
    with sending(Peer.of_site(site, timeouts=TIMEOUTS), sent) as books:
        pass
    found = account(client(site), sent, books.acknowledged)
    assert (found.acknowledged, found.kept) == (5, True), found
    assert len(the_world.s3.images()) >= 5
    tokens = {seen.headers.get("x-amz-security-token") for seen in the_world.s3.seen("PUT")}
    assert tokens == {the_world.credentials()["Token"]}


def canaries(world: World) -> dict[str, str]:
    """Give everything that is secret: what it is, and a text by which it is known wherever it appears."""
    found = {"master": world.database.master_password, "role": world.credentials()["SecretAccessKey"]}
    found |= {"admin": world.secret("admin")["password"], "index": world.secret("index")["password"]}
    for name, text in world.secret("tls").items():
        if name.endswith(".key"):
            found[name] = text.splitlines()[2]
    return found


def own_secrets(host: Machine) -> dict[str, str]:
    """Give the secrets that the host keeps for itself, in memory."""
    folder = host.file("/run/orthweb/.orthweb")
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix == ".key":
            found[path.name] = path.read_text().splitlines()[2]
        elif path.is_file() and path.parent.name == "secrets" and "aet" not in path.name:
            found[path.name] = path.read_text().strip()
    assert len(found) > 3, found
    return found


def hits(secrets: dict[str, str], text: str) -> list[str]:
    """Name the secrets that appear in a text, as they are or in base64."""
    encoded = {name: base64.b64encode(value.encode()).decode().rstrip("=")[:-1] for name, value in secrets.items()}
    return [name for name, value in secrets.items() if value in text or encoded[name] in text]


def test_secrets_are_in_no_process_no_log_and_on_no_disk(the_world: World, host: Machine, tmp_path: Path) -> None:
    secrets = canaries(the_world) | own_secrets(host)
    processes = host.run("sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'")
    assert "orthweb" in processes
    ids = host.run("docker", "ps", "--all", "--quiet").split()
    images = host.run("docker", "images", "--quiet").split()
    places = {
        "user data": the_world.user_data(host),
        "processes": processes,
        "docker inspect": host.run("docker", "inspect", *ids),
        "docker history": "".join(host.run("docker", "history", "--no-trunc", each) for each in set(images)),
        "journal": host.journal("--output=cat"),
        "parameters": json.dumps(the_world.parameters()),
        "log groups": json.dumps(list(the_world.log_events().values())),
        "database log": the_world.database.log,
    }
    assert {place: found for place, text in places.items() if (found := hits(secrets, text))} == {}
    assert "applying" in places["journal"]
    (tmp_path / "patterns").write_text("\n".join(secrets.values()) + "\n")
    assert host.on_disk(tmp_path / "patterns") == []


def test_logs_of_the_containers_and_of_the_agent_are_in_the_log_groups(the_world: World, host: Machine) -> None:
    def complete() -> bool:
        streams = the_world.log_events()
        groups = {group for group, _ in streams}
        return groups == set(the_world.log_groups.values()) and len(streams) >= 3

    eventually(complete, 60, f"only {sorted(the_world.log_events())}")


def test_edge_acknowledges_at_once_on_its_route_to_clients(host: Machine) -> None:
    first = host.run("docker", "inspect", "--format", "{{.State.Pid}}", edge(host)).strip()
    routes = host.run("nsenter", f"--target={first}", "--net", "ip", "route", "show", "default")
    assert "quickack 1" in routes


def test_edge_has_no_way_to_the_credentials_of_the_role_and_the_archive_has(host: Machine) -> None:
    ask = [
        "curl",
        "--silent",
        "--max-time",
        "5",
        "--request",
        "PUT",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]
    ask += ["--header", "X-aws-ec2-metadata-token-ttl-seconds: 60", "http://169.254.169.254/latest/api/token"]
    said = {}
    for name in containers(host):
        first = host.run("docker", "inspect", "--format", "{{.State.Pid}}", name).strip()
        said[name] = host.run("nsenter", f"--target={first}", "--net", *ask, check=False).strip()
    assert said.pop(edge(host)) == "000"
    assert set(said.values()) == {"200"}, said


def test_modality_added_to_the_site_file_is_applied_without_a_restart_of_the_edge(
    the_world: World, host: Machine, site: SiteAccess
) -> None:
    before, applied = containers(host), the_world.status(host)["applied"]
    the_world.write_site(**{"modalities.CT1": {"aet": "CT1", "host": "192.0.2.20", "port": 104, "tls": False}})
    wait_applied(the_world, host, applied)
    with client(site) as http:
        assert "CT1" in http.get("/modalities").json()
    after = containers(host)
    assert after[edge(host)] == before[edge(host)]


@pytest.fixture
def images_coming_in(site: SiteAccess, tmp_path: Path) -> Iterator[Callable[[], Counter[int]]]:
    """Send images all the time; at the end each acknowledged one must be there.

    Gives a wait for some more, which gives the statuses of all.
    """
    sent = many_samples(tmp_path, 1500, seed=str(tmp_path), series=3)
    with sending(Peer.of_site(site, timeouts=TIMEOUTS), sent, associations=1, patience=200) as books:

        def more() -> Counter[int]:
            books.wait_for(min(len(sent), len(books.acknowledged) + 20))
            return books.statuses

        more()
        yield more
        more()
        books.stop()
    found = account(client(site), sent, books.acknowledged)
    assert found.kept, found
    assert books.lost_associations == 0, str(books)


def test_password_of_the_index_is_changed_while_images_come_in(
    the_world: World, host: Machine, images_coming_in: Callable[[], Counter[int]]
) -> None:
    before, running = the_world.secret("index"), containers(host)
    wanted = {**before, "password": "Wanted0By0A0Person0Who0Waits"}
    the_world.client("secretsmanager").put_secret_value(
        SecretId=f"orthweb/{the_world.name}/index", SecretString=json.dumps(wanted), VersionStages=["AWSPENDING"]
    )
    host.wait(lambda: the_world.secret("index") == wanted, "changes the password", APPLIED)
    assert set(images_coming_in()) == {0}
    # What is cut off then is refused (A700) and sent again.
    the_world.database.as_owner("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'orthanc'")
    images_coming_in()
    assert containers(host) == running


def test_image_when_the_answer_to_its_commit_is_lost_then_it_is_there_after_the_next_success(
    the_world: World, site: SiteAccess
) -> None:
    assert_nothing_is_lost(site, the_world.database)


def served(site: SiteAccess) -> int:
    """Give the serial number of the certificate that the site shows to browsers; 0 while it shows none."""
    try:
        pem = ssl.get_server_certificate((site.host, site.https_port), timeout=10)
    except OSError:
        return 0
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def read_identity(certificate: bytes, key: bytes) -> Identity:
    """Read a CA."""
    found = load_pem_private_key(key, None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return Identity((x509.load_pem_x509_certificate(certificate),), found)


@pytest.fixture
def own_certificate(the_world: World, host: Machine, site: SiteAccess) -> Callable[[], int]:
    """Let the site have a certificate of its owner's. Gives what puts another one, and gives its serial number.

    It is from the CA that clients of the tests before trust; an owner has it from elsewhere.
    """
    tls = the_world.secret("tls")
    authority = read_identity(tls["site-ca.pem"].encode(), tls["site-ca.key"].encode())

    def put() -> int:
        leaf = new_leaf(Leaf("of the owner", (the_world.hostname,), (SERVER,)), authority, datetime.now(UTC))
        chain = certificate_pem(leaf.chain).decode() + tls["site-ca.pem"]
        the_world.put_secret("certificate", {"certificate": chain, "key": key_pem(leaf.key).decode()})
        return leaf.certificate.serial_number

    first = put()
    host.run("systemctl", "restart", "orthweb")  # it looks once a minute otherwise
    eventually(lambda: served(site) == first, APPLIED, "it is not served")
    return put


def test_renewed_certificate_of_the_owner_is_served_while_images_come_in(
    the_world: World,
    host: Machine,
    site: SiteAccess,
    own_certificate: Callable[[], int],
    images_coming_in: Callable[[], Counter[int]],
) -> None:
    running, renewed = containers(host), own_certificate()

    def shown() -> bool:
        assert the_world.status(host)["state"] != "failed", the_world.status(host)
        return served(site) == renewed

    eventually(shown, APPLIED, "it is not served")
    assert set(images_coming_in()) == {0}
    assert containers(host) == running


def test_figures_that_the_alarms_need_are_in_the_log_group_of_the_agents(the_world: World, host: Machine) -> None:
    lines = the_world.log_events()[the_world.log_groups["host"], host.identity]
    figures = [found for found in map(json.loads, lines) if found.get("event") == "figures"]
    latest = figures[-1]
    assert latest["healthy"] == 1, figures
    assert 0 < latest["disk_used_percent"] < 100
    assert 0 < latest["memory_used_percent"] < 100
    assert latest["certificate_days"] > 30
    assert latest["archive_jobs_waiting"] == 0


def images_of(site: SiteAccess) -> int:
    """Count what is in the archive."""
    with client(site) as http:
        return int(http.get("/statistics").json()["CountInstances"])


def test_host_that_reboots_serves_again_by_itself(the_world: World, host: Machine, site: SiteAccess) -> None:
    kept, authority = images_of(site), the_world.secret("tls")["site-ca.pem"]
    before = the_world.status(host)["at"]
    started = time.monotonic()
    host.reboot()
    host.wait(lambda: the_world.serves(host, before), "is back", 240)
    measured["rebooted: serves again"] = time.monotonic() - started
    assert images_of(site) == kept
    assert the_world.secret("tls")["site-ca.pem"] == authority
    assert host.run("ls", "/var/lib/cloud/instances").split() == [host.identity]
    assert host.run("cat", "/var/log/cloud-init-output.log").count("Setting up docker.io") == 1

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orthweb import pki
from orthweb.errors import OrthwebError, SiteFileError
from orthweb.host import composition, lifecycle, succession
from orthweb.host.agent import REFUSALS, Agent
from orthweb.host.inputs import Inputs, Known
from orthweb.host.loop import ReplacedError, StoppedError, WaitError, Wanted
from orthweb.host.metadata import Instance
from orthweb.host.parameters import Deployment, HostReport, Parameters
from orthweb.host.rds import Rds
from orthweb.host.settings import HostSettings
from orthweb.host.vault import Version
from orthweb.site import Site
from orthweb.targets.host import folder

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def version(number: str, /, **values: str) -> Version:
    return Version(number, values, NOW)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """An agent that has fetched what a site should be; its engine is not asked."""
    # pytest's folders are closed to the services' users, who have nothing to do here.
    monkeypatch.setattr(folder, "can_reach", lambda _path: True)
    made = Agent(
        HostSettings("pacs", "eu-central-1", "/orthweb/pacs"),
        Instance("i-0123456789abcdef0", "eu-central-1a", "10.83.0.10"),
        tmp_path / "run",
        tmp_path / "kept",
        lambda _line: None,
    )
    (tmp_path / "run" / composition.OWN).mkdir(parents=True)
    (tmp_path / "run" / composition.INDEX_CA).touch(0o600)
    made._known = Known(
        Parameters("", {}, {}, Deployment(store="database")),
        Rds("db.example.org", 5432, "arn:secret", "eu-central-1a"),
        version("1", username="orthanc", password="One"),
        version("1", username="admin", password="Admin"),
        version("1", identity="0123", check_aet="OWCHECK"),
        None,
        None,
    )
    made.index._current = made._known.index
    return made


class Ups:
    """Counts what would have been brought up; fails as often as it is told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.done = 0

    def up(self, _report: object) -> list[object]:
        if self.failures:
            self.failures -= 1
            raise OrthwebError("another orthweb command is changing this site")
        self.done += 1
        return []


def test_changed_password_is_brought_up_until_that_has_worked(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has it already: without a memory of its own the agent would think that nothing is left to do."""
    ups = Ups(failures=1)
    monkeypatch.setattr(Agent, "_target", ups)
    assert agent._write(), "all is new"
    with pytest.raises(OrthwebError):
        agent._up()
    assert agent._write(), "it has not been used yet"
    agent._up()
    assert not agent._write()
    agent.index._current = version("2", username="orthanc", password="Two")
    assert agent._write()
    assert (agent._run / composition.PASSWORD).read_text() == "Two\n"
    assert ups.done == 1


def test_certificates_of_another_host_are_taken(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orthweb.host import shared

    monkeypatch.setattr(Agent, "_target", Ups(failures=0))
    agent._write()
    agent._up()
    pki.ensure(tmp_path / "other", Site(), tmp_path)
    agent._known = replace(agent.known, tls=version("1", **shared.certificates(tmp_path / "other")))
    assert agent._write()
    ours = agent._run / ".orthweb" / "pki" / "site-ca.pem"
    assert ours.read_bytes() == (tmp_path / "other" / "site-ca.pem").read_bytes()


def test_secrets_never_go_to_the_disk(agent: Agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root's state folder goes elsewhere when the services' users could not pass to it."""
    monkeypatch.setattr(folder, "can_reach", lambda _path: False)
    monkeypatch.setattr(folder, "is_root", lambda: True)
    monkeypatch.setattr(folder, "ROOT_STATE", tmp_path / "disk")
    with pytest.raises(OrthwebError, match="secrets belong into"):
        agent._write()
    assert not (tmp_path / "disk").exists()


def test_everything_that_is_written_is_closed_to_others(agent: Agent) -> None:
    agent._write()
    files = [path for path in agent._run.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_database_takes_a_changed_password_before_it_is_used(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[str]()
    monkeypatch.setattr(agent.index, "let_in", lambda: done.append("let in"))
    monkeypatch.setattr(agent, "_up", lambda: done.append("up"))
    agent._write()
    agent.inputs.unused = False
    agent.index._current = version("2", username="orthanc", password="By0Hand")
    monkeypatch.setattr(pki, "plan", lambda *_words: [])  # nothing else is due
    agent.tend()
    assert done == ["let in", "up"]


def test_wrong_site_file_never_takes_the_place_of_the_one_in_use(agent: Agent) -> None:
    agent._write()
    used = (agent._run / composition.SITE_FILE).read_text()
    agent.known.parameters = replace(agent.known.parameters, site='[dicom]\naet = "MUCH TOO LONG FOR A TITLE"\n')
    for write in (agent._write, agent.check):
        with pytest.raises(OrthwebError, match=r"dicom\.aet"):
            write()
    assert (agent._run / composition.SITE_FILE).read_text() == used


class Candidate:
    """A site that would change the schema of its index."""

    def __init__(self) -> None:
        self.place = self
        self.planned = False

    def plan(self) -> list[object]:
        self.planned = True
        return []


@pytest.fixture
def upgrade(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Candidate:
    from types import SimpleNamespace

    from orthweb.targets.host import external

    made = Candidate()
    monkeypatch.setattr(agent.inputs, "propose", lambda _known: made)
    monkeypatch.setattr(external, "due", lambda _place: SimpleNamespace(plugin="PostgreSQLIndex 10.3"))
    return made


@pytest.mark.parametrize("state", ["ready", "draining"])
def test_other_schema_is_refused_while_another_host_serves(agent: Agent, upgrade: Candidate, state: str) -> None:
    agent._others = {"i-2": HostReport(state, datetime.now(UTC).isoformat())}
    with pytest.raises(OrthwebError, match="while hosts serve") as raised:
        agent.check()
    assert "orthweb down, take a snapshot of the database, set index.snapshot_before" in str(raised.value)


def test_other_schema_is_nobodys_business_when_the_other_host_does_not_serve(agent: Agent, upgrade: Candidate) -> None:
    agent._others = {
        "i-2": HostReport("starting", datetime.now(UTC).isoformat()),
        "i-3": HostReport("ready", "2020-01-01"),
    }
    agent.check()
    assert upgrade.planned


def test_other_schema_without_a_snapshot_names_the_way(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    from orthweb.targets.host import external

    problem = "index.snapshot_before: PostgreSQLIndex 10.3 changes the schema (revision 1), and there is no way back"

    def due(_place: object) -> None:
        raise SiteFileError([problem])

    monkeypatch.setattr(agent.inputs, "propose", lambda _known: Candidate())
    monkeypatch.setattr(external, "due", due)
    with pytest.raises(OrthwebError, match="revision 1\\): that cannot happen while hosts serve"):
        agent.check()


def test_drain_ends_when_the_agent_is_told_to_end(agent: Agent) -> None:
    agent._stop.set()
    with pytest.raises(StoppedError):
        agent._sleep(300)


def test_group_that_does_not_wait_for_the_host_is_asked_for_a_while(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent._deployment = Deployment(autoscaling_group="pacs", lifecycle_hook="pacs-ready")
    monkeypatch.setattr(lifecycle, "complete", lambda *_words: False)
    said = [agent.ready() for _ in range(REFUSALS)]
    assert said == [False] * (REFUSALS - 1) + [True]


def test_containers_of_before_are_removed_though_a_killed_agent_has_written_files(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the first file and the removal, the folder is there and the old containers are, too."""
    done = list[str]()

    class Target(Ups):
        place: object

    target = Target(failures=0)
    target.place = target.containers = target  # type: ignore[attr-defined]
    target.remove_all = lambda: done.append("containers")  # type: ignore[attr-defined]
    target.remove_networks = lambda: done.append("networks")  # type: ignore[attr-defined]
    monkeypatch.setattr(Agent, "_target", target)
    monkeypatch.setattr(agent, "_share_certificates", lambda: None)
    monkeypatch.setattr(agent.vault, "read", lambda _which: None)
    agent._write()
    agent.apply()
    agent.apply()
    assert done == ["containers", "networks"]


def test_what_was_applied_outlives_the_agent(agent: Agent) -> None:
    wanted = Wanted("digest", "site", {"archive": "a:1"}, shared=True, others={})
    assert agent.remembered() is None
    agent.remember(wanted)
    agent._write()
    after = Inputs(agent._run, agent._kept, "pacs", "i-1")
    assert after.remembered() == wanted
    assert after.unused, "and what has not been used yet"
    after.remember(None)
    assert agent.remembered() is None


def test_archive_trusts_for_the_bucket_what_the_agent_trusts_for_aws(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "proxy-ca.pem"
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with pytest.raises(OrthwebError, match=f"AWS_CA_BUNDLE: {bundle}: No such file"):
        agent._write()
    bundle.write_text("a CA\n")
    agent._write()
    assert (agent._run / composition.BUCKET_CA).read_text() == "a CA\n"


class Runs:
    """An engine that runs what it is told to."""

    def run(self, *_words: str) -> str:
        return "orthweb 0.3.0\n"


@pytest.fixture
def second(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The second of two hosts, both with an agent of before."""
    agent._ops, agent._kept = "ops:1", agent._run
    agent._deployment = Deployment(topology="ha")
    agent._others = {"i-0": HostReport("ready", datetime.now(UTC).isoformat(), agent="ops:1")}
    monkeypatch.setattr(Agent, "engine", Runs())
    monkeypatch.setattr(agent, "serving", lambda: None)
    return agent


def test_serving_host_leaves_a_new_agent_to_the_first_one(second: Agent) -> None:
    with pytest.raises(WaitError, match="i-0 changes to ops:2 first") as raised:
        second._succeed("ops:2")
    assert raised.value.state == "ready"
    second._others = {"i-0": HostReport("draining", datetime.now(UTC).isoformat(), agent="ops:2")}
    with pytest.raises(ReplacedError):
        second._succeed("ops:2")


def test_host_that_does_not_serve_takes_a_new_agent_at_once(second: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "serving", lambda: "refused")
    with pytest.raises(ReplacedError):
        second._succeed("ops:2")


def test_agent_that_is_wanted_is_one_to_return_to(second: Agent) -> None:
    second._succeed("ops:1")
    assert succession.read(second._kept, succession.GOOD) == "ops:1"


def test_images_of_a_machine_that_is_no_instance_are_left_alone(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, ...]]()

    class Listing:
        def run(self, *words: str) -> str:
            asked.append(words)
            return ""

    monkeypatch.setattr(Agent, "engine", Listing())
    agent._prune()
    assert asked == []
    agent._ops = "ops:1"
    agent._prune()
    assert ("image", "ls") in [words[:2] for words in asked]

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orthweb import pki
from orthweb.errors import OrthwebError
from orthweb.host import composition
from orthweb.host.agent import Agent
from orthweb.host.inputs import Known
from orthweb.host.metadata import Instance
from orthweb.host.parameters import Deployment, Parameters
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

"""The agent as systemd starts and ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

DRAINING = """
import orthweb.host
from orthweb.host.loop import Loop, StoppedError, Wanted

class Host:
    def __getattr__(self, name):
        return lambda *words: None

    def fetch(self):
        return Wanted("one", "site", {}, True, {})

    def lock(self):
        import contextlib
        return contextlib.nullcontext(True)

    def drain(self):
        print("drains", flush=True)
        if stop.wait(60):
            raise StoppedError

    def undrain(self):
        print("takes work", flush=True)

def started(settings, run, kept, note, given):
    global stop
    stop = given
    return Loop(Host(), note), lambda: None

orthweb.host.started = started
from orthweb.cli.host import run
run()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_agent_that_is_ended_while_it_drains_takes_work_again_first(number: signal.Signals) -> None:
    words = [sys.executable, "-c", DRAINING]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        assert [agent.stdout.readline().strip() for _ in range(2)] == ["takes work", "drains"]
        agent.send_signal(number)
        said, errors = agent.communicate(timeout=30)
    assert said.split("\n") == ["takes work", ""], errors
    assert agent.returncode == 0, errors

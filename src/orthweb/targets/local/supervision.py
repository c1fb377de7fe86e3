"""Talk to the site's own supervisord: start it, ask it, end it, and see that nothing is left over."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from orthweb.errors import OrthwebError
from orthweb.state import StateFolder

RUNNING = ("RUNNING",)
STARTING = ("STARTING", "BACKOFF")
PROGRAMS = ("postgres", "initdb", "Orthanc", "envoy", "supervisord")
STOP_SECONDS = 75.0
ANSWER_SECONDS = 5.0
"""How long supervisord may take to answer; it does nothing that takes time itself."""

ALREADY_STARTED, NOT_RUNNING = 60, 70
"""supervisor's XML-RPC fault codes."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    """supervisord's own transport waits for ever when supervisord is stopped."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, _host: object) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)


class Supervisor:
    """The supervisord of one site, reached over its Unix socket."""

    def __init__(self, control: Path) -> None:
        self._socket = control
        self._server = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(control))

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._server.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise OrthwebError(
                f"the supervisor does not answer at {self._socket}: {error}", "run `orthweb down`, then `orthweb up`"
            ) from error

    def pid(self) -> int | None:
        """Give the process id of the supervisor that answers, None when none does."""
        with contextlib.suppress(OrthwebError, xmlrpc.client.Error):
            return int(self._call("getPID"))
        return None

    def services(self) -> dict[str, Mapping[str, Any]]:
        """Give what supervisord knows of each service (its ``getProcessInfo``)."""
        return {info["name"]: info for info in self._call("getAllProcessInfo")}

    def start(self, name: str) -> None:
        """Start a service; nothing when it runs."""
        # supervisord ignores the wish of a service that is still stopping, as one does after an interrupted `up`.
        deadline = time.monotonic() + STOP_SECONDS
        while self.services()[name]["statename"] == "STOPPING" and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise OrthwebError(f"{name}: cannot be started: {fault.faultString}", f"orthweb logs {name}") from fault

    def stop(self, *names: str) -> None:
        """Stop services side by side and wait until they have ended."""
        for name in names:
            try:
                self._call("stopProcess", name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != NOT_RUNNING:
                    raise OrthwebError(f"{name}: cannot be stopped: {fault.faultString}") from fault
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            states = self.services()
            if all(states[name]["statename"] in ("STOPPED", "EXITED", "FATAL") for name in names):
                return
            time.sleep(0.05)
        raise OrthwebError(f"{', '.join(names)}: did not stop within {STOP_SECONDS:.0f} s", "run `orthweb down`")

    def update(self) -> None:
        """Take up programs that are new in the configuration, and forget those that are gone from it."""
        [[added, changed, removed]] = self._call("reloadConfig")
        known = self.services()
        gone = [name for name in (*removed, *changed) if name in known]
        self.stop(*gone)
        for name in gone:
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a service."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._call("signalProcess", name, str(int(number)))

    def shut_down(self) -> None:
        """Ask supervisord to stop everything and end; it does so after this returns."""
        with contextlib.suppress(OrthwebError, xmlrpc.client.Fault):
            self._call("shutdown")


def is_up(info: Mapping[str, Any]) -> bool:
    """Tell whether a service has a process: for its first second, supervisord calls it starting.

    Parameters
    ----------
    info : what supervisord knows of it, empty when it does not know it.
    """
    return info.get("statename") in ("RUNNING", "STARTING")


def launch(configuration: Path, log: Path) -> None:
    """Start supervisord in the background, with an environment that carries nothing of the caller's.

    Raises
    ------
    OrthwebError : it did not start; gives its own words.
    """
    # It opens its own log before it has its umask.
    log.touch(mode=0o600)
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    command = [sys.executable, "-I", "-m", "supervisor.supervisord", "-c", str(configuration)]
    done = subprocess.run(
        command, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise OrthwebError(f"the supervisor did not start: {words[-1] if words else 'no message'}")


def listening(pids: Sequence[int]) -> set[int]:
    """Give the TCP ports that these processes listen on."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            connections = psutil.Process(pid).net_connections(kind="tcp")
            found |= {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return found


def leftovers(state: StateFolder) -> list[psutil.Process]:
    """List processes of this site, whoever started them: their command names a file of its state folder."""
    mark = f"{state.root}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            # supervisord is a Python module; the others are programs of their own.
            program = "supervisord" if "supervisor.supervisord" in words else Path(words[0]).name if words else ""
            if program in PROGRAMS and any(mark in word for word in words[1:]) and process.pid != os.getpid():
                found.append(process)
    return found


def end(processes: Sequence[psutil.Process], patience: float = 20.0) -> None:
    """End processes: in order first, by force after `patience` seconds."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            # PostgreSQL's SIGTERM waits for its clients; SIGINT does not.
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
            if process.status() == psutil.STATUS_STOPPED:
                process.resume()  # a stopped process ends when it goes on, and not before
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def wait_gone(pid: int, seconds: float = STOP_SECONDS) -> bool:
    """Wait until a process has ended; tell whether it has.

    One that has ended and was not reaped counts as gone: in some containers nobody reaps.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def memory(pid: int) -> int | None:
    """Give the resident memory of a process and its children in bytes (shared pages counted once each)."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0
    for member in family:
        with contextlib.suppress(psutil.Error):
            info = member.memory_info()
            total += info.rss - (info.shared if member.pid != pid else 0)
    return total

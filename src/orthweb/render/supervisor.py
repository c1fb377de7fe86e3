"""supervisord's configuration: three services that restart by themselves and die with their supervisor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orthweb.errors import UsageError

_UNWRITABLE = re.compile(r"\s[;#]|[\r\n]")
"""What starts a comment or a new line there, even within quotation marks."""

LOG_BYTES = "20MB"
LOG_BACKUPS = 5


@dataclass(frozen=True)
class Account:
    """The user of the machine that a service runs as; None for the user who called ``orthweb``."""

    user: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Service:
    """One supervised program.

    Parameters
    ----------
    name : index, archive or edge.
    command : program and arguments.
    account : who it runs as; None: whoever runs the supervisor.
    stop_signal : what asks it to end in order.
    stop_seconds : how long that may take before it is killed.
    death_signal : what the kernel sends it when the supervisor dies.
    order : lower starts earlier and stops later.
    low_ports : whether it may listen on ports below 1024 though it is not root.
    stdout_log : name of the log of its standard output, when that differs from the service's own log.
    """

    name: str
    command: Sequence[str]
    account: Account | None
    stop_signal: str
    death_signal: str
    order: int
    stop_seconds: int = 60
    low_ports: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    stdout_log: str | None = None


def command(service: Service, setpriv: Path) -> list[str]:
    """Give the full command: no new privileges, the service's own user, and death with the supervisor."""
    words = [str(setpriv)]
    if service.account is not None:
        words += ["--reuid", str(service.account.uid), "--regid", str(service.account.gid), "--clear-groups"]
        if service.low_ports:
            words += ["--inh-caps", "-all,+net_bind_service", "--ambient-caps", "-all,+net_bind_service"]
    # The death signal is asked for last: the kernel forgets it when a process changes its user.
    words += ["--no-new-privs", "--pdeathsig", service.death_signal, "--", *service.command]
    return words


def _escaped(word: str) -> str:
    """Quote a word for supervisord, which splits like a shell and expands ``%``."""
    if any(character.isspace() or character in "\"'\\;" for character in word):
        word = '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return word.replace("%", "%%")


def configuration(services: Sequence[Service], logs: Path, run: Path, setpriv: Path, *, root: bool) -> str:
    """Give ``supervisord.conf`` for `services`; `run` is the folder of its socket.

    Raises
    ------
    UsageError : a path cannot be written there.
    """
    socket = run / "supervisor.sock"
    sections: list[tuple[str, dict[str, object]]] = [
        ("unix_http_server", {"file": socket, "chmod": "0600"}),
        (
            "supervisord",
            {
                "logfile": logs / "supervisor.log",
                "logfile_maxbytes": LOG_BYTES,
                "logfile_backups": LOG_BACKUPS,
                "loglevel": "info",
                "pidfile": run / "supervisor.pid",
                "childlogdir": logs,
                "identifier": "orthweb",
                "umask": "077",
                "nodaemon": "false",
                "silent": "true",
                "strip_ansi": "true",
            }
            | ({"user": "root"} if root else {}),
        ),
        (
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        ("supervisorctl", {"serverurl": f"unix://{socket}"}),
    ]
    for service in services:
        environment = ",".join(f'{key}="{value}"' for key, value in service.environment.items())
        sections.append(
            (
                f"program:{service.name}",
                {
                    "command": " ".join(_escaped(word) for word in command(service, setpriv)),
                    "directory": "/",
                    "priority": service.order,
                    "autostart": "true",
                    "autorestart": "true",
                    "startsecs": 1,
                    # A service that cannot start is tried for minutes: PostgreSQL may be replaying its log.
                    "startretries": 30,
                    "stopsignal": service.stop_signal,
                    "stopwaitsecs": service.stop_seconds,
                    "stdout_logfile": logs / f"{service.stdout_log or service.name}.log",
                    "stdout_logfile_maxbytes": LOG_BYTES,
                    "stdout_logfile_backups": LOG_BACKUPS,
                }
                | (
                    {
                        "stderr_logfile": logs / f"{service.name}.log",
                        "stderr_logfile_maxbytes": LOG_BYTES,
                        "stderr_logfile_backups": LOG_BACKUPS,
                    }
                    if service.stdout_log
                    else {"redirect_stderr": "true"}
                )
                | ({"environment": environment} if environment else {}),
            )
        )
    return "\n".join(_section(name, values) for name, values in sections)


def _section(name: str, values: Mapping[str, object]) -> str:
    # supervisord expands ``%`` in the names of a program's logs twice (4.3).
    percent = {"command": "%", "stdout_logfile": "%%%%", "stderr_logfile": "%%%%"}
    lines = [f"{key}={str(value).replace('%', percent.get(key, '%%'))}" for key, value in values.items()]
    for line in lines:
        if _UNWRITABLE.search(line):
            raise UsageError(
                f"{line}: supervisord's configuration cannot hold this path",
                "move the site file to a folder without line breaks, and without ; or # after a space",
            )
    return "\n".join([f"[{name}]", *lines, ""])

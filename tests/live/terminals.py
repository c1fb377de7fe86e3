"""A person's terminal: what is typed and what is seen."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence


def at_a_terminal(command: Sequence[str], *answers: tuple[str, str], seconds: float = 120) -> tuple[int, str]:
    """Run a command at a terminal; answer each question once it is seen. Give exit code and what was on the screen.

    Parameters
    ----------
    answers : pairs of the question's last words and the answer.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    screen, waiting, deadline = "", list(answers), time.monotonic() + seconds
    try:
        while True:
            assert time.monotonic() < deadline, f"{command}: still running; on the screen: {screen}"
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                seen = os.read(master, 65536)
            except OSError:  # Linux: the last one who had the terminal open has gone
                break
            if not seen:
                break
            screen += seen.decode(errors="replace")
            if waiting and waiting[0][0] in screen:
                os.write(master, waiting.pop(0)[1].encode() + b"\n")
        code = process.wait(seconds)
    finally:
        os.close(master)
        if process.poll() is None:
            process.kill()
            process.wait()
    assert not waiting, f"{command}: never asked {waiting}; on the screen: {screen}"
    return code, screen.replace("\r\n", "\n")

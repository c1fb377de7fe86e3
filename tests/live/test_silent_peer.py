"""Connections that say nothing must not keep DICOM from the others."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack

from live.sites import LiveSite
from orthweb.dicom.echo import echo
from orthweb.dicom.peer import Peer, Timeouts


def test_echo_when_others_hold_silent_tls_connections_then_answers_at_once(site: LiveSite) -> None:
    access = site.access
    context = ssl.create_default_context(cafile=str(access.ca))
    with ExitStack() as silent:
        for _ in range(10):
            plain = socket.create_connection((access.host, access.dicom_port), timeout=5)
            silent.enter_context(context.wrap_socket(plain, server_hostname=access.host))
        echo(Peer.of_site(access, timeouts=Timeouts(3, 3, 3)))

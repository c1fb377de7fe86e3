"""Answers that pynetdicom's own threads would throw away."""

from __future__ import annotations

import threading
import time

from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from live.sites import LiveSite
from orthweb.dicom.association import associate
from orthweb.dicom.peer import Peer, Timeouts

SECONDS = 5.0


def test_many_operations_on_parallel_associations_then_every_answer_arrives(site: LiveSite) -> None:
    peer = Peer.of_site(site.access, timeouts=Timeouts(5, 10, 3))
    answered = lost = 0
    lock = threading.Lock()

    def run() -> None:
        nonlocal answered, lost
        end = time.monotonic() + SECONDS
        with associate(peer, [build_context(Verification)]) as association:
            while time.monotonic() < end and association.is_established:
                good = "Status" in association.send_c_echo()
                with lock:
                    answered += good
                    lost += not good

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answered > 200
    assert lost == 0

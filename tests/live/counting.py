"""Account for every acknowledged instance: send, note what the archive promised, and look for it afterwards.

A success to a C-STORE (PS3.4 B.2.3) is a promise. The sender here keeps its own books, apart from the program's
own sender and journal, so that neither can hide the other's mistake.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from live.sites import LiveSite
from orthweb.access import SiteAccess
from orthweb.dicom.association import associate
from orthweb.dicom.peer import Peer, Timeouts
from orthweb.dicom.phantom import PhantomStudy, encode
from orthweb.errors import OrthwebError
from orthweb.targets.host.readiness import ready

SMALL = 64 * 64 * 2
"""Bytes of pixels in an instance of these tests: what counts here is how many there are."""

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
TIMEOUTS = Timeouts(connect=5, association=20, response=15)
"""Longer than the archive waits for its index, which is ten seconds."""


@dataclass(frozen=True)
class Sample:
    """An instance to send, and how to find it again.

    Parameters
    ----------
    archive_id : Orthanc's identifier: SHA-1 of the four identifying attributes (Orthanc Book, "Orthanc identifiers").
    """

    uid: str
    archive_id: str
    path: Path
    content: bytes = field(repr=False)


def samples(folder: Path, count: int, *, seed: str, size: int = SMALL) -> list[Sample]:
    """Make `count` CT slices, each in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    study = PhantomStudy(seed)
    found = []
    for number in range(1, count + 1):
        image = study.slice(number, size=size)
        found.append(_sample(folder / f"{number:04}.dcm", image, str(image.SOPInstanceUID), encode(image)))
    return found


def many_samples(folder: Path, count: int, *, seed: str, series: int) -> list[Sample]:
    """Make tiny instances of one study quickly, the series in turns: each is a copy with another SOP Instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    study = PhantomStudy(seed)
    images = [study.slice(1, series=number + 1, size=512) for number in range(series)]
    contents = [encode(image) for image in images]
    found = []
    for number in range(count):
        image, content = images[number % series], contents[number % series]
        old = str(image.SOPInstanceUID)
        new = f"{old[:-5]}{number:05}"
        made = content.replace(old.encode(), new.encode())
        found.append(_sample(folder / f"{number:05}.dcm", image, new, made))
    return found


def _sample(path: Path, image: Dataset, uid: str, content: bytes) -> Sample:
    words = (image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID, uid)
    digest = hashlib.sha1("|".join(map(str, words)).encode()).hexdigest()
    path.write_bytes(content)
    return Sample(uid, "-".join(digest[start : start + 8] for start in range(0, 40, 8)), path, content)


def data_set(file: bytes) -> bytes:
    """Cut preamble and File Meta Information off (PS3.10 7.1): an archive writes its own, and nothing else changes."""
    assert file[128:132] == b"DICM", "not a DICOM file"
    assert file[132:140] == b"\x02\x00\x00\x00UL\x04\x00", "no group length"
    (length,) = struct.unpack("<L", file[140:144])
    return file[144 + length :]


class Sending:
    """A send that goes on in the background, over several associations, through whatever happens to the site.

    Parameters
    ----------
    site : where to send: a site, or a peer of another kind.
    patience : seconds in which an instance whose answer was lost or bad is sent again; 0: each is tried once.
    """

    def __init__(
        self, site: LiveSite | Peer, waiting: Sequence[Sample], *, associations: int = 3, patience: float = 90
    ) -> None:
        self.peer = site if isinstance(site, Peer) else Peer.of_site(site.access, timeouts=TIMEOUTS)
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.lost_associations = 0
        self._waiting = deque(waiting)
        self._deadline = time.monotonic() + patience
        self._patience = patience
        self._news = threading.Condition()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(associations)]

    def __str__(self) -> str:
        """Sum up, for a failing test and for its report."""
        refused = {f"{status:04X}": count for status, count in sorted(self.statuses.items()) if status}
        return f"{len(self.acknowledged)} acknowledged, refused {refused}, {self.lost_associations} associations lost"

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Wait until `count` instances are acknowledged."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.acknowledged) >= count, seconds), f"stuck: {self}"

    def stop(self) -> None:
        """Leave out what was not sent yet."""
        with self._news:
            self._waiting.clear()

    def finish(self) -> None:
        """Wait until nothing is left to send, or patience is at its end."""
        for thread in self._threads:
            thread.join(max(1.0, self._deadline - time.monotonic()) + 3 * TIMEOUTS.response)
            assert not thread.is_alive(), f"a sender hangs: {self}"

    def _next(self) -> Sample | None:
        with self._news:
            return self._waiting.popleft() if self._waiting else None

    def _again(self, sample: Sample) -> bool:
        if time.monotonic() > self._deadline or not self._patience:
            return False
        with self._news:
            self._waiting.append(sample)
        return True

    def _run(self) -> None:
        while sample := self._next():
            try:
                with associate(self.peer, [build_context(CT_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN)]) as association:
                    self._send(association, sample)
            except OrthwebError:
                if not self._again(sample):
                    return
                # The edge refuses at once while it or the archive is away.
                time.sleep(0.1)

    def _send(self, association: Association, first: Sample) -> None:
        sample: Sample | None = first
        while sample is not None:
            status: int | None = None
            try:
                answer = association.send_c_store(sample.path)
                status = int(answer.Status) if "Status" in answer else None
            except (RuntimeError, ValueError):
                status = None
            if status is None:
                with self._news:
                    self.lost_associations += 1
                self._again(sample)
                association.abort()
                return
            with self._news:
                self.statuses[status] += 1
                if status == 0:
                    self.acknowledged.add(sample.uid)
                    self._news.notify_all()
            if status != 0 and not self._again(sample) and self._patience:
                return
            sample = self._next()


@contextmanager
def sending(site: LiveSite | Peer, waiting: Sequence[Sample], **options: float) -> Iterator[Sending]:
    """Send in the background while the block runs; at its end everything has been tried."""
    made = Sending(site, waiting, **options)  # type: ignore[arg-type]
    made.start()
    yield made
    made.finish()


@dataclass(frozen=True)
class Account:
    """What was promised and what is there.

    Parameters
    ----------
    missing, changed : acknowledged instances that are gone, or whose data set has other bytes.
    """

    acknowledged: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unacknowledged_found: int

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.missing and not self.changed

    def __str__(self) -> str:
        intact = self.acknowledged - len(self.missing) - len(self.changed)
        return (
            f"acknowledged {self.acknowledged}, found intact {intact}, missing {len(self.missing)}, "
            f"changed {len(self.changed)}, found without acknowledgement {self.unacknowledged_found}"
        )


def client(access: SiteAccess, timeout: float = 60, *, http2: bool = False) -> httpx.Client:
    """Give an HTTPS client that is signed in."""
    import ssl

    return httpx.Client(
        base_url=access.url,
        verify=ssl.create_default_context(cafile=str(access.ca)),
        auth=httpx.BasicAuth(access.credentials.user, access.credentials.password),
        timeout=timeout,
        trust_env=False,
        http2=http2,
    )


def account(site: LiveSite | httpx.Client, sent: Sequence[Sample], acknowledged: set[str]) -> Account:
    """Fetch every instance from a site, or with a client of an Orthanc, and compare it with what was sent."""
    missing, changed, extra = [], [], 0
    with site if isinstance(site, httpx.Client) else client(site.access) as http, ThreadPoolExecutor(4) as pool:

        def fetch(sample: Sample) -> bytes | None:
            answer = http.get(f"/instances/{sample.archive_id}/file")
            assert answer.status_code in (200, 404), f"the archive answers {answer.status_code}: {answer.text}"
            return answer.content if answer.status_code == 200 else None

        for sample, file in zip(sent, pool.map(fetch, sent), strict=True):
            promised = sample.uid in acknowledged
            if file is None and promised:
                missing.append(sample.uid)
            elif file is not None and data_set(file) != data_set(sample.content):
                changed.append(sample.uid)
            elif file is not None and not promised:
                extra += 1
    return Account(len(acknowledged), tuple(missing), tuple(changed), extra)


def answers(site: LiveSite) -> bool:
    """Tell whether a C-ECHO and the archive's statistics come through the edge."""
    return ready(site.access) is None


def eventually(what: Callable[[], bool], seconds: float, message: str) -> None:
    """Wait for something that no event announces."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)

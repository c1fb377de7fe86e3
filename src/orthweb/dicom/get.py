"""C-GET (PS3.4 Annex C): the peer sends what matches on the same association.

The storage presentation contexts must be proposed before it is known what comes. So we first ask (C-FIND)
which instances match; then one context for each SOP class *and* transfer syntax lets the peer send each
file as it is. What does not fit into the 128 contexts of one association is fetched over further ones.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import evt
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext, StoragePresentationContexts, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from orthweb.dicom.association import associate, lost
from orthweb.dicom.errors import ContextError, StatusError
from orthweb.dicom.find import Level, find_on, identifier, model_for
from orthweb.dicom.move import Suboperations, retrieve_keys
from orthweb.dicom.peer import Peer
from orthweb.dicom.status import category, describe
from orthweb.errors import OrthwebError

TRANSFER_SYNTAXES: tuple[str, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGBaseline8Bit,
    JPEG2000,
    JPEGLSLossless,
    RLELossless,
    JPEGLSNearLossless,
    JPEGExtended12Bit,
    JPEGLossless,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2K,
    MPEG2MPML,
    MPEG4HP41,
)
"""What we take, each in a context of its own so that the peer never has to transcode."""

MAX_CONTEXTS = 128
"""PS3.8 9.3.2.2: context IDs are the odd numbers from 1 to 255."""

UIDS_PER_REQUEST = 500
"""SOP Instance UIDs listed in one instance-level C-GET."""

_UID = re.compile(r"[0-9][0-9.]{0,63}")


@dataclass(frozen=True)
class GetResult:
    """What a C-GET brought.

    Parameters
    ----------
    expected : instances that matched, where the peer could tell beforehand.
    received : instances that arrived and were kept.
    failed : instances that the peer could not send or that we could not keep.
    problems : one line for each kind of failure.
    """

    expected: int | None = None
    received: int = 0
    failed: int = 0
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Request:
    """One C-GET: its Identifier and the SOP classes that it may bring."""

    level: Level
    asked: Dataset
    sop_classes: tuple[str, ...]


Receiver = Callable[[bytes, str], None]
"""Takes one DICOM file (PS3.10, with File Meta Information) and its SOP Instance UID."""


def get(
    peer: Peer,
    keys: Mapping[str, str],
    destination: Path | Receiver,
    *,
    level: Level = "study",
    on_progress: Callable[[GetResult], None] | None = None,
) -> GetResult:
    """Fetch what matches into a folder (or hand each file to a function).

    Files are named ``<study>/<series>/<instance>.dcm`` by their UIDs and appear only when complete.
    Instances that failed are in the result, not an error.

    Parameters
    ----------
    keys : keyword -> value, with the unique key of the level.
    destination : a folder (made if missing), or a function of (file bytes, SOP Instance UID).

    Raises
    ------
    UsageError, PeerError
        Nothing could be fetched; ``StatusError`` with 0x0112 if nothing matches.
    """
    asked = retrieve_keys(level, keys)
    receive = folder_receiver(destination) if isinstance(destination, Path) else destination
    instances = _listing(peer, level, asked)
    if instances is not None and not instances:
        raise StatusError(f"{peer}: C-GET: nothing matches", 0x0112, "`orthweb dicom find` shows what the peer has")
    progress = _Progress(peer, receive, on_progress, len(instances) if instances is not None else None)
    for request in plan(level, asked, instances):
        progress.run(request)
    return progress.result()


def plan(level: Level, asked: Dataset, instances: Sequence[tuple[str, str, str, str]] | None) -> Iterator[Request]:
    """Split a retrieval so that each association needs at most 128 presentation contexts.

    Parameters
    ----------
    instances : (study, series, instance, SOP class) UIDs of what matches; None if the peer did not tell.
    """
    per_association = (MAX_CONTEXTS - 1) // len(TRANSFER_SYNTAXES)
    if instances is None:
        yield Request(level, asked, ())
        return
    classes = sorted({sop_class for *_, sop_class in instances})
    if len(classes) <= per_association:
        yield Request(level, asked, tuple(classes))
        return
    for start in range(0, len(classes), per_association):
        group = tuple(classes[start : start + per_association])
        by_series: dict[tuple[str, str], list[str]] = defaultdict(list)
        for study, series, instance, sop_class in instances:
            if sop_class in group:
                by_series[study, series].append(instance)
        for (study, series), uids in by_series.items():
            for first in range(0, len(uids), UIDS_PER_REQUEST):
                narrowed = identifier(
                    "instance",
                    {
                        "StudyInstanceUID": study,
                        "SeriesInstanceUID": series,
                        "SOPInstanceUID": "\\".join(uids[first : first + UIDS_PER_REQUEST]),
                    },
                )
                yield Request("instance", narrowed, group)


def contexts_for(request: Request) -> list[PresentationContext]:
    """Propose the C-GET itself and a context for each SOP class and transfer syntax."""
    model = (
        PatientRootQueryRetrieveInformationModelGet
        if request.level == "patient"
        else StudyRootQueryRetrieveInformationModelGet
    )
    if request.sop_classes:
        storage = [build_context(uid, syntax) for uid in request.sop_classes for syntax in TRANSFER_SYNTAXES]
    else:
        common = [cx.abstract_syntax for cx in StoragePresentationContexts if cx.abstract_syntax is not None]
        storage = [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in common[: MAX_CONTEXTS - 1]]
    return [build_context(model), *storage]


def _listing(peer: Peer, level: Level, asked: Dataset) -> list[tuple[str, str, str, str]] | None:
    """List what matches, level by level; None if the peer does not do C-FIND."""
    model = StudyRootQueryRetrieveInformationModelFind
    wanted = [build_context(model)] + ([build_context(model_for("patient"))] if level == "patient" else [])
    rows = []
    try:
        with associate(peer, wanted) as association:

            def ask(at: Level, **keys: str) -> list[Dataset]:
                return list(find_on(peer, association, identifier(at, keys), str(model)))

            def text(name: str) -> str:
                value = asked.get(name)
                return "" if value is None else value if isinstance(value, str) else "\\".join(map(str, value))

            studies = [text("StudyInstanceUID")]
            if level == "patient" or not studies[0] or "\\" in studies[0]:
                found = ask("study", PatientID=text("PatientID"), StudyInstanceUID=studies[0])
                studies = [str(study.StudyInstanceUID) for study in found]
            for study in studies:
                series_keys = {"StudyInstanceUID": study, "SeriesInstanceUID": text("SeriesInstanceUID")}
                for series in ask("series", **series_keys):
                    instances = ask(
                        "instance",
                        StudyInstanceUID=study,
                        SeriesInstanceUID=str(series.SeriesInstanceUID),
                        SOPInstanceUID=text("SOPInstanceUID"),
                        SOPClassUID="",
                    )
                    for found_one in instances:
                        sop_class = str(found_one.get("SOPClassUID") or "")
                        if not sop_class:
                            return None
                        rows.append((study, str(series.SeriesInstanceUID), str(found_one.SOPInstanceUID), sop_class))
    except (ContextError, StatusError):
        return None
    return rows


class _Progress:
    """Counts over all requests of one retrieval."""

    def __init__(
        self, peer: Peer, receive: Receiver, on_progress: Callable[[GetResult], None] | None, expected: int | None
    ) -> None:
        self._peer = peer
        self._receive = receive
        self._on_progress = on_progress
        self._expected = expected
        self._received = 0
        self._failed = 0
        self._problems: dict[str, None] = {}

    def result(self) -> GetResult:
        failed = self._failed
        problems = list(self._problems)
        if self._expected is not None and self._received + failed < self._expected:
            failed = self._expected - self._received
            problems.append("the peer sent fewer instances than matched")
        return GetResult(self._expected, self._received, failed, tuple(problems))

    def run(self, request: Request) -> None:
        peer = self._peer
        contexts = contexts_for(request)
        model = contexts[0].abstract_syntax
        assert model is not None
        roles = tuple(dict.fromkeys(str(cx.abstract_syntax) for cx in contexts[1:]))
        refused_here = self._failed
        with associate(peer, contexts, scp_roles=roles, handlers=[(evt.EVT_C_STORE, self._on_store)]) as association:
            last = Suboperations()
            waited = time.monotonic()
            for answer, details in association.send_c_get(request.asked, model):
                if "Status" not in answer:
                    raise lost(peer, association, time.monotonic() - waited)
                last = Suboperations.of(answer, details)
                waited = time.monotonic()
        if category(last.status) == "failure" and not (last.completed or last.failed or self._received):
            raise StatusError(f"{peer}: C-GET: {describe(last.status)}", last.status)
        if last.failed:
            self._failed = refused_here + last.failed
            self._problems[f"{last.failed} not sent by the peer: {describe(last.status)}"] = None

    def _on_store(self, event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        try:
            self._receive(event.encoded_dataset(), uid)
        except (OSError, OrthwebError, ValueError) as error:
            self._failed += 1
            self._problems[f"cannot keep an instance: {error}"] = None
            return 0xA700
        self._received += 1
        if self._on_progress is not None:
            self._on_progress(replace(self.result(), failed=self._failed, problems=()))
        return 0x0000


def folder_receiver(folder: Path) -> Receiver:
    """Keep each file as ``<study>/<series>/<instance>.dcm``; a file appears only when it is complete."""

    def receive(content: bytes, uid: str) -> None:
        header = dcmread(
            BytesIO(content), stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"]
        )
        parts = [str(header.get("StudyInstanceUID", "")), str(header.get("SeriesInstanceUID", "")), uid]
        # The names come from the network: anything but digits and dots could leave the folder.
        if not all(_UID.fullmatch(part) for part in parts):
            raise ValueError("its UIDs are not valid")
        where = folder / parts[0] / parts[1]
        where.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=where, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).replace(where / f"{uid}.dcm")
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    return receive

"""Group ``dicom``: the services of the DICOM port, over TLS, as any modality would use them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, StoragePresentationContexts, evt

from orthweb.checks import probe, strangers
from orthweb.checks.check import CheckFailed, NotApplicable, check
from orthweb.checks.subject import Instance, dataset_bytes
from orthweb.dicom.echo import echo as c_echo
from orthweb.dicom.errors import LostError, TlsError
from orthweb.dicom.find import find as c_find
from orthweb.dicom.get import get as c_get
from orthweb.dicom.move import move as c_move

if TYPE_CHECKING:
    from orthweb.access import CertificatePair, MoveDestination
    from orthweb.checks.context import Context

SILENT = 3
"""Silent connections opened at once: more than one, so that a server with two places is seen through too."""

_LOGS = "see `orthweb logs archive` and `orthweb logs edge`"


def same_instances(sent: list[Instance], received: dict[str, bytes]) -> str:
    """Compare data sets byte for byte (File Meta Information is the writer's own).

    Raises
    ------
    CheckFailed : one is missing or differs.
    """
    missing = [instance for instance in sent if instance.sop_instance not in received]
    if missing:
        raise CheckFailed(f"{len(missing)} of {len(sent)} instances did not come back")
    changed = [i for i in sent if dataset_bytes(i.content) != dataset_bytes(received[i.sop_instance])]
    if changed:
        raise CheckFailed(f"{len(changed)} of {len(sent)} instances came back with another data set")
    size = sum(len(dataset_bytes(instance.content)) for instance in sent)
    return f"{len(sent)} data sets ({size} bytes) identical"


@check(
    "dicom.echo",
    "C-ECHO over TLS",
    "The archive accepts an association over verified TLS and answers C-ECHO with success",
    hint=_LOGS,
)
def echo(context: Context) -> str:
    """Call C-ECHO (PS3.4 Annex A)."""
    result = c_echo(context.peer())
    if result.tls_version is None:
        raise CheckFailed("the association is not encrypted")
    return f"success in {result.echo_seconds * 1000:.0f} ms over {result.tls_version} {result.cipher}"


@check(
    "dicom.store",
    "C-STORE over TLS",
    "The archive stores CT slices of the test patient and answers success",
    hint=f"is the disk full, or the index down? {_LOGS}",
)
def store(context: Context) -> str:
    """Call C-STORE (PS3.4 Annex B)."""
    instances = context.sent()
    return f"{len(instances)} CT slices stored ({sum(len(instance.content) for instance in instances)} bytes)"


@check(
    "dicom.find",
    "C-FIND over TLS",
    "A query by patient ID finds the study just stored, with its instances, and no other patient's",
    hint=f"does the index answer? {_LOGS}",
)
def find(context: Context) -> str:
    """Call C-FIND at study and instance level (PS3.4 Annex C)."""
    sent = context.sent()
    studies = list(c_find(context.peer(), "study", {"PatientID": context.patient.patient_id, "StudyInstanceUID": ""}))
    if any(str(study.get("PatientID", "")) != context.patient.patient_id for study in studies):
        raise CheckFailed("a query by patient ID also gave studies of other patients")
    if sent[0].study not in {str(study.get("StudyInstanceUID", "")) for study in studies}:
        raise CheckFailed(f"{len(studies)} studies match the test patient's ID; the stored one is not among them")
    keys = {"StudyInstanceUID": sent[0].study, "SeriesInstanceUID": sent[0].series}
    found = {str(match.get("SOPInstanceUID", "")) for match in c_find(context.peer(), "instance", keys)}
    if found != {instance.sop_instance for instance in sent}:
        raise CheckFailed(f"{len(found)} instances match the series, {len(sent)} were stored")
    return f"study found by patient ID; {len(found)} of {len(sent)} instances in its series"


@check(
    "dicom.get",
    "C-GET over TLS",
    "C-GET of the study brings every instance back with the same data set",
    hint=_LOGS,
)
def get(context: Context) -> str:
    """Call C-GET (PS3.4 Annex C.4.3)."""
    sent = context.sent()
    received: dict[str, bytes] = {}
    lock = threading.Lock()

    def receive(content: bytes, uid: str) -> None:
        with lock:
            received[uid] = content

    result = c_get(context.peer(), {"StudyInstanceUID": sent[0].study}, receive)
    if result.failed:
        raise CheckFailed(f"{result.failed} of {result.expected} failed: {'; '.join(result.problems)}")
    return same_instances(sent, received)


@check(
    "dicom.move",
    "C-MOVE over TLS",
    "C-MOVE makes the archive send the study over TLS to a storage SCP of ours, with the same data set",
    hint=f"is the port of the checks' storage SCP free? {_LOGS}",
)
def move(context: Context) -> str:
    """Call C-MOVE (PS3.4 Annex C.4.2) to our own storage SCP."""
    destination = context.access.move_destination
    if destination is None:
        raise NotApplicable("the archive cannot reach the caller, so nothing can be moved here")
    sent = context.sent()
    received: dict[str, bytes] = {}
    versions: set[str] = set()
    with storage_scp(destination, destination.ca or context.access.ca, received, versions):
        result = c_move(context.peer(), {"StudyInstanceUID": sent[0].study}, destination.aet)
    if result.failed or result.status != 0x0000:
        raise CheckFailed(
            f"{result.completed} sent, {result.failed} failed, status 0x{result.status:04X}", "see `orthweb logs edge`"
        )
    return f"{same_instances(sent, received)}, received over {', '.join(sorted(versions))}"


@contextmanager
def storage_scp(
    destination: MoveDestination, ca: Path, received: dict[str, bytes], versions: set[str]
) -> Iterator[None]:
    """Listen as a storage SCP over TLS while the block runs; the caller must show a certificate of the site's CA.

    Parameters
    ----------
    received : filled with SOP Instance UID -> DICOM file.
    versions : filled with the TLS versions of the associations.
    """

    def on_store(event: Any) -> int:
        received[str(event.request.AffectedSOPInstanceUID)] = event.encoded_dataset()
        return 0x0000

    def on_connection(event: Any) -> None:
        raw = event.assoc.dul.socket.socket
        if isinstance(raw, ssl.SSLSocket):
            versions.add(raw.version() or "?")

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(destination.identity.certificate, destination.identity.key)
    application = AE(ae_title=destination.aet)
    application.supported_contexts = StoragePresentationContexts
    application.network_timeout = 20
    try:
        server = application.start_server(
            (destination.host, destination.port),
            block=False,
            ssl_context=tls,
            evt_handlers=[(evt.EVT_C_STORE, on_store), (evt.EVT_ACCEPTED, on_connection)],
        )
    except OSError as error:
        raise CheckFailed(
            f"cannot listen on {destination.host}:{destination.port}: {error.strerror}",
            "another `orthweb validate` may be running: wait for it",
        ) from error
    assert server is not None
    try:
        yield
    finally:
        server.shutdown()


@check(
    "dicom.plaintext",
    "Plain DICOM refused",
    "An association request without TLS gets no DICOM answer",
    hint="the DICOM port must be the edge's: see `orthweb status`",
)
def plaintext(context: Context) -> str:
    """Ask for an association without TLS."""
    access = context.access
    request = probe.association_request(access.aet, context.peer().calling_aet)
    answer = probe.plaintext_answer(access.host, access.dicom_port, request)
    if answer and answer[0] in probe.DICOM_ANSWERS:
        raise CheckFailed(f"port {access.dicom_port} {probe.DICOM_ANSWERS[answer[0]]} without TLS")
    return f"port {access.dicom_port} closed the connection without a DICOM answer"


@check(
    "dicom.wrong_ca",
    "DICOM: wrong CA refused",
    "A client that trusts another CA refuses the DICOM port's certificate",
    hint="the port must show a certificate of the site's CA: `orthweb up` renews it",
)
def wrong_ca(context: Context) -> str:
    """Do a handshake as a client that trusts a CA made up on the spot."""
    return strangers.distrusts(context.access.host, context.access.dicom_port)


@check(
    "dicom.client_certificates",
    "Client certificate policy",
    "The DICOM port enforces the site's client certificate policy: off, optional or required",
    hint="tls.client_certificates in the site file decides; `orthweb up` applies it",
)
def client_certificates(context: Context) -> str:
    """Call C-ECHO without a client certificate, with one of another CA, and with an issued one."""
    policy = context.access.client_certificates
    with TemporaryDirectory(prefix="orthweb-") as folder:
        stranger = strangers.client_certificate(Path(folder))
        cases: dict[str, tuple[CertificatePair | None, bool]] = {
            "none": (None, policy != "required"),
            "one of another CA": (stranger, policy == "off"),
        }
        if context.access.client is not None:
            cases["an issued one"] = (context.access.client, True)
        seen = []
        for name, (pair, welcome) in cases.items():
            problem = _connects(context, pair)
            if welcome and problem is not None:
                raise CheckFailed(f"policy {policy}: with {name} refused: {problem}")
            if not welcome and problem is None:
                raise CheckFailed(f"policy {policy}: with {name} accepted")
            seen.append(f"{name} {'accepted' if welcome else 'refused'}")
    return f"policy {policy}: {', '.join(seen)}"


def _connects(context: Context, pair: CertificatePair | None) -> str | None:
    """Call C-ECHO with a client certificate; give None for success, else why TLS refused.

    Raises
    ------
    PeerError : it failed for a reason that is no refusal (nothing listens, no answer).
    """
    peer = context.peer()
    assert peer.tls is not None
    try:
        c_echo(replace(peer, tls=replace(peer.tls, certificate=pair)))
    except (TlsError, LostError) as refusal:
        return refusal.message
    return None


@check(
    "dicom.silent_peer",
    "Silent peers do not block",
    "While a peer keeps connections open and says nothing, another one is served at once",
    hint="the edge must not open a connection to the archive before the peer has spoken: `orthweb up` renders it so",
)
def silent_peer(context: Context) -> str:
    """Open TLS sessions without an association request, then call C-ECHO beside them."""
    with ExitStack() as silent:
        for _ in range(SILENT):
            opened = silent.enter_context(probe.connection(context.access.host, context.access.dicom_port))
            tls = context.tls(alpn=(), client=context.access.client)
            silent.enter_context(tls.wrap_socket(opened, server_hostname=context.access.host))
        result = c_echo(context.peer())
    return f"C-ECHO in {result.association_seconds + result.echo_seconds:.2f} s beside {SILENT} silent connections"


CHECKS = (echo, store, find, get, move, plaintext, wrong_ca, client_certificates, silent_peer)

"""What one run of ``validate`` shares between its checks: the site, clients for it, and the test patient."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from orthweb.checks import archive
from orthweb.checks.check import CheckFailed, NotApplicable
from orthweb.checks.once import Once
from orthweb.checks.subject import BULK_INSTANCES, Instance, TestPatient, is_leftover, new_patient_id
from orthweb.dicom.peer import Peer, Timeouts
from orthweb.dicom.store import store
from orthweb.verification import client_context

if TYPE_CHECKING:
    from orthweb.access import CertificatePair, SiteAccess
    from orthweb.checks.facts import HostFacts, IndexFacts, StoreFacts

CALLING_AET = "ORTHWEBCHECK"
"""What the checks call themselves where the site has no modality reserved for them."""

PATIENCE = 10.0
"""Seconds that one answer may take; the site lies at hand or on the same continent."""


@dataclass(frozen=True)
class Removal:
    """What was removed after the checks: patients of this run, and of earlier ones that were killed."""

    own: int
    leftovers: int


class Context:
    """Everything that a check may use.

    Parameters
    ----------
    access : endpoints, trust and credentials of the site.
    host : what the target tells about its host; None where it cannot.
    """

    def __init__(self, access: SiteAccess, host: HostFacts | None = None) -> None:
        """Prepare a run; nothing is sent before a check asks for it."""
        self.access = access
        self.host = host
        self.started = datetime.now(UTC)
        self.patient = TestPatient(new_patient_id(self.started))
        self.sent = Once(self._send_by_dicom)
        self.posted = Once(self._send_by_stow)
        self.http = Once(lambda: self.client())
        self.removed = Once(self._remove)
        self.notes: dict[str, list[str]] = {}
        self._sending = threading.Lock()
        self._closed = False
        self._anything_sent = False

    @property
    def facts(self) -> HostFacts:
        """What the target tells about its host.

        Raises
        ------
        NotApplicable : it cannot.
        """
        if self.host is None:
            raise NotApplicable("this target does not let the caller look at its host")
        return self.host

    @property
    def index(self) -> IndexFacts:
        """How to reach the index, or ``NotApplicable``."""
        if self.facts.index is None:
            raise NotApplicable("the index cannot be reached from here")
        return self.facts.index

    @property
    def store(self) -> StoreFacts:
        """Where the files lie, or ``NotApplicable``."""
        if self.facts.store is None:
            raise NotApplicable("the store cannot be looked into from here")
        return self.facts.store

    def tls(self, *, alpn: Sequence[str] = ("http/1.1",), client: CertificatePair | None = None) -> ssl.SSLContext:
        """Make a client's TLS context that trusts the site's CA alone and verifies the name."""
        context = client_context(self.access.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def client(self, *, user: str | None = None, password: str | None = None, http2: bool = False) -> httpx.Client:
        """Make an HTTPS client: the administrator's login, or another, or (``user=""``) none."""
        login = self.access.credentials
        auth = (
            None
            if user == ""
            else httpx.BasicAuth(user or login.user, login.password if password is None else password)
        )
        return httpx.Client(
            base_url=self.access.url,
            verify=self.tls(alpn=("h2", "http/1.1") if http2 else ("http/1.1",)),
            auth=auth,
            timeout=PATIENCE,
            http2=http2,
            trust_env=False,
        )

    def peer(self) -> Peer:
        """Give the archive as a DICOM peer, called by the AE title that the site keeps for its checks."""
        destination = self.access.move_destination
        return Peer.of_site(
            self.access,
            calling_aet=destination.aet if destination else (self.access.check_aet or CALLING_AET),
            timeouts=Timeouts(connect=PATIENCE / 2, association=PATIENCE, response=PATIENCE),
        )

    def _send_by_dicom(self) -> list[Instance]:
        """Send two slices with C-STORE."""
        instances = self.patient.slices("sent", 2)
        with self._opened():
            answers = list(store(self.peer(), [instance.dataset for instance in instances]))
        refused = [str(answer) for answer in answers if not answer.stored]
        if refused:
            raise CheckFailed(f"the archive refused {len(refused)} of {len(answers)}: {refused[0]}")
        return instances

    def _send_by_stow(self) -> list[Instance]:
        """Send a series of slices of usual size and a multi-frame image with one STOW-RS request."""
        instances = [*self.patient.slices("posted", BULK_INSTANCES, 512 * 1024), self.patient.multiframe("posted")]
        with self._opened():
            archive.stow(self.http(), instances)
        return instances

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Hold the lock to send under: nothing is sent any more once removal has begun."""
        with self._sending:
            # In this order: whoever closes looks at these two in the other one.
            self._anything_sent = True
            if self._closed:
                raise CheckFailed("the run is over")
            yield

    def close(self) -> None:
        """Remove the test patient, if any was sent; what fails is told by ``removed``."""
        self._closed = True
        if self._anything_sent:
            self.removed()

    def _remove(self) -> Removal:
        """Delete this run's patient and those that killed runs left; make sure that they are gone."""
        self._closed = True
        # A sender that hangs must not keep the rest from being removed.
        held = self._sending.acquire(timeout=PATIENCE)
        try:
            with self.client() as client:
                own = archive.patients(client, self.patient.patient_id)
                others = archive.patients(client, "ORTHWEB-VALIDATION-*")
                now = datetime.now(UTC)
                old = {key: name for key, name in others.items() if is_leftover(name, now) and key not in own}
                for key in [*own, *old]:
                    archive.delete_patient(client, key)
                left = archive.patients(client, self.patient.patient_id)
        finally:
            if held:
                self._sending.release()
        if left:
            raise CheckFailed("the test patient is still in the archive after its deletion")
        return Removal(len(own), len(old))

    def redact(self, text: str) -> str:
        """Take out of a text what no report may show: passwords, and whatever carries the test patient's ID."""
        for secret in (self.access.credentials.password,):
            if secret:
                text = text.replace(secret, "(secret)")
        return re.sub(re.escape(self.patient.patient_id), "(test patient)", text)

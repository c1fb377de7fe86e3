"""Sending with STOW-RS (PS3.18 10.5) over HTTP/2: where only HTTPS gets through, or latency is high.

One request carries many instances, so that one round trip answers for all of them.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
from pynetdicom.dsutils import encode_file_meta

from orthweb.access import Credentials, SiteAccess
from orthweb.dicom.errors import LostError, PeerError, RejectedError, TimedOutError, TlsError, UnreachableError
from orthweb.dicom.instance import ChangedError, Instance
from orthweb.dicom.integrity import whole
from orthweb.dicom.peer import TlsOptions
from orthweb.dicom.status import category, describe
from orthweb.dicom.transport import Answer, Group
from orthweb.errors import UsageError
from orthweb.verification import client_context

BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of one request, about; an instance that is larger goes alone."""

LARGE = 1024 * 1024
"""An instance that is larger than this and goes alone goes over HTTP/1.1; see :class:`StowChannel`."""

_CHUNK = 256 * 1024

_REFERENCED, _FAILED = "00081199", "00081198"
_CLASS_UID, _INSTANCE_UID, _REASON, _WARNING = "00081150", "00081155", "00081197", "00081196"
"""Store Instances Response Module (PS3.18 I.2)."""


@dataclass(frozen=True)
class StowOptions:
    """Where and how to send.

    Parameters
    ----------
    url : the STOW-RS resource: ``https://host/dicom-web/studies``.
    tls : how to verify the server.
    credentials : login, if the server wants one.
    response : seconds to wait for the answer to one request.
    """

    url: str
    tls: TlsOptions
    credentials: Credentials | None = None
    connect: float = 10.0
    response: float = 300.0

    @classmethod
    def of_site(cls, access: SiteAccess) -> StowOptions:
        """Give a running site's STOW-RS resource, with its trust and login."""
        return cls(f"{access.url}/dicom-web/studies", TlsOptions(ca=access.ca), access.credentials)


class StowTransport:
    """STOW-RS to one server."""

    def __init__(self, options: StowOptions, batch_bytes: int = BATCH_BYTES) -> None:
        """Keep the options; connects nowhere yet."""
        if not options.url.startswith(("https://", "http://")):
            raise UsageError(f"{options.url}: not an HTTP URL", "write https://HOST/dicom-web/studies")
        self._options = options
        self.destination = options.url
        self.batch_bytes = batch_bytes

    def groups(self, instances: Sequence[Instance]) -> list[Group]:
        """Anything can go together."""
        return [Group(tuple(instances))] if instances else []

    def open(self, group: Group) -> StowChannel:
        """Open a client; a request without body finds out whether the server is there."""
        del group
        return StowChannel(self._options)


class StowChannel:
    """One HTTP client, used by one thread.

    Batches go over HTTP/2; a large instance that goes alone goes over HTTP/1.1, because httpx waits for its timeout
    when a server refuses a body that is still being sent over HTTP/2, such as one that is larger than its limit.
    """

    usable = True

    def __init__(self, options: StowOptions) -> None:
        """Connect, and measure a round trip."""
        self._options = options
        self._client = _client(options, http2=True)
        self._client_for_large = _client(options, http2=False)
        try:
            self._request("OPTIONS")
            started = time.monotonic()
            self._request("OPTIONS")
            self.round_trip = time.monotonic() - started
        except BaseException:
            self.close()
            raise

    def _request(
        self,
        method: str,
        content: Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        *,
        large: bool = False,
    ) -> httpx.Response:
        url = self._options.url
        try:
            client = self._client_for_large if large else self._client
            answer = client.request(method, url, content=content, headers=headers)
        except httpx.TimeoutException as error:
            raise TimedOutError(f"{url}: no answer in time", "is the server overloaded?") from error
        except httpx.ConnectError as error:
            raise _connect_failure(url, error) from error
        except httpx.HTTPError as error:
            raise LostError(f"{url}: the connection broke: {error}", "see the server's log") from error
        if answer.status_code == 401:
            raise RejectedError(f"{url}: HTTP 401: the login was refused", "check --user and --password-file")
        if answer.status_code == 403:
            raise RejectedError(
                f"{url}: HTTP 403: the archive takes no instances",
                "this login may not store there",
            )
        if answer.status_code == 503 and "retry-after" in answer.headers:
            # RFC 9110 10.2.3: whatever it is sent. No instance is to blame, and none is given up.
            raise RejectedError(
                f"{url}: HTTP 503: the archive takes no instances now",
                "its disk or bucket takes none: see its log (`orthweb logs archive`)",
                transient=True,
            )
        if answer.status_code in (429, 502, 503, 504):
            raise LostError(
                f"{url}: HTTP {answer.status_code}: the archive does not answer", "`orthweb status` tells for a site"
            )
        return answer

    def send(self, batch: Sequence[Instance]) -> Iterator[Answer]:
        """Send a batch in one request; if the server refuses it as a whole, each instance alone."""
        readable: list[tuple[Instance, bytes]] = []
        for instance in batch:
            # Found out before anything is sent: a request that breaks off half way costs its whole batch.
            problem = _problem(instance)
            if problem is None:
                readable.append((instance, _head(instance)))
            else:
                yield Answer(instance, "unreadable", reason=problem)
        if readable:
            yield from self._store(readable)

    def _store(self, parts: list[tuple[Instance, bytes]]) -> Iterator[Answer]:
        boundary = os.urandom(16).hex()
        length = _length(parts, boundary)
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(length),
            "Accept": "application/dicom+json",
        }
        try:
            answer = self._request("POST", _body(parts, boundary), headers, large=len(parts) == 1 and length > LARGE)
        except OSError as error:
            if len(parts) == 1:
                yield Answer(parts[0][0], "unreadable", reason=error.strerror or str(error))
                return
            for part in parts:
                yield from self._store([part])
            return
        found = read_response(answer.content)
        if answer.status_code in (200, 202, 409) and found:
            for instance, _ in parts:
                yield (
                    found[instance.sop_instance].answer(instance)
                    if instance.sop_instance in found
                    else Answer(instance, "busy", answer.status_code, "the server's answer does not mention it")
                )
        elif len(parts) > 1:
            for part in parts:
                yield from self._store([part])
        else:
            yield Answer(
                parts[0][0], "refused", answer.status_code, f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._client_for_large.close()

    abort = close

    def interrupt(self) -> None:
        """Close the connection under a waiting thread."""
        try:
            self.close()
        except Exception:
            # httpx does not promise this from another thread; the thread is a daemon and ends with the program.
            return


def _client(options: StowOptions, *, http2: bool) -> httpx.Client:
    login = options.credentials
    return httpx.Client(
        http2=http2,
        verify=options.tls.context() if options.url.startswith("https:") else client_context(),
        auth=(login.user, login.password) if login is not None else None,
        timeout=httpx.Timeout(options.response, connect=options.connect),
        trust_env=False,
    )


@dataclass(frozen=True)
class Stored:
    """One item of the response: a failure or warning reason (PS3.18 I.2.2), or neither."""

    failure: int | None = None
    warning: int | None = None

    def answer(self, instance: Instance) -> Answer:
        """Turn it into an answer."""
        if self.failure is not None:
            busy = 0xA700 <= self.failure <= 0xA7FF
            return Answer(instance, "busy" if busy else "refused", self.failure, describe(self.failure))
        if self.warning is not None and category(self.warning) == "warning":
            return Answer(instance, "stored", self.warning, describe(self.warning))
        return Answer(instance, "stored")


def read_response(content: bytes) -> dict[str, Stored]:
    """Read a Store Instances Response (DICOM JSON, PS3.18 I.2): SOP Instance UID -> what became of it.

    Empty if it is not one.
    """
    try:
        response = json.loads(content)
    except ValueError:
        return {}
    if isinstance(response, list) and len(response) == 1:
        response = response[0]
    if not isinstance(response, dict):
        return {}
    found: dict[str, Stored] = {}
    for item in _values(response, _REFERENCED):
        warning = _first(item, _WARNING)
        found[str(_first(item, _INSTANCE_UID))] = Stored(warning=warning if isinstance(warning, int) else None)
    for item in _values(response, _FAILED):
        reason = _first(item, _REASON)
        found[str(_first(item, _INSTANCE_UID))] = Stored(failure=reason if isinstance(reason, int) else 0x0110)
    return found


def _values(item: dict[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return (
        [value for value in values if isinstance(value, dict)]
        if tag in (_REFERENCED, _FAILED) and values
        else values or []
    )


def _first(item: dict[str, Any], tag: str) -> object:
    values = _values(item, tag)
    return values[0] if values else None


def _problem(instance: Instance) -> str | None:
    try:
        with whole(instance):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _head(instance: Instance) -> bytes:
    """Give preamble and File Meta Information for a data set that has none; STOW-RS takes DICOM files."""
    if instance.complete:
        return b""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(instance.sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance.sop_instance)
    meta.TransferSyntaxUID = UID(instance.transfer_syntax)
    meta.ImplementationClassUID = PYNETDICOM_IMPLEMENTATION_UID
    return b"\0" * 128 + b"DICM" + encode_file_meta(meta)


def _part_head(boundary: str) -> bytes:
    return f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()


def _length(parts: Sequence[tuple[Instance, bytes]], boundary: str) -> int:
    fixed = len(_part_head(boundary)) + len(b"\r\n")
    bodies = sum(len(head) + (i.source.size if i.complete else i.length) for i, head in parts)
    return len(parts) * fixed + bodies + len(f"--{boundary}--\r\n")


def _body(parts: Sequence[tuple[Instance, bytes]], boundary: str) -> Iterator[bytes]:
    """Stream the request's body; never more than a chunk in memory."""
    for instance, head in parts:
        yield _part_head(boundary) + head
        with instance.source.open() as file:
            left = instance.source.size
            if not instance.complete and instance.offset:
                file.read(instance.offset)
                left -= instance.offset
            while left:
                chunk = file.read(min(_CHUNK, left))
                if not chunk:
                    raise ChangedError("the file has become shorter since it was found")
                left -= len(chunk)
                yield chunk
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _connect_failure(url: str, error: httpx.ConnectError) -> PeerError:
    """Explain why no connection came about."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TlsError(
                f"{url}: TLS: {cause.verify_message}", "give the right CA file with --ca, and the host's right name"
            )
        if isinstance(cause, ssl.SSLError):
            return TlsError(f"{url}: TLS: {cause.reason or cause}", "does the server speak TLS on this port?")
        cause = cause.__cause__ or cause.__context__
    return UnreachableError(
        f"{url}: cannot connect: {error}", "is the server running? `orthweb status` tells for a site"
    )


def password_from(path: Path) -> str:
    """Read a password from the first line of a file.

    Raises
    ------
    UsageError
        It cannot be read, or is empty.
    """
    try:
        line = path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot read the password: {error}") from error
    if not line:
        raise UsageError(f"{path}: the password file is empty")
    return line

"""The store in a bucket, in the flat layout of the official object-storage plugin: ``[root]<uuid><suffix>``.

Each object carries its SHA-256 as metadata, as those that the archive writes do.
"""

from __future__ import annotations

import configparser
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orthweb.errors import UsageError
from orthweb.store.attachment import (
    CHUNK,
    DICOM,
    DICOM_AS_JSON,
    DICOM_UNTIL_PIXEL_DATA,
    OTHER,
    UUID,
    Attachment,
    ObjectMissingError,
    Source,
    StoredObject,
    StoreError,
)
from orthweb.store.ownership import UNREADABLE, Mark

if TYPE_CHECKING:
    from obstore.store import S3Store

    from orthweb.site import S3

SUFFIXES: Final = {DICOM: ".dcm", DICOM_AS_JSON: ".json", DICOM_UNTIL_PIXEL_DATA: ".dcm.head", OTHER: ".unk"}
CONTENT_TYPES: Final = {
    DICOM: "application/dicom",
    DICOM_AS_JSON: "application/json",
    DICOM_UNTIL_PIXEL_DATA: "application/octet-stream",
    OTHER: "application/octet-stream",
}
_TYPES: Final = {suffix: file_type for file_type, suffix in SUFFIXES.items()}
_UUID_LENGTH: Final = 36

SHA256: Final = "orthweb-sha256"
"""Name of the metadata with an object's SHA-256."""

PROBE: Final = "orthweb-probe"
"""An object that never exists."""

MARK: Final = "orthweb-site"
"""The object that says whose the bucket is (`ownership.Mark`)."""

MARK_SIZE: Final = 1024
"""No mark is larger, bytes."""

SETTLING: Final = 3.0
"""Seconds in which a site that found no mark has written its own: another one that writes waits longer than that."""

REFUSED_WRITES: Final = ("NoSuchKey", "PreconditionFailed", "NotImplemented")
"""S3's answers to a write that may only replace an object which is not there, where all is well."""

PATIENCE: Final = timedelta(minutes=2)
"""How long requests are repeated while the server fails or does not answer."""

PART: Final = 16 * 1024**2
"""Size of a part of a multipart upload, bytes; what is smaller is sent in one request."""


class ObjectStore:
    """Objects in a bucket.

    Parameters
    ----------
    client : obstore's client of the bucket.
    bucket : its name.
    root : what every key begins with; empty, or ends with a slash.
    storage_class : of new objects; None for the bucket's own.
    """

    workers = 8

    def __init__(self, client: S3Store, bucket: str, root: str = "", storage_class: str | None = None) -> None:
        self._client = client
        self._bucket = bucket
        self._root = root
        self._attributes: dict[str, str] = {"Storage-Class": storage_class} if storage_class else {}
        self.foreign = 0

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"the bucket {self._bucket}" + (f" under {self._root}" if self._root else "")

    def key(self, uuid: str, file_type: int) -> str:
        """Give the key of a file."""
        return f"{self._root}{uuid}{SUFFIXES[file_type]}"

    @property
    def mark_key(self) -> str:
        """Key of the object that says whose the bucket is."""
        return f"{self._root}{MARK}"

    def signed_url(self, uuid: str, file_type: int, seconds: int = 60) -> str:
        """Give an address under which anybody gets the object for a short time; without its query, its plain address.

        Raises
        ------
        StoreError : there are no credentials.
        """
        import obstore

        try:
            return str(obstore.sign(self._client, "GET", self.key(uuid, file_type), timedelta(seconds=seconds)))
        except self._errors() as error:
            raise self._said(f"{uuid} cannot be asked for", error) from error

    def listing(self) -> Iterator[StoredObject]:
        """Give all files in the order of their names: S3 lists in the order of keys (ListObjectsV2)."""
        self.foreign = 0
        stream = self._client.list(prefix=self._root.rstrip("/") or None, chunk_size=1000)
        try:
            for page in stream:
                for item in page:
                    found = self._parse(item)
                    if found is not None:
                        yield found
                    elif item["path"] != self.mark_key:
                        self.foreign += 1
        except self._errors() as error:
            raise self._said("cannot be listed", error) from error

    def _parse(self, item: Any) -> StoredObject | None:
        name = str(item["path"]).removeprefix(self._root)
        uuid, suffix = name[:_UUID_LENGTH], name[_UUID_LENGTH:]
        if not UUID.fullmatch(uuid) or suffix not in _TYPES:
            return None
        modified: datetime = item["last_modified"]
        return StoredObject(uuid, _TYPES[suffix], int(item["size"]), modified.timestamp())

    def size(self, uuid: str, file_type: int) -> int | None:
        """Give the size of an object in bytes; None when there is none."""
        try:
            return int(self._client.head(self.key(uuid, file_type))["size"])
        except FileNotFoundError:
            return None
        except self._errors() as error:
            raise self._said(f"{uuid} cannot be looked at", error) from error

    def read(self, uuid: str, file_type: int) -> Iterator[bytes]:
        """Read an object piece by piece.

        Raises
        ------
        ObjectMissingError : there is none.
        """
        try:
            for chunk in self._client.get(self.key(uuid, file_type)).stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise ObjectMissingError(f"{uuid}: is not in {self.place}") from error
        except self._errors() as error:
            raise self._said(f"{uuid} cannot be read", error) from error

    def write(self, attachment: Attachment, source: Source) -> None:
        """Store an object; the server compares it with the checksum that is sent along."""
        attributes = self._attributes | {"Content-Type": CONTENT_TYPES[attachment.type], SHA256: source.sha256}
        key = self.key(attachment.uuid, attachment.type)
        try:
            if source.content is not None:
                self._client.put(key, source.content, attributes=attributes, use_multipart=False)
            else:
                self._client.put(key, source.chunks(), attributes=attributes, chunk_size=PART, max_concurrency=2)
        except self._errors() as error:
            raise self._said(f"{attachment.uuid} cannot be written", error) from error

    def remove(self, uuid: str, file_type: int) -> None:
        """Delete an object; nothing when there is none."""
        try:
            self._client.delete(self.key(uuid, file_type))
        except FileNotFoundError:
            return
        except self._errors() as error:
            raise self._said(f"{uuid} cannot be deleted", error) from error

    def probe(self) -> None:
        """Find out whether objects can be written, by a write that its condition keeps from being done.

        Raises
        ------
        StoreError : the bucket is missing or does not answer, or the credentials may not write to it.
        """
        import obstore

        try:
            obstore.put(
                self._client, f"{self._root}{PROBE}", b"", mode={"e_tag": '"none"'}, attributes=self._attributes
            )
        except self._errors() as error:
            if not any(f"<Code>{code}</Code>" in str(error) for code in REFUSED_WRITES):
                raise self._said("takes no objects", error) from error
        else:  # a server that does not know conditions
            self._client.delete(f"{self._root}{PROBE}")

    def mark(self) -> Mark | None:
        """Read whose the bucket is; None when no site has claimed it.

        Raises
        ------
        StoreError : it is missing, does not answer, or may not be read.
        """
        try:
            found = self._client.get(self.mark_key)
            return Mark.parse(bytes(found.bytes())) if found.meta["size"] <= MARK_SIZE else Mark(UNREADABLE)
        except FileNotFoundError as error:
            if "<Code>NoSuchBucket</Code>" in str(error):
                raise self._said("cannot be read", error) from error
            return None
        except self._errors() as error:
            raise self._said(f"{self.mark_key} cannot be read", error) from error

    def claim(self, mark: Mark) -> Mark:
        """Mark the bucket, unless it is marked; give the mark that it has then.

        Of several sites that do this at once one gets its own. Where the server knows no conditions, this holds while
        it answers within `SETTLING` (Fischer's algorithm; L. Lamport, "A Fast Mutual Exclusion Algorithm", 1987).

        Raises
        ------
        StoreError : the mark cannot be read or written.
        """
        found = self.mark()
        if found is not None:
            return found
        if not self._created(mark):
            time.sleep(SETTLING)
        found = self.mark()
        if found is None:
            raise StoreError(f"{self.place}: {self.mark_key} was written and is not there", "repeat the command")
        return found

    def _created(self, mark: Mark) -> bool:
        """Write the mark where there is none; tell whether the server looked.

        It is written twice: a server that takes the second one too has overwritten an object that was there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        # In the bucket's own storage class: some cannot be read at once.
        put: dict[str, Any] = {"attributes": {"Content-Type": "text/plain"}, "use_multipart": False}
        try:
            for _ in range(2):
                try:
                    obstore.put(self._client, self.mark_key, mark.content(), mode="create", **put)
                except AlreadyExistsError:
                    return True
                except self._errors() as error:
                    if "<Code>NotImplemented</Code>" not in str(error):
                        raise
                    obstore.put(self._client, self.mark_key, mark.content(), **put)
                    return False
        except self._errors() as error:
            raise self._said(f"{self.mark_key} cannot be written", error) from error
        return False

    def release(self, site: str) -> bool:
        """Delete the mark of a site where nothing else lies; tell whether that was so.

        Raises
        ------
        StoreError : the bucket does not answer, or the mark cannot be deleted.
        """
        found = self.mark()
        if found is None or found.site != site or next(self.listing(), None) is not None or self.foreign:
            return False
        try:
            self._client.delete(self.mark_key)
        except self._errors() as error:
            raise self._said(f"{self.mark_key} cannot be deleted", error) from error
        return True

    def prune(self) -> None:
        """Nothing is left behind by removal."""

    def close(self) -> None:
        """Nothing is kept open."""

    def _errors(self) -> tuple[type[Exception], ...]:
        from obstore.exceptions import BaseError

        return (BaseError, OSError)

    def _said(self, what: str, error: Exception) -> StoreError:
        # obstore's text goes on with its own internals, line by line; S3's own name of the error says more.
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        status, code = re.search(r"status code: (\d{3})", str(error)), re.search(r"<Code>([\w.]+)</Code>", str(error))
        if status and code:
            words = f"the server answers {status[1]} {code[1]}"
        return StoreError(
            f"{self.place}: {what}: {words[:300]}",
            "does the server answer, and may the credentials of [s3] do this?",
        )


class _CredentialsFile:
    """Credentials from an AWS credentials file, read anew each time that they are asked for and have changed.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html, profile ``default``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> dict[str, Any]:
        """Give them in obstore's words."""
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            parser.read_string(self._path.read_text())
            profile = parser["default"]
            return {
                "access_key_id": profile["aws_access_key_id"],
                "secret_access_key": profile["aws_secret_access_key"],
                "token": profile.get("aws_session_token"),
                "expires_at": datetime.now().astimezone() + timedelta(minutes=5),
            }
        except OSError as error:
            raise UsageError(f"s3.credentials: {self._path}: {error.strerror}") from error
        except (configparser.Error, KeyError, ValueError) as error:  # its text could quote the secret
            raise UsageError(
                f"s3.credentials: {self._path}: has no profile [default] with aws_access_key_id and"
                " aws_secret_access_key"
            ) from error


def bucket_of(settings: S3, patience: timedelta = PATIENCE) -> ObjectStore:
    """Open the bucket that the site file's ``[s3]`` names. Nothing is asked of the server yet.

    Parameters
    ----------
    patience : how long requests are repeated while the server fails or does not answer.

    Raises
    ------
    UsageError : no bucket is named, or the CA's or the credentials' file cannot be read.
    """
    from obstore.store import S3Store

    if settings.bucket is None:
        raise UsageError("s3.bucket: is missing", "name the bucket that the images are in, or shall go to")
    options: dict[str, Any] = {"timeout": timedelta(minutes=10), "connect_timeout": timedelta(seconds=10)}
    options["read_timeout"] = min(timedelta(seconds=60), patience)
    if settings.ca is not None:
        try:
            options["root_certificate"] = settings.ca.read_bytes()
        except OSError as error:
            raise UsageError(f"s3.ca: {settings.ca}: {error.strerror}") from error
    config: dict[str, Any] = {
        "region": settings.region,
        "checksum_algorithm": "sha256",
        "disable_bulk_delete": True,  # not every server speaks DeleteObjects
    }
    # A name with a dot does not fit the certificate of AWS, which is for *.s3.REGION.amazonaws.com.
    fits = settings.endpoint is None and "." not in settings.bucket
    virtual = settings.addressing == "virtual" or (settings.addressing == "auto" and fits)
    config["virtual_hosted_style_request"] = virtual
    if settings.endpoint is not None:
        scheme, _, host = settings.endpoint.partition("://")
        config["endpoint"] = f"{scheme}://{settings.bucket}.{host}" if virtual else settings.endpoint
        options["allow_http"] = scheme == "http"
    if settings.encryption != "bucket":
        config["server_side_encryption"] = {"s3": "AES256", "kms": "aws:kms"}[settings.encryption]
    if settings.kms_key is not None:
        config["sse_kms_key_id"] = settings.kms_key
    provider = _CredentialsFile(settings.credentials) if settings.credentials is not None else None
    if provider is not None:
        provider()  # what is wrong with the file is said now
    client = S3Store(
        settings.bucket,
        config=config,  # type: ignore[arg-type]
        client_options=options,  # type: ignore[arg-type]
        retry_config={"retry_timeout": patience},
        credential_provider=provider,  # type: ignore[arg-type]
    )
    return ObjectStore(client, settings.bucket, settings.root, settings.storage_class)

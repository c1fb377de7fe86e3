# SPDX-License-Identifier: AGPL-3.0-or-later
"""What went wrong, in one line that a person can act on: no secret, no traceback, no dump of the client's insides."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

HINTS = {
    "NoSuchBucket": "the bucket does not exist: make it, or mend s3.bucket and s3.region",
    "AccessDenied": "the credentials may not do this: see the bucket's and the role's policies",
    "InvalidAccessKeyId": "the access key is not known: mend the credentials",
    "SignatureDoesNotMatch": "the secret access key is wrong: mend the credentials",
    "ExpiredToken": "the credentials have expired: renew them",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "PermanentRedirect": "the bucket is in another region: mend s3.region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: mend s3.region",
    "KMS.NotFoundException": "the key does not exist: mend s3.kms_key",
}
"""By S3's error code (Amazon S3 API reference, "Error responses")."""

STATUS = re.compile(r"status code: (\d{3})")
CODE = re.compile(r"<Code>([\w.]{1,64})</Code>")
CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
CAUSE = re.compile(r'(?:message|error): "([^"]{1,200})"')
TIMEOUT = "kind: Timeout"


class StoreError(Exception):
    """An operation failed.

    Parameters
    ----------
    status : the server's HTTP status; 0 if it gave no answer.
    code : S3's name of the error, or "".
    """

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MissingObjectError(StoreError):
    """There is no such object."""


class DamagedObjectError(StoreError):
    """An object's content is not what was stored."""


def failure(operation: str, key: str, error: Exception) -> StoreError:
    """Turn what obstore raised into one of the errors above."""
    text = str(error)
    status, code = STATUS.search(text), CODE.search(text)
    number, name = int(status[1]) if status else 0, code[1] if code else ""
    what = f"{operation} {key}"
    if name == "NoSuchKey" or (number == 404 and not name):
        return MissingObjectError(f"{what}: there is no such object", number, name)
    if number:
        hint = f" ({HINTS[name]})" if name in HINTS else ""
        return StoreError(f"{what}: the server answers {number} {name}".rstrip() + hint, number, name)
    return StoreError(f"{what}: {_cause(text)}")


def _cause(text: str) -> str:
    """Find out why there was no answer: the innermost reason stands last in obstore's account."""
    if certificate := CERTIFICATE.search(text):
        return f"the server's certificate is not trusted ({certificate[1]}): see s3.ca and s3.endpoint"
    if causes := CAUSE.findall(text):
        return f"no answer: {causes[-1]}"
    if TIMEOUT in text:
        return "no answer in time"
    return text.split("\n", 1)[0][:300]


def briefly(function: Callable[P, T], *errors: type[Exception]) -> Callable[P, T]:
    """Give `function` as one of whose expected errors only the last step is left: the plugin logs whole tracebacks."""

    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except errors as error:
            found = error.with_traceback(None)
        raise found from None

    return call

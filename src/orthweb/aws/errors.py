"""AWS's errors, each in one line with the next step: from boto3, and from what Terraform says."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from orthweb.errors import OrthwebError
from orthweb.permissions.policy import KEEPING

MFA: Final = (
    "get a session first, and use that: aws sts get-session-token (its answer goes into AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN), or aws-vault exec PROFILE -- orthweb up"
)
"""The next step when a profile asks for a code at each use."""


class AwsError(OrthwebError):
    """AWS refused a call, or did not answer.

    Parameters
    ----------
    code : AWS's own name of the error, without its ending ``Exception``.
    """

    def __init__(self, message: str, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = code


def short_code(code: str) -> str:
    """Give AWS's name of an error without the endings that differ from service to service."""
    for ending in ("Exception", "Fault"):
        code = code.removesuffix(ending)
    return code


@dataclass(frozen=True)
class _Kind:
    """A kind of error.

    Parameters
    ----------
    code : AWS's names of it (a pattern), or None where only words tell.
    words : words that tell it (a pattern), where there is no code.
    says : how it is put ({words}: AWS's own); None: in AWS's own words, with the code.
    hint : the next step.
    """

    code: str | None
    words: str | None
    says: str | None
    hint: str


_KINDS: Final = (
    _Kind(
        r"NoCredentials|CredentialRetrieval|PartialCredentials|NoAuthToken",
        r"[Nn]o valid credential sources|Unable to locate credentials|no EC2 IMDS role found|cached credentials",
        "there are no AWS credentials",
        "sign in (aws sso login), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    _Kind(
        r"ProfileNotFound",
        None,
        "there is no such profile: {words}",
        "check AWS_PROFILE; `aws configure list-profiles` shows those that there are, `aws configure` makes one",
    ),
    _Kind(
        r"ExpiredToken|RequestExpired|TokenRefreshRequired|SSOTokenLoad|UnauthorizedSSOToken|TokenRetrieval|"
        r"LoginRefreshRequired|LoginTokenLoad",
        r"security token (included in the request )?is expired|SSO session has expired|token has expired|"
        r"[Ss]ession has expired",
        "your AWS session has expired",
        "sign in again (aws sso login, or aws login), then repeat the command: it goes on where it was",
    ),
    _Kind(
        r"OptInRequired|InvalidRegion|UnknownRegion",
        r"not opted in|region .* is (not enabled|disabled)|invalid AWS Region",
        "your account may not use this region, or there is no such region",
        "enable it in the account's settings, or choose another aws.region",
    ),
    _Kind(
        r"InvalidClientTokenId|UnrecognizedClient|AuthFailure|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken",
        None,
        "AWS does not know these credentials",
        "check the access key or profile; a region that is not enabled in the account answers so too",
    ),
    _Kind(
        r"AccessDenied|UnauthorizedOperation|Unauthorized|AuthorizationError|NotAuthorized|Client\.UnauthorizedOperation|"
        r"403|Forbidden|LoginInsufficientPermissions",
        r"is not authorized to perform",
        None,
        "have it allowed: `orthweb policy` prints what deploying a site needs",
    ),
    _Kind(
        r"Throttling|ThrottledException|RequestLimitExceeded|TooManyRequests|SlowDown|PriorRequestNotComplete|Throttled",
        None,
        "AWS asks to go slower",
        "repeat the command in a minute: it goes on where it was",
    ),
    _Kind(
        r"Insufficient(\w*)Capacity|InsufficientInstanceCapacity",
        None,
        None,
        "AWS has no more of this type there at the moment: repeat later, or choose another type in the site file",
    ),
    _Kind(
        r"\w*LimitExceeded|\w*QuotaExceeded|\w*QuotaExceeded\w*|TooMany\w+|\w*LimitReached|MaxLimitExceeded",
        r"(exceed|reached).{0,40}(limit|quota)",
        None,
        "the account's quota is used up: have it raised (Service Quotas in the AWS console) or remove what is unused, "
        "then repeat the command",
    ),
    _Kind(
        r"\w*AlreadyExists|\w*AlreadyOwnedByYou|\w*Duplicate\w*|ResourceExists|EntityAlreadyExists",
        None,
        None,
        "something of this name is in the account already: another site called so, or one whose state is lost; choose "
        "another name, or remove it",
    ),
    _Kind(
        r"OperationNotPermitted",
        r"Cannot delete protected DB [Ii]nstance|deletion protection is enabled|disableApiTermination",
        None,
        "it is protected against removal: put production = false in [aws] and repeat orthweb up; a whole site: "
        "orthweb destroy --data --even-production",
    ),
    _Kind(
        r"InvalidDBInstanceState|Incorrect\w*State\w*|Invalid\w*State|ScalingActivityInProgress|ResourceInUse",
        None,
        None,
        "AWS is still busy with it: repeat the command in some minutes",
    ),
    _Kind(
        r"EndpointConnection|ConnectTimeout|ReadTimeout|ConnectionClosed|SSL|ProxyConnection|HTTPClient|ConnectionError",
        r"no such host|connection refused|i/o timeout|network is unreachable|TLS handshake timeout|x509:|dial tcp|"
        r"Could not connect to the endpoint",
        "AWS cannot be reached: {words}",
        "check this machine's way to AWS (network, proxy, region), then repeat the command",
    ),
)

_UNPROTECTED: Final = (
    "the policy for production leaves out what deletes images: `orthweb policy --no-production` prints it; have it "
    "allowed, then repeat the command"
)

_ACTION: Final = re.compile(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z*]+)")
_API: Final = re.compile(r"api error ([\w.]+): (.*)", re.DOTALL)
_BARE: Final = re.compile(r": ([A-Z][A-Za-z]+[a-z][A-Z][A-Za-z.]+): (.*)", re.DOTALL)
_OPERATION: Final = re.compile(r"operation error ([\w ]+): (\w+)")
_NOISE: Final = re.compile(
    r"https response error |StatusCode: \d+, |RequestID: [\w/+=-]+, |HostID: [^,]*, |, request send failed,"
    r"|operation error [\w ]+: \w+, |\(Service: [^)]*\)"
)
LONGEST: Final = 240
"""Characters of AWS's words that a message repeats."""


@dataclass(frozen=True)
class Explained:
    """An error of AWS, put for a person.

    Parameters
    ----------
    code : AWS's name of it; empty where there is none.
    words : what is wrong, one line.
    hint : the next step; None where none is known.
    """

    code: str
    words: str
    hint: str | None


def explain(code: str, message: str) -> Explained:
    """Put an error by its code and AWS's words."""
    short = short_code(code)
    line = " ".join(message.split())
    for kind in _KINDS:
        by_code = kind.code is not None and bool(short) and re.fullmatch(kind.code, short) is not None
        if by_code or (kind.words is not None and re.search(kind.words, line)):
            action = _ACTION.search(line)
            if kind.says is not None:
                words = kind.says.format(words=_said("", line))
            elif action is not None:
                words = f"you are not allowed to do {action[1]}"
                if action[1] in KEEPING:
                    return Explained(short, words, _UNPROTECTED)
            else:
                words = _said(short, line)
            return Explained(short, words, kind.hint)
    return Explained(short, _said(short, line), None)


def explain_text(text: str) -> Explained:
    """Put an error as Terraform's AWS provider says it."""
    line = " ".join(text.split())
    api = _API.search(line)
    operation = _OPERATION.search(line)
    if api is None:
        # Of errors that a service's model knows there is the code alone: "creating X (name): Code: words".
        bare = _BARE.search(_NOISE.sub("", line))
        found = explain(bare[1], bare[2]) if bare is not None else None
        return found if found is not None and found.hint is not None else explain("", _NOISE.sub("", line))
    found = explain(api[1], api[2])
    denied = re.fullmatch(r"AccessDenied|Unauthorized\w*", found.code) is not None
    if operation is not None and denied and "not allowed to do" not in found.words:
        # Not every service names the action in its words.
        words = f"you are not allowed to do {operation[1].strip().lower().replace(' ', '')}:{operation[2]}"
        found = Explained(found.code, words, found.hint)
    return found


def _said(code: str, line: str) -> str:
    short = line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
    return f"AWS says {code}: {short}" if code else short


@contextlib.contextmanager
def told(what: str, hint_of: Callable[[str], str | None] | None = None) -> Iterator[None]:
    """Turn an error of boto3 into one line.

    Parameters
    ----------
    what : what was wanted, such as ``parameters /orthweb/pacs``.
    hint_of : gives the next step by the code, where the caller is no person at a desk.

    Raises
    ------
    AwsError : names what was wanted, the reason and the next step.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        found = error.response.get("Error", {})
        raise _error(what, str(found.get("Code", "Unknown")), str(found.get("Message", "")), hint_of) from error
    except BotoCoreError as error:
        raise _error(what, type(error).__name__.removesuffix("Error"), str(error), hint_of) from error


def _error(what: str, code: str, message: str, hint_of: Callable[[str], str | None] | None) -> AwsError:
    if hint_of is not None:
        short = short_code(code)
        return AwsError(f"{what}: AWS says {short}: {' '.join(message.split())[:200]}", short, hint_of(short))
    found = explain(code, message)
    return AwsError(f"{what}: {found.words}" if what != "AWS" else found.words, found.code, found.hint)

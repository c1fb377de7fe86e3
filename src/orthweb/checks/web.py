"""Group ``web``: HTTPS as browsers and programs use it: login, pages, and what must stay closed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx

from orthweb.checks import archive, dicomweb, probe, strangers
from orthweb.checks.archive import DICOMWEB, expect
from orthweb.checks.check import CheckFailed, check

if TYPE_CHECKING:
    from orthweb.checks.context import Context

_LOGS = "see `orthweb logs edge` and `orthweb logs archive`"
_EDGE = (
    "the edge's configuration is not what orthweb renders: `orthweb plan` shows the difference, `orthweb up` mends it"
)

PROTECTED = ("/", "/app/explorer.html", "/system", "/patients", "/tools/find", "/dicom-web/studies", "/wado")
"""Places that must never answer without a login."""

DEFAULT_LOGINS = (
    ("orthanc", "orthanc"),
    ("orthanc", ""),
    ("admin", "admin"),
    ("admin", "password"),
    ("admin", "orthanc"),
    ("admin", "orthweb"),
    ("admin", ""),
    ("orthweb", "orthweb"),
    ("alice", "alicePassword"),
    ("demo", "demo"),
    ("root", "root"),
    ("edge", "edge"),
)
"""Logins of Orthanc's documentation and images, and those that people try first."""

CLOSED = (
    "/tools/execute-script",
    "/tools/shutdown",
    "/tools/reset",
    "/tools/shutdown/",
    "//tools/shutdown",
    "/tools//reset",
    "/tools/./shutdown",
    "/app/../tools/shutdown",
    "/tools/%73hutdown",
    "/tools%2fshutdown",
    "/tools/shutdown?x=1",
    "/tools/reset.",
    "/tools./shutdown",
)
"""Orthanc's endpoints that run code or stop it, and other spellings of them."""


@check("web.login", "Login", "The administrator's login is accepted and the archive answers", hint=_LOGS)
def login(context: Context) -> str:
    """Ask Orthanc who it is."""
    system = expect(context.http().get("/system")).json()
    return f"Orthanc {system['Version']} answers over HTTPS"


@check("web.no_login", "No login refused", "Without a login every place answers 401 and no data", hint=_EDGE)
def no_login(context: Context) -> str:
    """Ask for pages, REST and DICOMweb without a login."""
    with context.client(user="") as client:
        for place in PROTECTED:
            _refused(client.get(place), f"without a login {place}")
    return f"401 for {len(PROTECTED)} places"


@check("web.wrong_password", "Wrong password refused", "The right user with a wrong password gets 401", hint=_EDGE)
def wrong_password(context: Context) -> str:
    """Try passwords that are nearly right."""
    password = context.access.credentials.password
    for wrong in ("wrong", password[:-1], password + "x", password.swapcase() + "."):
        with context.client(password=wrong) as client:
            _refused(client.get("/system"), "with a wrong password /system")
    return "401 for 4 wrong passwords"


@check(
    "web.default_passwords",
    "Default passwords refused",
    "No well-known login is accepted",
    hint="nothing may have a default password: remove the user from Orthanc's and the edge's configuration",
)
def default_passwords(context: Context) -> str:
    """Try the logins that everybody knows."""
    for user, password in DEFAULT_LOGINS:
        with context.client(user=user, password=password) as client:
            _refused(client.get("/system"), f"with the login {user}:{password or '(empty)'} /system")
    return f"401 for {len(DEFAULT_LOGINS)} well-known logins"


def _refused(response: httpx.Response, what: str) -> None:
    if response.status_code != 401:
        raise CheckFailed(f"{what} answered {response.status_code}, not 401")


@check(
    "web.healthz",
    "Health without login",
    "/healthz answers 200 `ok` without a login, and says nothing else",
    hint=_LOGS,
)
def healthz(context: Context) -> str:
    """Ask as a load balancer would."""
    with context.client(user="") as client:
        response = expect(client.get("/healthz"))
    if response.text.strip() != "ok":
        raise CheckFailed(f"/healthz answered {len(response.content)} bytes that are not `ok`")
    return "200 ok"


@check(
    "web.closed",
    "Dangerous endpoints closed",
    "Script execution, shutdown and reset never reach the archive, however they are spelt",
    hint=_EDGE,
)
def closed(context: Context) -> str:
    """Ask with GET, which does no harm: Orthanc would answer 405, the edge answers 403 (or 400 to odd spellings)."""
    client = context.http()
    for place in CLOSED:
        url = httpx.URL(context.access.url).copy_with(raw_path=place.encode())
        response = client.get(url)
        if response.status_code not in (400, 403):
            raise CheckFailed(f"{place} answered {response.status_code}: it reached the archive")
    return f"refused by the edge: {len(CLOSED)} spellings of execute-script, shutdown and reset"


@check(
    "web.method",
    "Method as it is sent",
    "Neither a query argument nor a header turns a reading request into a deleting one",
    hint=_EDGE,
)
def method(context: Context) -> str:
    """Ask for what nobody can delete: Orthanc would answer 405 if it took the request for a DELETE."""
    client = context.http()
    argument = client.get("/system?_method=DELETE")
    if argument.status_code not in (200, 400, 403):
        raise CheckFailed(f"GET with _method=DELETE answered {argument.status_code}: it was taken for a DELETE")
    header = client.get("/system", headers={"x-http-method-override": "DELETE"})
    if header.status_code not in (200, 400, 403):
        raise CheckFailed(f"GET with X-HTTP-Method-Override answered {header.status_code}: it was taken for a DELETE")
    return f"_method answered {argument.status_code}, X-HTTP-Method-Override {header.status_code}"


@check("web.plaintext", "Plain HTTP refused", "A request without TLS gets no HTTP answer", hint=_EDGE)
def plaintext(context: Context) -> str:
    """Ask without TLS."""
    access = context.access
    question = f"GET / HTTP/1.1\r\nHost: {access.host}\r\nConnection: close\r\n\r\n".encode()
    answer = probe.plaintext_answer(access.host, access.https_port, question)
    if b"HTTP/" in answer[:64]:
        raise CheckFailed(f"port {access.https_port} answered HTTP without TLS: {answer.splitlines()[0].decode()}")
    return f"port {access.https_port} closed the connection without an HTTP answer"


@check(
    "web.wrong_ca",
    "HTTPS: wrong CA refused",
    "A client that trusts another CA refuses the HTTPS port's certificate",
    hint="the port must show a certificate of the site's CA: `orthweb up` renews it",
)
def wrong_ca(context: Context) -> str:
    """Do a handshake as a client that trusts a CA made up on the spot."""
    return strangers.distrusts(context.access.host, context.access.https_port)


@check("web.http2", "HTTP/2 and HTTP/1.1", "The HTTPS port negotiates h2 and http/1.1 and serves both", hint=_EDGE)
def http2(context: Context) -> str:
    """Ask once with each version."""
    seen = []
    for wanted in (True, False):
        with context.client(http2=wanted) as client:
            seen.append(expect(client.get("/system")).http_version)
    if seen != ["HTTP/2", "HTTP/1.1"]:
        raise CheckFailed(f"a client of HTTP/2 got {seen[0]}, one of HTTP/1.1 got {seen[1]}")
    return "both negotiated by ALPN and served"


@check(
    "web.headers",
    "Security headers",
    "Answers carry HSTS (not on localhost), nosniff, referrer policy, content security policy, frame protection",
    hint=_EDGE,
)
def headers(context: Context) -> str:
    """Look at the headers of a page, of the REST API and of a refusal."""
    with context.client(user="") as stranger:
        answers = [
            context.http().get("/app/explorer.html"),
            context.http().get("/system"),
            stranger.get("/system"),
        ]
    for response in answers:
        missing = [name for name, good in _header_rules(response).items() if not good]
        if missing:
            raise CheckFailed(f"{response.request.url.path} ({response.status_code}): missing or weak {missing[0]}")
    return "on pages, REST answers and refusals"


def _header_rules(response: httpx.Response) -> dict[str, bool]:
    """Name each rule and whether a response obeys it; HSTS has no business on localhost (RFC 6797 speaks of hosts)."""
    got = response.headers
    policy = got.get("content-security-policy", "")
    ages = [part.strip()[8:] for part in got.get("strict-transport-security", "").split(";") if "max-age=" in part]
    frame = got.get("x-frame-options", "").upper()
    return {
        "strict-transport-security": response.request.url.host == "localhost"
        or (bool(ages) and ages[0].isdigit() and int(ages[0]) >= 31536000),
        "x-content-type-options": got.get("x-content-type-options", "").lower() == "nosniff",
        "referrer-policy": got.get("referrer-policy", "unsafe-url").lower() not in ("", "unsafe-url"),
        "content-security-policy": "default-src" in policy and "object-src 'none'" in policy,
        "frame protection": "frame-ancestors" in policy and frame in ("", "DENY", "SAMEORIGIN"),
    }


@check("web.origin", "Other origins refused", "A browser's writing request from another site is refused", hint=_EDGE)
def origin(context: Context) -> str:
    """Send what a form on somebody else's page would make a signed-in browser send (a query, which does no harm)."""
    question = {"Level": "Patient", "Query": {"PatientID": "ORTHWEB-NOBODY"}}
    response = context.http().post(
        "/tools/find",
        json=question,
        headers={"sec-fetch-site": "cross-site", "origin": "https://elsewhere.invalid"},
    )
    if response.status_code != 403:
        raise CheckFailed(f"a POST from another origin answered {response.status_code}, not 403")
    return "403 for a POST from another origin"


@check("web.explorer", "Orthanc Explorer", "The address in a browser leads to Orthanc Explorer", hint=_LOGS)
def explorer(context: Context) -> str:
    """Open the site as a browser does, and one of the page's own scripts."""
    page = expect(context.http().get("/", follow_redirects=True))
    if "text/html" not in page.headers.get("content-type", "") or "Orthanc" not in page.text:
        raise CheckFailed(f"{page.url.path} is not Orthanc Explorer")
    script = expect(context.http().get("/app/explorer.js"))
    return f"{page.url.path} and its script ({len(script.content)} bytes)"


@check(
    "web.body_limit",
    "Body limit",
    "A request that announces a body over edge.max_body is refused with 413 before it is sent",
    hint=_EDGE,
)
def body_limit(context: Context) -> str:
    """Announce a body that is one byte too large; send none of it."""
    limit = context.facts.max_body
    access = context.access
    login = archive.basic(access.credentials)
    lines = [
        f"POST {DICOMWEB}/studies HTTP/1.1",
        f"Host: {access.host}",
        f"Authorization: {login}",
        'Content-Type: multipart/related; type="application/dicom"; boundary=x',
        f"Content-Length: {limit + 1}",
        "Connection: close",
    ]
    with (
        probe.connection(access.host, access.https_port) as plain,
        context.tls().wrap_socket(plain, server_hostname=access.host) as secure,
    ):
        secure.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        try:
            answer = secure.recv(4096)
        except (TimeoutError, ssl.SSLError):
            answer = b""
    status = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "nothing"
    if status != "413":
        raise CheckFailed(f"a body of {limit + 1} bytes was answered with {status}, not 413")
    return f"413 for {limit + 1} bytes"


@check(
    "web.removal",
    "Test patient removed",
    "The test patient is deleted and no longer found, and so are those of earlier runs that were killed",
    hint="delete the patients whose ID begins with ORTHWEB-VALIDATION- in Orthanc Explorer",
    prepare=lambda context: context.sent(),
)
def removal(context: Context) -> str:
    """Tell what was removed after the other checks."""
    done = context.removed()
    old = f", and {done.leftovers} of earlier runs" if done.leftovers else ""
    return f"deleted and no longer found{old}"


CHECKS = (
    login,
    no_login,
    wrong_password,
    default_passwords,
    healthz,
    closed,
    method,
    plaintext,
    wrong_ca,
    http2,
    headers,
    origin,
    explorer,
    *dicomweb.CHECKS,
    body_limit,
    removal,
)

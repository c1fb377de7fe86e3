"""The emulator's own process: moto behind a WSGI layer that records calls and takes orders from the tests.

Started by `aws.emulator.account`; ``python -m aws.emulator.server --folder FOLDER`` runs it by hand. It writes `port`
when it listens and `calls.jsonl` (one line a call) into the folder. SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from aws.emulator import arns, patches
from aws.emulator.operations import Request, operation

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

ERROR_CODE = re.compile(r"<Code>([^<]+)</Code>|\"__type\": ?\"([^\"]+)\"|\"code\": ?\"([^\"]+)\"", re.IGNORECASE)


class Recorder:
    """A WSGI layer around moto: every call gets a line in a file, and what moto cannot answer becomes a clear refusal.

    A 500 would be taken for an outage: AWS's clients repeat it for minutes. 501 is not repeated.
    """

    def __init__(self, application: Callable[[Environ, StartResponse], Iterable[bytes]], calls: Path) -> None:
        self._application = application
        self._calls = calls.open("a", buffering=1)
        self._lock = threading.Lock()
        # moto counts on one request at a time: a list that another request changes meanwhile would be an outage.
        self._one = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) if _small(environ) else b""
        if _small(environ):
            environ["wsgi.input"] = io.BytesIO(body)
        if path.startswith("/_emulator/"):
            patches.told[path.rsplit("/", 1)[-1]](**json.loads(body))
            start_response("200 OK", [("Content-Length", "0")])
            return [b""]
        request = Request.of(environ, body)
        started = time.monotonic()
        name = operation(request)
        agent = str(environ.get("HTTP_USER_AGENT", ""))
        terraform, deployer = "Terraform/" in agent, "app/deployer" in agent
        about = _about(request, name, body) if terraform or deployer else {}
        error = ""
        refused = patches.refusals.get(f"{request.service}:{name}")
        if refused is not None:
            error, words, status = refused
            headers, answer = _refusal(request, error, words)
        else:
            status, headers, answer = self._ask(environ)
        if status >= 400 and refused is None:
            found = ERROR_CODE.search(answer.decode(errors="replace"))
            error = next((group for group in found.groups() if group), "") if found else ""
            html = any(name.lower() == "content-type" and "text/html" in value for name, value in headers)
            if status >= 500 or (status in (404, 405) and html and answer.lower().startswith(b"<!doctype")):
                status, error = 501, error or "NotImplemented"
                headers, answer = _refusal(request, error)
        how = {"error": error, "seconds": round(time.monotonic() - started, 3)}
        how |= {"terraform": terraform, "deployer": deployer}
        self._record(request, name, status, {**how, **about})
        if status == 501:
            sys.stderr.write(f"no answer: {request.service}:{name} {request.method} {path}\n")
        start_response(f"{status} {_phrase(status)}", headers)
        return [answer]

    def _ask(self, environ: Environ) -> tuple[int, list[tuple[str, str]], bytes]:
        got: list[Any] = [500, []]

        def start(status: str, headers: list[tuple[str, str]], *_: object) -> None:
            got[:] = int(status.split()[0]), list(headers)

        try:
            with self._one:
                answer = b"".join(self._application(environ, start))
        except Exception:  # whatever breaks in moto is the test's finding, not this server's end
            traceback.print_exc()
            return 500, [], b""
        return got[0], got[1], answer

    def _record(self, request: Request, name: str, status: int, how: dict[str, Any]) -> None:
        line = {"service": request.service, "operation": name, "region": request.region, "status": status}
        with self._lock:
            self._calls.write(json.dumps({**line, **how}) + "\n")


def _refusal(
    request: Request, code: str, words: str = "the emulator lacks this"
) -> tuple[list[tuple[str, str]], bytes]:
    """Give an error in the form that the service's protocol has for it."""
    said = f"<Error><Code>{code}</Code><Message>{words}</Message></Error>"
    if request.service == "ec2":
        said = f"<Response><Errors>{said}</Errors></Response>"
    elif request.body:
        said = f"<ErrorResponse>{said}</ErrorResponse>"
    elif request.service not in ("s3", "route53"):
        said = json.dumps({"__type": code, "message": words})
    kind = "application/json" if said.startswith("{") else "text/xml"
    named = [("Content-Type", kind), ("Content-Length", str(len(said))), ("x-amzn-errortype", code)]
    return named, said.encode()


def _about(request: Request, name: str, body: bytes) -> dict[str, Any]:
    """Say what IAM would look at, before the request changes it."""
    try:
        return {"resources": arns.about(request, name, body), "context": arns.context(request, body)}
    except Exception:  # this is the tests' business, and no reason for an answer to fail
        traceback.print_exc()
        return {"context": {"unread": name}}


def _small(environ: Environ) -> bool:
    """Tell whether the body is that of an API call (not an object on its way to S3, nor sent in chunks)."""
    return int(environ.get("CONTENT_LENGTH") or 0) < 1 << 20 and "HTTP_TRANSFER_ENCODING" not in environ


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class _Handler(MotoRequestHandler):
    def log_request(self, *_: object) -> None:
        """Say nothing: `calls.jsonl` has it."""


def main() -> None:
    """Serve until SIGTERM."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=0, help="0: a free one")
    arguments.add_argument("--folder", type=Path, required=True)
    chosen = arguments.parse_args()
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # roles attach policies that AWS keeps
    patches.apply()
    application = Recorder(DomainDispatcherApplication(create_backend_app), chosen.folder / "calls.jsonl")
    server = make_server(chosen.host, chosen.port, application, threaded=True, request_handler=_Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    ready = chosen.folder / "port.new"
    ready.write_text(str(server.server_port))
    ready.rename(chosen.folder / "port")
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()

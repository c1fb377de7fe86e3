"""EC2's instance metadata service, version 2: tokens, a hop limit, role credentials, user data.

    python metadata_service.py FOLDER        # FOLDER/ADDRESS.json is what the instance with this address is told

Instances are told apart by the address that they ask from. The hop limit is the TTL of the packets that bring a token,
as on EC2: a container one hop further gets none when the limit is 1. A request without a token is refused, with one
exception: cloud-init asks with a token only on machines whose firmware says that they are EC2's.

Source: Amazon EC2 User Guide, "Use the Instance Metadata Service to access instance metadata".
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ADDRESS = ("169.254.169.254", 80)
LIFETIME = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"
LONGEST = 21600
VERSIONS = ("latest", "2021-03-23", "2009-04-04")
"""The newest and the oldest that cloud-init asks for, besides."""
CREDENTIALS = timedelta(hours=6)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    folder: Path
    tokens: dict[str, tuple[str, float]] = {}  # noqa: RUF012  the server's, not one request's

    def do_PUT(self) -> None:
        """Give a token."""
        lifetime = self.headers.get(LIFETIME, "")
        if self.path != "/latest/api/token":
            return self._answer(404)
        if not lifetime.isdigit() or not 1 <= int(lifetime) <= LONGEST:
            return self._answer(400)
        if self.headers.get("X-Forwarded-For"):
            return self._answer(403)
        token = secrets.token_urlsafe(40)
        self.tokens[token] = (self.client_address[0], time.monotonic() + int(lifetime))
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(self._instance()["hop_limit"]))
        self.close_connection = True
        return self._answer(200, token, {LIFETIME: lifetime})

    def do_GET(self) -> None:
        """Give what a path names."""
        address, end = self.tokens.get(self.headers.get(TOKEN, ""), ("", 0.0))
        boot = self.headers.get("User-Agent", "").startswith("Cloud-Init/")
        if not boot and (address != self.client_address[0] or end < time.monotonic()):
            return self._answer(401)
        parts = [part for part in self.path.partition("?")[0].split("/") if part]
        if not parts:
            return self._answer(200, "\n".join(VERSIONS))
        node: Any = self._tree() if parts[0] in VERSIONS else {}
        for part in parts[1:]:
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            return self._answer(404)
        if isinstance(node, dict):
            node = "\n".join(f"{name}/" if isinstance(found, dict) else name for name, found in node.items())
        return self._answer(200, node)

    def _instance(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"{self.client_address[0]}.json").read_text())
        return found

    def _tree(self) -> dict[str, Any]:
        instance, now = self._instance(), datetime.now(UTC)
        credentials = {
            "Code": "Success",
            "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "Type": "AWS-HMAC",
            "Expiration": f"{now + CREDENTIALS:%Y-%m-%dT%H:%M:%SZ}",
            **instance["credentials"],
        }
        role = {instance["role"]: json.dumps(credentials)}
        facts = instance["meta-data"]
        identity = {
            "accountId": instance["account"],
            "instanceId": facts["instance-id"],
            "region": facts["placement"]["region"],
            "availabilityZone": facts["placement"]["availability-zone"],
            "privateIp": facts["local-ipv4"],
            "version": "2017-09-30",
        }
        return {
            "dynamic": {"instance-identity": {"document": json.dumps(identity)}},
            "meta-data": {**facts, "iam": {"security-credentials": role}},
            "user-data": instance["user-data"],
        }

    def _answer(self, status: int, text: str = "", headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "text/plain", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until a signal ends it."""
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(ADDRESS, Handler)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()

"""The other end of an S3 store, so lean that what is measured is ours: it keeps objects in memory and verifies nothing.

A real service does its work on other machines, and all that a client sees of it is the time it takes. So this one only
waits: each answer comes `latency` seconds after its request.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote

Headers = dict[str, str]
MISSING = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"

EMPTY = b"<?xml version='1.0'?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


class Objects:
    """What is kept, by key, with the metadata that came with it."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.kept: dict[str, tuple[bytes, Headers]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                pairs = (line.split(":", 1) for line in head[1:] if line)
                headers = {name.lower(): value.strip() for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await asyncio.sleep(self.latency)
                status, extra, content = self._answer(method, unquote(target), headers, body)
                lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in extra.items())]
                lines += [f"content-length: {len(content)}", "", ""]
                writer.write("\r\n".join(lines).encode("latin-1"))
                if content and method != "HEAD":
                    writer.write(content)
                await writer.drain()
        with suppress(ConnectionError):
            writer.close()

    def _answer(self, method: str, key: str, headers: Headers, body: bytes) -> tuple[str, Headers, bytes]:
        if method == "GET" and "list-type=2" in key:  # whoever asks wants to know whether the bucket is new
            return "200 OK", {}, EMPTY
        if method == "PUT" and ("if-match" in headers or ("if-none-match" in headers and key in self.kept)):
            return "412 Precondition Failed", {}, MISSING.replace(b"NoSuchKey", b"PreconditionFailed")
        if method == "PUT":
            kept = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
            kept |= {
                "etag": f'"{hashlib.blake2b(body[:4096], digest_size=16).hexdigest()}"',
                "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            }
            self.kept[key] = body, kept
            return "200 OK", {"etag": kept["etag"]}, b""
        if method == "DELETE":
            self.kept.pop(key, None)
            return "204 No Content", {}, b""
        if key not in self.kept:
            return "404 Not Found", {}, MISSING
        content, kept = self.kept[key]
        return "200 OK", kept, content


@contextmanager
def bucket(latency: float) -> Iterator[int]:
    """Run the server in a thread; give its port on loopback."""
    ready: queue.SimpleQueue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()

    async def main() -> None:
        stop = asyncio.Event()
        async with await asyncio.start_server(Objects(latency).serve, "127.0.0.1", 0, limit=4 * 1024**2) as server:
            ready.put((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    port, loop, stop = ready.get()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)

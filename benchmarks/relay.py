"""A TCP relay that delays: a network with latency, on one machine, without any right.

``python -m benchmarks.relay LISTEN_PORT HOST:PORT --delay 0.020`` listens on the loopback address and holds every byte
back for the delay, each way: 0.020 makes a round trip of 40 ms. Connections themselves are accepted at once. It adds
latency alone: no loss, no slow start, and no limit of bandwidth but a window for what is on its way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 256 * 1024

WINDOW = 8 * 1024 * 1024
"""Bytes on their way, each way of each connection; the sender waits when the window is full."""


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass bytes on, each ``delay`` seconds after it came."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=max(1, WINDOW // CHUNK))

    async def deliver() -> None:
        while True:
            due, data = await on_the_way.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(CHUNK):
            await on_the_way.put((loop.time() + delay, data))
            if delivery.done():
                return
    finally:
        if not delivery.done():
            with contextlib.suppress(asyncio.QueueFull):
                on_the_way.put_nowait((loop.time() + delay, b""))
        with contextlib.suppress(OSError):
            await delivery


async def serve(port: int, host: str, target: int, delay: float) -> None:
    """Relay until cancelled."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(host, target, limit=CHUNK)
            for each in (writer, far_writer):
                each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(
                carry(reader, far_writer, delay), carry(far_reader, writer, delay), return_exceptions=True
            )
            far_writer.close()
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", port, limit=CHUNK)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def relay(host: str, port: int, delay: float) -> Iterator[int]:
    """Run a relay in a process of its own; give the port that it listens on."""
    words = [sys.executable, "-m", "benchmarks.relay", "0", f"{host}:{port}", "--delay", str(delay)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    """Read the command line and relay until interrupted."""
    parser = argparse.ArgumentParser(prog="benchmarks.relay", description="Delay TCP on the loopback address.")
    parser.add_argument("port", type=int, help="port to listen on; 0 chooses one and prints it")
    parser.add_argument("target", help="HOST:PORT to pass connections to")
    parser.add_argument("--delay", type=float, default=0.020, help="seconds, each way (default: 0.020)")
    options = parser.parse_args()
    host, _, target = options.target.rpartition(":")
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_precise) as runner:
        runner.run(serve(options.port, host, int(target), options.delay))


def _precise() -> asyncio.AbstractEventLoop:
    """Give an event loop that can wait for half a millisecond: epoll's waits are whole ones."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    main()

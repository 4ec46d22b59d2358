"""Many readers of event streams in one process of their own: raw sockets that note when each event came.

Run as a module; the task comes as one JSON line on standard input, `{"port": …, "executions": {id:
readers, …}}`. When all streams are open, a line says so; when all have ended, one line of JSON
follows (`Watched`). Times are microseconds of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import cast

import httptools
import msgspec
import uvloop

from perdure.bench.processes import allow_many_sockets

_END = b"event: end"


class Task(msgspec.Struct):
    port: int
    executions: dict[str, int]


class Watched(msgspec.Struct):
    """What one reader got: when each `seq` came, in the order of coming, and whether its stream ended as it should."""

    execution: str
    seqs: list[int]
    at_us: list[int]
    ended: bool


class Reader(asyncio.Protocol):
    """One stream. Frames are taken apart only as far as their ids."""

    def __init__(self, execution: str) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.watched = Watched(execution, [], [], ended=False)
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._now = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        path = f"/api/v1/executions/{self.watched.execution}/events"
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic_ns() // 1000
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.opened, self.closed):
            if not future.done():
                future.set_result(None)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200 and not self.opened.done():
            self.opened.set_exception(ConnectionError(f"HTTP {status} instead of an event stream"))

    def on_body(self, body: bytes) -> None:
        if not self.opened.done():
            self.opened.set_result(None)
        *frames, self._rest = (self._rest + body).split(b"\n\n")
        for frame in frames:
            if frame.startswith(_END):
                self.watched.ended = True
                if self._transport is not None:
                    self._transport.close()
            for line in frame.split(b"\n"):
                if line.startswith(b"id:"):
                    self.watched.seqs.append(int(line[3:]))
                    self.watched.at_us.append(self._now)


async def watch(task: Task) -> list[Watched]:
    """Open all streams, say so, read them to their ends."""
    loop = asyncio.get_running_loop()
    readers = []
    for execution, count in task.executions.items():
        for _ in range(count):
            _, reader = await loop.create_connection(partial(Reader, execution), "127.0.0.1", task.port)
            readers.append(reader)
    await asyncio.gather(*(reader.opened for reader in readers))
    print("open", flush=True)
    await asyncio.gather(*(reader.closed for reader in readers))
    return [reader.watched for reader in readers]


def main() -> None:
    """Do the task that comes on standard input."""
    allow_many_sockets()
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        watched = runner.run(watch(task))
    sys.stdout.buffer.write(msgspec.json.encode(watched) + b"\n")


if __name__ == "__main__":
    main()

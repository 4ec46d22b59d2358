"""Many readers of event streams in one process of their own: raw sockets that note when each event came.

Run as a module; the task comes as one JSON line on standard input (`Task`). When all streams are open, a line says so;
when all have ended, a JSON array of `Watched` stands in the file that the task names. A stream that is refused or breaks
off is asked for again from where it was, as browsers do. Times are microseconds of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path
from typing import cast

import httptools
import msgspec
import uvloop

from perdure.bench.processes import allow_many_sockets

_END = b"event: end"
_AGAIN_S = 0.5
"""Before a stream that broke off is asked for again."""


class Task(msgspec.Struct):
    """`executions`: how many readers of each; `result`: the path of the file that tells what they got."""

    port: int
    executions: dict[str, int]
    result: str


class Watched(msgspec.Struct):
    """What one reader got: when each `seq` came, in the order of coming, and whether its stream ended as it should."""

    execution: str
    seqs: list[int]
    at_us: list[int]
    ended: bool


class Connection(asyncio.Protocol):
    """One stream, or the part of it that comes over one connection. Frames are taken apart only as far as their ids."""

    def __init__(self, watched: Watched, opened: asyncio.Future[None]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watched = watched
        self._opened = opened
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._is_stream = False
        self._rest = b""
        self._now = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        lines = [
            f"GET /api/v1/executions/{self._watched.execution}/events HTTP/1.1", "Host: 127.0.0.1",
            "Accept: text/event-stream",
        ]  # fmt: skip
        if self._watched.seqs:
            lines.append(f"Last-Event-ID: {self._watched.seqs[-1]}")
        self._transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic_ns() // 1000
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._is_stream = status == 200
        if status not in (200, 503) and not self._opened.done():
            self._opened.set_exception(ConnectionError(f"HTTP {status} instead of an event stream"))

    def on_message_complete(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def on_body(self, body: bytes) -> None:
        if not self._is_stream:
            return
        if not self._opened.done():
            self._opened.set_result(None)
        *frames, self._rest = (self._rest + body).split(b"\n\n")
        for frame in frames:
            if frame.startswith(_END):
                self._watched.ended = True
                if self._transport is not None:
                    self._transport.close()
            for line in frame.split(b"\n"):
                if line.startswith(b"id:"):
                    self._watched.seqs.append(int(line[3:]))
                    self._watched.at_us.append(self._now)


async def follow(port: int, execution: str, opened: asyncio.Future[None]) -> Watched:
    """Read one stream to its end, over as many connections as that takes."""
    loop = asyncio.get_running_loop()
    watched = Watched(execution, [], [], ended=False)
    while not watched.ended:
        _, connection = await loop.create_connection(partial(Connection, watched, opened), "127.0.0.1", port)
        await connection.closed
        if not watched.ended:
            await asyncio.sleep(_AGAIN_S)
    return watched


async def watch(task: Task) -> list[Watched]:
    """Open all streams, say so, read them to their ends."""
    loop = asyncio.get_running_loop()
    executions = [execution for execution, count in task.executions.items() for _ in range(count)]
    opened = [loop.create_future() for _ in executions]
    async with asyncio.TaskGroup() as group:
        readers = [
            group.create_task(follow(task.port, execution, one))
            for execution, one in zip(executions, opened, strict=True)
        ]
        await asyncio.gather(*opened)
        print("open", flush=True)
    return [reader.result() for reader in readers]


def main() -> None:
    """Do the task that comes on standard input."""
    allow_many_sockets()
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        watched = runner.run(watch(task))
    Path(task.result).write_bytes(msgspec.json.encode(watched))


if __name__ == "__main__":
    main()

"""A lean HTTP/1.1 client for making load: kept connections, one request at a time on each, nothing checked twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple, cast

from perdure.bench.figures import BenchFailed

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class Answer(NamedTuple):
    status: int
    body: bytes


def request_bytes(
    method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole request, to be sent as often as wanted."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += [f"Content-Length: {len(body)}"]
        if "Content-Type" not in (headers or {}):
            lines += ["Content-Type: application/json"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


class Connection(asyncio.Protocol):
    """One kept connection. Answers must carry their length, as those of an API do."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._missing = -1
        self._head_size = 0
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if self._missing < 0:
            end = self._received.find(_HEAD_END)
            if end < 0:
                return
            self._head_size = end + len(_HEAD_END)
            self._missing = self._head_size + _content_length(self._received[:end])
        if len(self._received) >= self._missing:
            answer = Answer(int(self._received[9:12]), self._received[self._head_size : self._missing])
            self._received = b""
            self._missing = -1
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(answer)

    async def request(self, data: bytes) -> Answer:
        """Raises ConnectionError when the server hangs up."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(_LENGTH)
    if start < 0:
        return 0
    end = lower.find(b"\r\n", start + 2)
    return int(lower[start + len(_LENGTH) : end if end > 0 else None])


async def connect(port: int) -> Connection:
    """To a server on this machine's loopback interface."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


class Load(NamedTuple):
    answers: int
    elapsed_s: float
    latencies_us: list[float]

    @property
    def per_second(self) -> float:
        return self.answers / self.elapsed_s


async def make_load(port: int, request: bytes, *, expect: bytes, in_flight: int, seconds: float) -> Load:
    """Send the request over and over on `in_flight` connections; every answer is 200 and contains `expect`.

    Raises BenchFailed at the first answer that is another.
    """
    connections = [await connect(port) for _ in range(in_flight)]
    latencies: list[float] = []
    started = time.perf_counter()
    until = started + seconds

    async def keep_asking(connection: Connection) -> None:
        sent = time.perf_counter()
        while sent < until:
            answer = await connection.request(request)
            if answer.status != 200 or expect not in answer.body:
                raise BenchFailed(f"HTTP {answer.status} instead of 200 with {expect!r}: {answer.body[:500]!r}")
            now = time.perf_counter()
            latencies.append((now - sent) * 1e6)
            sent = now

    try:
        await asyncio.gather(*(keep_asking(connection) for connection in connections))
    finally:
        for connection in connections:
            connection.close()
    return Load(len(latencies), time.perf_counter() - started, latencies)

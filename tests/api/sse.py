"""Reading event streams in tests: messages from a response, and a bare connection that can stand still."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx2

from tests.api.world import API, World


class Message(NamedTuple):
    """`comment` is for lines that are none of the fields."""

    id: str | None
    event: str | None
    data: Any
    comment: str | None = None


class Stream:
    """The messages of one open stream, one at a time."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> Message | None:
        """The next block; None at the end of the stream."""
        fields: dict[str, str] = {}
        comment = None
        async for line in self._lines:
            if line == "":
                if fields or comment is not None:
                    data = json.loads(fields["data"]) if "data" in fields else None
                    return Message(fields.get("id"), fields.get("event"), data, comment)
                continue
            if line.startswith(":"):
                comment = line[1:].strip()
                continue
            name, _, value = line.partition(": ")
            fields[name] = value
        return None

    async def events(self, count: int | None = None) -> list[Message]:
        """Messages with data, up to so many, or to `event: end`."""
        found: list[Message] = []
        while count is None or len(found) < count:
            message = await self.next()
            if message is None or message.event == "end":
                return found
            if message.data is not None:
                found.append(message)
        return found


@asynccontextmanager
async def opened(world: World, path: str, **headers: str) -> AsyncIterator[Stream]:
    """`path` is below /api/v1; headers are written with `_` for `-`."""
    sent = {"accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with world.http.stream("GET", API + path, headers=sent, timeout=30) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)


class Still:
    """A reader that asks for a stream and then reads nothing, with the smallest buffer that the system allows."""

    def __init__(self, world: World, path: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        self._host, _, port = world.server.url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._path = path

    async def _connect(self) -> None:
        self._socket.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self._socket, (self._host, self._port))

    async def ask(self, more: str = "") -> None:
        """`more` are header lines besides."""
        loop = asyncio.get_running_loop()
        await self._connect()
        request = f"GET {API}{self._path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: text/event-stream\r\n{more}\r\n"
        await loop.sock_sendall(self._socket, request.encode())

    async def cut(self) -> None:
        """Until the server has dropped the connection; nothing is read."""
        watched = select.poll()
        watched.register(self._socket, select.POLLRDHUP)
        assert await asyncio.to_thread(watched.poll, 10_000), "the connection is still there"

    async def drain(self) -> bytes:
        """All that still comes, up to the end or the reset of the connection."""
        loop = asyncio.get_running_loop()
        found = b""
        try:
            while piece := await loop.sock_recv(self._socket, 1 << 20):
                found += piece
        except ConnectionResetError:
            pass
        return found

    def close(self) -> None:
        self._socket.close()


async def until(world: World, id: str, *types: str) -> None:
    """Wait for an event of one of these types."""
    accept = {"accept": "text/event-stream"}
    async with world.http.stream("GET", f"{API}/executions/{id}/events", headers=accept) as response:
        stream = Stream(response)
        while (message := await stream.next()) is not None:
            if message.data is not None and message.data.get("type") in types:
                return
    raise AssertionError(f"none of {types} came")

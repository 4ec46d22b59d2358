"""Talking to the WebSocket in tests: messages as JSON, and a bare connection that can stand still."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from httpx2.websockets import WebSocketDisconnect

from tests.api.sse import Still
from tests.api.world import API, World

LIMIT = 4 * 1024 * 1024
HANDSHAKE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


class Live:
    """One open connection; `ready` was read already, unless it is to be authenticated first."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def tell(self, type: str, **fields: Any) -> None:
        await self.socket.send_text(json.dumps({"type": type, **fields}))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            found: dict[str, Any] = json.loads(await self.socket.receive_text())
        return found

    async def subscribe(self, id: str, **fields: Any) -> dict[str, Any]:
        """The answer; nothing else is awaited before it."""
        await self.tell("subscribe", id=id, **fields)
        return await self.next()

    async def events(self, id: str, count: int | None = None) -> list[dict[str, Any]]:
        """Of one subscription, up to so many, or to its end."""
        found: list[dict[str, Any]] = []
        while count is None or len(found) < count:
            message = await self.next()
            assert message["type"] in {"event", "end", "cursor"}, message
            if message["id"] != id or message["type"] == "cursor":
                continue
            if message["type"] == "end":
                return found
            found.append(message["event"])
        return found

    async def closing(self) -> tuple[int, str]:
        """The code and the reason with which the server closes; messages before it are thrown away."""
        async with asyncio.timeout(20):
            while True:
                try:
                    await self.socket.receive()
                except WebSocketDisconnect as end:
                    return end.code, end.reason


@asynccontextmanager
async def connected(world: World, *, authenticates: bool = False, **headers: str) -> AsyncIterator[Live]:
    """Headers are written with `_` for `-`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    url = world.server.url.replace("http", "ws", 1) + f"{API}/ws"
    async with (
        httpx2.AsyncClient(headers=sent) as http,
        http.websocket(url, max_message_size_bytes=LIMIT, keepalive_ping_interval_seconds=None) as socket,
    ):
        live = Live(socket)
        if not authenticates:
            assert (await live.next())["type"] == "ready"
        yield live


class StillSocket(Still):
    """A reader that subscribes and then reads nothing, not even the answers."""

    async def subscribe(self, **fields: Any) -> None:
        await self._connect()
        loop = asyncio.get_running_loop()
        head = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
        request = f"GET {API}/ws HTTP/1.1\r\nHost: {self._host}\r\n{head}\r\n"
        await loop.sock_sendall(self._socket, request.encode())
        answer = b""
        while b'"ready"' not in answer:
            answer += await loop.sock_recv(self._socket, 64)
        await loop.sock_sendall(self._socket, masked(json.dumps({"type": "subscribe", "id": "a", **fields}).encode()))


def masked(payload: bytes, first: int = 0x81) -> bytes:
    """One frame of a client, masked by zeros; a text message unless `first` says otherwise."""
    if len(payload) < 126:
        size = bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        size = bytes([0x80 | 126]) + len(payload).to_bytes(2)
    else:
        size = bytes([0x80 | 127]) + len(payload).to_bytes(8)
    return bytes([first]) + size + bytes(4) + payload

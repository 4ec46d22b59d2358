"""A TCP proxy before PostgreSQL that loses a COMMIT, or the answer to it, at a moment of the test's choosing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum

COMMIT = b"COMMIT\x00"
"""The end of a simple query that commits."""


class Loss(Enum):
    """What becomes of the next COMMIT; the client's connection is cut each time."""

    REPLY = "the server commits, its answer is lost"
    REQUEST = "the server never hears of it, and sees the connection end"
    BEFORE = "it reaches the server when the client is just connecting again"
    AFTER = "it reaches the server when the client has written on a new connection"


class Proxy:
    """Made and used on one event loop."""

    def __init__(self, target: int) -> None:
        """`target` is the port of the server; it may be changed at any time."""
        self.losses = 0
        self.lost = asyncio.Event()
        """Set from the first loss on."""
        self.target = target
        self._next_loss: Loss | None = None
        self._then_target = target
        self._held: tuple[Loss, bytes, _Line] | None = None
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Returns the port to connect to."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def lose_next(self, loss: Loss, then_target: int | None = None) -> None:
        """With `then_target`, new connections go to that port from the loss on."""
        self._next_loss = loss
        self._then_target = then_target or self.target

    async def close(self) -> None:
        self._server.close()
        for line in list(self._lines):
            line.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        line = _Line((reader, writer), server)
        self._lines.add(line)
        if self._held is not None and self._held[0] is Loss.BEFORE:
            await self._deliver()
        task = asyncio.create_task(line.answer())
        self._tasks.add(task)
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                if COMMIT in data and self._next_loss is not None:
                    await self._lose(line, data)
                    return
                line.to_server.write(data)
                if COMMIT in data and self._held is not None:
                    await line.next_answer()
                    await self._deliver()
        line.cut()

    async def _lose(self, line: _Line, data: bytes) -> None:
        loss, self._next_loss = self._next_loss, None
        assert loss is not None
        self.losses += 1
        self.lost.set()
        self.target = self._then_target
        line.is_mute = True
        if loss is Loss.REPLY:
            line.to_server.write(data)
            await line.next_answer()
        elif loss in (Loss.BEFORE, Loss.AFTER):
            self._held = (loss, data, line)
            line.to_client.transport.abort()
            return
        line.cut()

    async def _deliver(self) -> None:
        assert self._held is not None
        _, data, line = self._held
        self._held = None
        line.to_server.write(data)
        await line.next_answer()
        line.cut()


class _Line:
    """A connection of the client, and ours to the server for it."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._from_server = server[0]
        self.to_server = server[1]
        self.to_client = client[1]
        self.is_mute = False
        self._answered = asyncio.Event()
        self._has_ended = False

    async def answer(self) -> None:
        with suppress(ConnectionError):
            while data := await self._from_server.read(1 << 20):
                if not self.is_mute:
                    self.to_client.write(data)
                self._answered.set()
        self._has_ended = True
        self._answered.set()
        if not self.is_mute:
            self.cut()

    async def next_answer(self) -> None:
        """The next bytes from the server, or its end."""
        if not self._has_ended:
            self._answered.clear()
            await self._answered.wait()

    def cut(self) -> None:
        self.to_server.close()
        self.to_client.transport.abort()

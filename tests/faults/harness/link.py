"""The wire between one process and its database, which can be made as bad as wires are.

A TCP proxy on a thread of its own: slow, silent in either direction, cut, or cut at exactly one message.
What a silent wire was given is delivered when it heals, as a network does that lost packets only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

from tests.faults.harness.waiting import now_us
from tests.faults.harness.wire import ClientMessages, Message, ends_answer

T = TypeVar("T")

UP, DOWN = "to the database", "to the client"
BOTH = (UP, DOWN)


class Act(Enum):
    """What becomes of a client's message."""

    LOSE = "it never arrives, and both sides are cut off"
    LOSE_REPLY = "it is carried out, and the client is cut off before it hears of it"
    HOLD = "it arrives when `release` is called; the client is cut off, the server thinks that it is there"
    STALL = "it arrives when `release` is called; the client waits"


Rule = Callable[[Message], "Act | bytes | None"]
"""Decides about each message of the clients: None lets it pass, bytes travel in its place."""


class Link:
    """`port` is where the process finds the database."""

    def __init__(self, database_port: int) -> None:
        self._database_port = database_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.rule: Rule | None = None
        self._bad_since: int | None = None
        self._bad: list[tuple[int, int]] = []
        self._delays = dict.fromkeys(BOTH, 0.0)
        self._silent: set[str] = set()
        self._connections: set[_Connection] = set()
        self._held: list[tuple[_Connection, Message]] = []
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link {self.port}", daemon=True)
        self._thread.start()
        self._server = self._call(self._listen())

    def was_bad(self, since: int, until: int) -> bool:
        """Whether anything was done to it in that time (microseconds)."""
        if self._bad_since is not None and self._bad_since <= until:
            return True
        return any(begin <= until and end >= since for begin, end in self._bad)

    # What can happen to it

    def slow_down(self, seconds: float, *directions: str) -> None:
        """Every piece takes so much longer, in both directions unless told otherwise."""
        self._spoil()
        for direction in directions or BOTH:
            self._delays[direction] = seconds

    def silence(self, *directions: str, listening: bool = False) -> None:
        """Nothing comes through any more, in both directions unless told otherwise; nobody is told.

        With `listening`, only connections that have said LISTEN fall silent, and new ones are sound.
        """
        self._spoil()

        async def silence() -> None:
            if not listening:
                self._silent |= set(directions or BOTH)
            for one in self._connections:
                if one.listens or not listening:
                    for direction in directions or BOTH:
                        one.gates[direction].clear()

        self._call(silence())

    def heal(self) -> None:
        """As fast as ever again; what was held back by silence is delivered."""

        async def heal() -> None:
            self._silent.clear()
            self._delays.update(dict.fromkeys(BOTH, 0.0))
            for one in self._connections:
                for gate in one.gates.values():
                    gate.set()

        self._call(heal())
        if self._bad_since is not None:
            self._bad.append((self._bad_since, now_us()))
            self._bad_since = None

    def cut(self) -> None:
        """Reset all connections; new ones are sound."""
        self._strike()

        async def cut() -> None:
            for one in list(self._connections):
                one.cut()

        self._call(cut())

    def release(self) -> None:
        """Deliver what was held or stalled."""
        self._strike()

        async def release() -> None:
            for connection, message in self._held:
                connection.server.write(message.data)
                connection.server.close()
                await connection.closed()
                self._connections.discard(connection)
            self._held.clear()
            self._released.set()
            self._released = asyncio.Event()

        self._call(release())

    def close(self) -> None:
        async def close() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for one in list(self._connections):
                one.cut()
                await one.closed()

        self._call(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _spoil(self) -> None:
        self._bad_since = self._bad_since or now_us()

    def _strike(self) -> None:
        at = now_us()
        self._bad.append((at, at))

    # On the thread's loop

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, sock=self._listener)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = _Connection(writer, self._silent)
        self._connections.add(connection)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await connection.gates[UP].wait()
            answers, connection.server = await asyncio.open_connection("127.0.0.1", self._database_port)
            pumps = [
                self._loop.create_task(self._pump_up(reader, connection)),
                self._loop.create_task(self._pump_down(answers, connection)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        if any(connection is one for one, _ in self._held):
            reset(connection.client)
            return
        connection.cut()
        await connection.closed()
        self._connections.discard(connection)

    async def _pump_up(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        messages = ClientMessages()
        while data := await reader.read(65_536):
            await self._travel(connection, UP)
            for message in messages.feed(data):
                if b"LISTEN" in message.data:
                    connection.listens = True
                act = None if self.rule is None else self.rule(message)
                if act is not None:
                    self._strike()
                if act is Act.LOSE:
                    return
                if act is Act.HOLD:
                    self._held.append((connection, message))
                    return
                if act is Act.STALL:
                    began = now_us()
                    await self._released.wait()
                    self._bad.append((began, now_us()))
                connection.deaf |= act is Act.LOSE_REPLY
                connection.server.write(act if isinstance(act, bytes) else message.data)
            await connection.server.drain()

    async def _pump_down(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(65_536):
            await self._travel(connection, DOWN)
            if connection.deaf:
                if ends_answer(data):
                    return
                continue
            connection.client.write(data)
            await connection.client.drain()

    async def _travel(self, connection: _Connection, direction: str) -> None:
        if delay_s := self._delays[direction]:
            await asyncio.sleep(delay_s)
        await connection.gates[direction].wait()


class _Connection:
    """One client of a link and, once it is reached, the database's end."""

    server: asyncio.StreamWriter

    def __init__(self, client: asyncio.StreamWriter, silent: set[str]) -> None:
        self.client = client
        self.listens = False
        self.deaf = False
        """The client hears nothing more: the next answer is the last."""
        self.gates = {direction: asyncio.Event() for direction in BOTH}
        for direction in set(BOTH) - silent:
            self.gates[direction].set()

    def cut(self) -> None:
        for writer in self._ends():
            reset(writer)

    async def closed(self) -> None:
        for writer in self._ends():
            with contextlib.suppress(OSError):
                # Whoever is cancelled meanwhile must not cancel this for the others who wait for it.
                await asyncio.shield(writer.wait_closed())

    def _ends(self) -> list[asyncio.StreamWriter]:
        return [self.client, self.server] if hasattr(self, "server") else [self.client]


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as if its peer had died: what is under way is lost."""
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Strike:
    """A rule for the `nth` commit from now on, and `times` - 1 further ones; `struck` is set at the last."""

    def __init__(self, act: Act | bytes, *, nth: int = 1, times: int = 1) -> None:
        self.struck = threading.Event()
        self._act = act
        self._before = nth - 1
        self._left = times

    def __call__(self, message: Message) -> Act | bytes | None:
        if not message.commits or self.struck.is_set():
            return None
        if self._before:
            self._before -= 1
            return None
        self._left -= 1
        if not self._left:
            self.struck.set()
        return self._act

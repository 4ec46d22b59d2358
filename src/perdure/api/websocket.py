"""One WebSocket connection (RFC 6455): its handshake, its messages and its end, within bounds.

Takes over a connection that HTTP has read the request of. Text messages only, without compression.
What is sent waits for the reader, and while it waits nothing more is read from him.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import socket
import struct
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import ParseFailed
from wsproto.utilities import LocalProtocolError

from perdure.api.answer import Header
from perdure.errors import UpgradeRequired

MESSAGE_BYTES = 64 * 1024
"""Of one message of a client."""
WAITING_MESSAGES = 16
"""Of a client, that were read and not looked at; then it is read no further."""
CLOSE_S = 1.0
"""Seconds in which a reader has to answer a close; then the connection is dropped."""

GOING_AWAY, UNSUPPORTED, POLICY, TOO_BIG, INTERNAL = 1001, 1003, 1008, 1009, 1011
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class ConnectionGone(Exception):
    """Nobody is at the other end any more."""


def asks_for_upgrade(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request asks for a WebSocket at all."""
    return headers.get(b"upgrade", b"").strip().lower() == b"websocket"


def handshake(method: str, headers: Mapping[bytes, bytes]) -> Header:
    """The header that accepts a WebSocket. Raises UpgradeRequired where the request asks for none that is understood."""
    connection = [part.strip() for part in headers.get(b"connection", b"").lower().split(b",")]
    key = headers.get(b"sec-websocket-key", b"").strip()
    if (
        method != "GET"
        or not asks_for_upgrade(headers)
        or b"upgrade" not in connection
        or headers.get(b"sec-websocket-version", b"").strip() != b"13"
        or not _is_key(key)
    ):
        raise UpgradeRequired("this is a WebSocket: send a handshake of RFC 6455, version 13")
    accepted = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
    return b"sec-websocket-accept", accepted


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def drop_connection(transport: asyncio.Transport) -> None:
    """Reset it: without a linger of 0 the kernel would keep what waits for a reader that stands still."""
    connected: socket.socket | None = transport.get_extra_info("socket")
    if connected is not None:
        with suppress(OSError), socket.socket(fileno=os.dup(connected.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class WebSocket(asyncio.Protocol):
    """The connection as the loop and a session see it."""

    def __init__(self, transport: asyncio.Transport, connections: set[Any]) -> None:
        """`connections` are all of the listener; this one is among them while it lasts."""
        self._frames = Connection(ConnectionType.SERVER)
        self._connections = connections
        self._messages: deque[str] = deque()
        self._fragments: list[str] = []
        self._size = 0
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self._reads = True
        self._is_broken = False
        self.transport = transport
        self.heard = 0
        """How often the reader has sent something."""
        self.moves = 0
        """How often he has taken what waited for him."""
        connections.add(self)

    @property
    def is_stuck(self) -> bool:
        """Whether so much waits for the reader that nothing more is sent."""
        return not self._writable.is_set()

    def accept(self, headers: list[Header]) -> None:
        """Send the response that makes the connection a WebSocket."""
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n%b\r\n" % lines
        )

    async def receive(self) -> str:
        """The next message. Raises ConnectionGone when none comes any more."""
        while not self._messages:
            if self._gone.is_set() or self._frames.state is not ConnectionState.OPEN:
                raise ConnectionGone
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._regulate()
        return message

    async def send(self, text: bytes) -> None:
        """Send a message of UTF-8, and wait until the connection takes more. Raises ConnectionGone."""
        self._write(TextMessage(data=text.decode()))
        await self._drained()

    async def ping(self) -> None:
        """Raises ConnectionGone."""
        self._write(Ping())
        await self._drained()

    async def close(self, code: int, reason: str) -> None:
        """Say why it ends, wait a moment for the answer, and end it. Of the reason, 123 bytes are sent."""
        self._answer(CloseConnection(code=code, reason=reason.encode()[:123].decode(errors="ignore")))
        self._regulate()
        if not await self._ends():
            await self.drop()

    async def drop(self) -> None:
        """End it with all that waits in it."""
        drop_connection(self.transport)
        await self._ends()

    def shutdown(self) -> None:
        """As the listener asks of every connection that is left when it closes."""
        drop_connection(self.transport)

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        if self._is_broken or self.transport.is_closing():
            return
        try:
            self._frames.receive_data(data)
            for event in self._frames.events():
                self._take(event)
        except ParseFailed as error:
            self._is_broken = True
            self._refuse(int(error.code), str(error))
        self._regulate()

    def eof_received(self) -> None:
        self.transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self)
        self._gone.set()
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._regulate()

    def resume_writing(self) -> None:
        self.moves += 1
        self._writable.set()
        self._regulate()

    def _take(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            self._answer(event.response())
            self._arrived.set()
            self.transport.close()
        elif self._frames.state is not ConnectionState.OPEN:
            return
        elif isinstance(event, TextMessage):
            # An empty frame counts too: there may be any number of them in a message.
            self._size += len(event.data.encode()) or event.frame_finished
            if self._size > MESSAGE_BYTES:
                self._refuse(TOO_BIG, f"a message may have {MESSAGE_BYTES} bytes")
                return
            self._fragments.append(event.data)
            if event.message_finished:
                self._messages.append("".join(self._fragments))
                self._fragments.clear()
                self._size = 0
                self._arrived.set()
        elif isinstance(event, BytesMessage):
            self._refuse(UNSUPPORTED, "messages are text")
        elif isinstance(event, Ping):
            self._answer(event.response())

    def _answer(self, event: Event) -> None:
        with suppress(ConnectionGone):
            self._write(event)

    def _refuse(self, code: int, reason: str) -> None:
        """The reader broke the rules: of what he sends, only his close is looked at. The session ends the connection."""
        self._messages.clear()
        self._fragments.clear()
        self._answer(CloseConnection(code=code, reason=reason[:100]))
        self._arrived.set()

    def _write(self, event: Event) -> None:
        if self._gone.is_set() or self.transport.is_closing():
            raise ConnectionGone
        try:
            data = self._frames.send(event)
        except LocalProtocolError:  # a close is on its way
            raise ConnectionGone from None
        self.transport.write(data)

    async def _ends(self) -> bool:
        """Whether it does within CLOSE_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._gone.wait()
        return self._gone.is_set()

    async def _drained(self) -> None:
        await self._writable.wait()
        if self._gone.is_set():
            raise ConnectionGone

    def _regulate(self) -> None:
        """Read on only while what is sent is taken, and what was read is looked at."""
        is_open = self._frames.state is ConnectionState.OPEN
        wanted = not is_open or (self._writable.is_set() and len(self._messages) < WAITING_MESSAGES)
        if wanted == self._reads or self.transport.is_closing():
            return
        self._reads = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

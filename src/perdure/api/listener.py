"""Listening: uvicorn's HTTP protocol inside the engine's own loop, without its process management.

What it adds: connections that send no whole request head in time are closed, their number is
bounded, and a response can ask for its connection to be dropped with all that waits in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from email.utils import formatdate
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from perdure.api.problems import raw_problem
from perdure.api.websocket import WebSocket, drop_connection
from perdure.errors import MalformedRequest, TooManyConnections

KEEP_ALIVE_S = 75
HEAD_TIMEOUT_S = 30.0
"""Seconds in which a connection's first request head has to arrive."""
LINGER_S = 2.0
"""Seconds for which the rest of a request that was answered early is still read, and thrown away."""
CLOSE_S = 5.0
"""Seconds that running requests are given when the listener closes."""
MAX_CONNECTIONS = 10_000


class _Protocol(HttpToolsProtocol):
    """One connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None
    _message_complete = True

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.write(raw_problem(TooManyConnections(f"the server holds {MAX_CONNECTIONS} connections")))
            transport.close()
            return
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._message_complete = False
        extensions: dict[str, Any] = {"perdure.abort": self._drop, "perdure.upgrade": self._upgrade}
        self.scope["extensions"] = extensions
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._message_complete = True
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._message_complete and not self.transport.is_closing():
            # Closing at once would reset the connection, and the answer with it, before the caller has read it.
            self._linger_timer = self.loop.call_later(LINGER_S, self._drop)

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            # A reader that stands still would hold the answer in memory for as long as it likes.
            self._drop()
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        self.transport.write(raw_problem(MalformedRequest("this is not HTTP/1.1 as it should be")))
        self.transport.close()

    def _head_overdue(self) -> None:
        self._head_timer = None
        self._drop()

    def _drop(self) -> None:
        if not self.transport.is_closing():
            drop_connection(self.transport)

    def _upgrade(self) -> WebSocket:
        """Hand the connection over to frames: of HTTP, no more is read from it, and nothing is written."""
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.cycle.disconnected = True
        self.flow.resume_reading()
        taken = WebSocket(self.transport, self.connections)
        self.transport.set_protocol(taken)
        return taken

    def _unsupported_upgrade_warning(self) -> None:
        """The route decides what an upgrade is worth."""

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Listener:
    """Serves an ASGI application on one address. `close` lets running requests end, within bounds."""

    def __init__(self, *, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._date: asyncio.TimerHandle | None = None
        self.port = port

    def bind(self, adopted: socket.socket | None = None) -> None:
        """Take the port (0: any free one), so that the URL is known before anything is served. Raises OSError.

        `adopted` is a socket that listens on it already, which this process was left by its predecessor.
        """
        self._socket = adopted or _bound(self._host, self._port)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    async def start(self, app: Any) -> None:
        # uvicorn's own log would repeat what the API says with more words; errors still go to the root logger.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
        )  # fmt: skip
        config.load()
        loop = asyncio.get_running_loop()
        self._refresh_date()

        def connect() -> asyncio.Protocol:
            return _Protocol(config=config, server_state=self._state, app_state={}, _loop=loop)

        self._server = await loop.create_server(connect, sock=self._socket, backlog=2048)

    def duplicate(self) -> int:
        """A descriptor of the socket, to be closed by who asks: while one is open, callers are not refused but wait."""
        return os.dup(self._socket.fileno())

    async def close(self) -> None:
        """Stop listening, let running requests end within CLOSE_S, and drop what is left."""
        if self._date is not None:
            self._date.cancel()
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks = set(self._state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _refresh_date(self) -> None:
        """The Date header, every second: cheaper than for every answer."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._date = asyncio.get_running_loop().call_later(1.0, self._refresh_date)


def _bound(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound

"""Listening: uvicorn's HTTP protocol inside the engine's own loop, without its process management.

What it adds: connections that send no whole request head in time, or one too large, are closed, their
number is bounded, and a response can ask for its connection to be dropped with all that waits in it.
What two readers of one request could take for different things (RFC 9112, sections 3.2 and 11.2) is
refused, or read in the one way that the RFC knows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections import deque
from email.utils import formatdate
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from perdure.api.problems import raw_problem
from perdure.api.websocket import WebSocket, drop_connection
from perdure.errors import HeadTooLarge, MalformedRequest, PerdureError, TooManyConnections

KEEP_ALIVE_S = 75
HEAD_TIMEOUT_S = 30.0
"""Seconds in which a request's head has to arrive, from its first byte, or from the connection's begin."""
HEAD_LIMIT = 64 * 1024
"""Bytes of a request's head, and the trailer of its body with it, each field counted with FIELD_BYTES besides."""
FIELD_BYTES = 32
"""What a field costs beside its characters (as RFC 9113, section 6.5.2, counts)."""
LINGER_S = 2.0
"""Seconds for which the rest of a request that was answered early is still read, and thrown away."""
CLOSE_S = 5.0
"""Seconds that running requests are given when the listener closes."""
MAX_CONNECTIONS = 10_000
"""At once; and not more than half of the files that this process may open, for the store and the nodes need some too."""


_SINGLE = frozenset(
    {b"host", b"origin", b"authorization", b"content-type", b"idempotency-key", b"last-event-id", b"perdure-workspace"}
)
"""Fields that stand in a request once; of two, a proxy before us may have looked at the other one."""


class _Protocol(HttpToolsProtocol):
    """One connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None
    _head_size = 0
    _unnamed = 0
    """Bytes that came since the parser last had something to say."""
    _reads_body = False
    _begins_anew = False

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.access_log = False
        self._unanswered: deque[RequestResponseCycle] = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        most = _most_connections()
        if len(self.connections) > most:
            transport.write(raw_problem(TooManyConnections(f"the server holds {most} connections")))
            transport.close()
            return
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)
        for cycle in self._unanswered:
            # Of requests one behind the other, uvicorn tells the last one alone.
            cycle.disconnected = True
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._unnamed += len(data)
        try:
            self._parse(data)
            self._check_head_size(self._unnamed)
        except httptools.HttpParserError as fault:
            # What a callback raises is the context of what the parser makes of it.
            found = fault.__context__
            if not isinstance(found, PerdureError):
                found = MalformedRequest("this is not HTTP/1.1 as it should be")
            self._refuse(found)
        except HeadTooLarge as error:
            self._refuse(error)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = self._unnamed = 0
        extensions: dict[str, Any] = {"perdure.abort": self._drop, "perdure.upgrade": self._upgrade}
        self.scope["extensions"] = extensions
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + FIELD_BYTES)
        if not self._reads_body:
            # Behind the body it is a trailer, which is no part of the head (RFC 9110, section 6.5.1).
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        self._check_fields()
        self._begins_anew = self.parser.should_upgrade() and not self._may_upgrade()
        if self._begins_anew:
            return
        super().on_headers_complete()
        self._reads_body = True
        self._unanswered.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._unnamed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._begins_anew:
            return
        self._reads_body = False
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._unanswered.popleft()
        super().on_response_complete()
        if self.transport.is_closing():
            self._linger_timer = self.loop.call_later(KEEP_ALIVE_S, self._drop_unread)
        elif self._reads_body and not self._unanswered:
            # Closing at once would reset the connection, and the answer with it, before the caller has read it.
            self._linger_timer = self.loop.call_later(LINGER_S, self._drop)

    def timeout_keep_alive_handler(self) -> None:
        self._drop_unread()
        super().timeout_keep_alive_handler()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._begins_anew:
                # The parser takes what follows such a head for another protocol: the body would be the next request.
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self._parse(head + data[upgrade.args[0] :])

    def _may_upgrade(self) -> bool:
        """Whether a request may become a WebSocket; another `Upgrade` is not heeded (RFC 9110, section 7.8)."""
        names = {name for name, _ in self.headers}
        upgrade = next((value for name, value in self.headers if name == b"upgrade"), b"")
        return upgrade.strip().lower() == b"websocket" and not names & {b"content-length", b"transfer-encoding"}

    def _head_without_upgrade(self) -> bytes:
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        version = self.parser.get_http_version().encode()
        return b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(fields))

    def _count(self, size: int) -> None:
        self._unnamed = 0
        self._head_size += size
        self._check_head_size(self._head_size)

    def _check_head_size(self, size: int) -> None:
        if size > HEAD_LIMIT:
            raise HeadTooLarge(f"the request's head, or the trailer of its body, is larger than {HEAD_LIMIT} bytes")

    def _check_fields(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise MalformedRequest("CONNECT is for proxies, and this is none")
        names = [name for name, _ in self.headers]
        if len(set(names)) < len(names):
            twice = sorted(name.decode() for name in _SINGLE if names.count(name) > 1)
            if twice:
                raise MalformedRequest(f"the request has the field {twice[0]} more than once")
        if b"host" not in names and self.parser.get_http_version() == "1.1":
            raise MalformedRequest("the request has no field host")

    def _refuse(self, error: PerdureError) -> None:
        """Close, and say why, unless an answer is due or on its way, which the words would be taken for."""
        due = self._unanswered[0] if self._unanswered else None
        if due is None or (due is self.cycle and self._reads_body and not due.response_started):
            self.transport.write(raw_problem(error))
            self.transport.close()
            self._linger_timer = self.loop.call_later(KEEP_ALIVE_S, self._drop_unread)
        else:
            self._drop()
        if due is not None:
            due.disconnected = True
            due.message_event.set()

    def _head_overdue(self) -> None:
        self._head_timer = None
        self._drop()

    def _drop(self) -> None:
        if not self.transport.is_closing():
            drop_connection(self.transport)

    def _drop_unread(self) -> None:
        """A reader that stands still would hold the answer in memory for as long as it likes."""
        if self.transport.get_write_buffer_size():
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

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _most_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files // 2)


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

"""A bad network between client and server: a TCP proxy that loses replies, and one that repeats requests.

Both understand just enough of HTTP/1.1 to tell one request from the next: heads, and bodies with a Content-Length.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

Exchange = Callable[[bytes, "Upstream"], bytes | None]
"""Handles one request (head and body) and gives the reply for the client; None cuts the client off."""


class Upstream:
    """The server behind the proxy: each call is a connection of its own."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url

    def call(self, request: bytes) -> bytes:
        """Send one request, read one whole reply. Raises OSError."""
        parts = urlsplit(self._url())
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as server:
            server.sendall(request)
            return read_message(server) or b""


class Proxy:
    """Listens on a port of its own; `exchange` decides what becomes of every request."""

    def __init__(self, upstream: Callable[[], str], exchange: Exchange) -> None:
        self._upstream = Upstream(upstream)
        self._exchange = exchange
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._acceptor, *self._threads]:
            thread.join(10)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(30)
            while (request := read_message(client)) is not None:
                reply = self._exchange(request, self._upstream)
                if reply is None:
                    return
                client.sendall(reply)


def read_message(connection: socket.socket) -> bytes | None:
    """One whole request or reply; None at the end of the connection. Raises OSError."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return head + b"\r\n\r\n" + body


class ReplyLost:
    """Lets every request through, and loses the reply of the first `count`."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()
        self.replies: list[bytes] = []
        """What the clients never got."""

    def __call__(self, request: bytes, upstream: Upstream) -> bytes | None:
        reply = upstream.call(request)
        with self._lock:
            if self._left > 0:
                self._left -= 1
                self.replies.append(reply)
                return None
        return reply


class Repeater:
    """Sends every request several times at once, answers with the first reply, and keeps all that it ever saw.

    `repeat_all` sends the whole history once more, in the given order.
    """

    def __init__(self, times: int) -> None:
        self._times = times
        self._lock = threading.Lock()
        self.requests: list[bytes] = []
        self.replies: list[bytes] = []

    def __call__(self, request: bytes, upstream: Upstream) -> bytes | None:
        with self._lock:
            self.requests.append(request)
        replies: list[bytes] = []
        threads = [threading.Thread(target=lambda: replies.append(upstream.call(request))) for _ in range(self._times)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            self.replies += replies
        return replies[0]


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])

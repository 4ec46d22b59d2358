"""What a handler gives back: a value to encode, or something that writes the response by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import msgspec

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]


class ClientGone(Exception):
    """The client went away; nobody waits for an answer."""


async def disconnected(receive: Receive) -> None:
    """Returns when the client is gone; what else it sends is passed over."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Answer(msgspec.Struct, kw_only=True):
    """A response that is small enough to be made at once.

    `body` is encoded as JSON, unless it is bytes (then `media_type` says what they are) or None (no body).
    """

    body: Any = None
    status: int = 200
    headers: list[Header] = msgspec.field(default_factory=list)
    media_type: bytes = b"application/json"


class Responder(Protocol):
    """Writes its response itself: an event stream, a file."""

    async def respond(self, *, headers: list[Header], head_only: bool, receive: Receive, send: Send) -> int:
        """Send everything; the answer is the status that was sent. `headers` are those of every response."""
        ...

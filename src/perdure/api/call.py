"""One request, read and checked: what a handler gets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from perdure.api.answer import ClientGone, Receive, Scope, disconnected
from perdure.api.services import Services
from perdure.auth.authority import Principal

Q = TypeVar("Q")
B = TypeVar("B")
T = TypeVar("T")


class Call(msgspec.Struct, Generic[Q, B], kw_only=True):
    """`services` is what the server is made of; `path` holds the parsed path parameters by name."""

    services: Services
    query: Q
    body: B
    path: Mapping[str, Any]
    headers: Mapping[bytes, bytes]
    principal: Principal
    workspace: str
    request_id: str
    raw_path: str
    raw_query: str
    scope: Scope
    receive: Receive

    def header(self, name: bytes) -> str | None:
        """A request header's value; None when it is not there."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def header_list(self, name: bytes) -> list[str]:
        """The entries of a header that is a list, set apart by commas or on lines of their own (RFC 9110 §5.3)."""
        lines = [value for key, value in self.scope["headers"] if key == name]
        return [entry.strip() for entry in b",".join(lines).decode("latin-1").split(",") if entry.strip()]

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives; it is cancelled when the client goes away. Raises ClientGone."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(disconnected(self.receive))
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            return task.result()
        finally:
            gone.cancel()
            task.cancel()

    def abort(self) -> None:
        """Drop the connection with all that waits in it; closing it politely would wait for the reader."""
        abort = self.scope.get("extensions", {}).get("perdure.abort")
        if abort is not None:
            abort()

    def wants_stream(self) -> bool:
        """Whether the Accept header asks for an event stream by name (a wildcard does not)."""
        accept = self.headers.get(b"accept")
        return accept is not None and b"text/event-stream" in accept.lower()

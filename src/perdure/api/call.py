"""One request, read and checked: what a handler gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from perdure.api.answer import Scope
from perdure.api.services import Services
from perdure.auth.authority import Principal

Q = TypeVar("Q")
B = TypeVar("B")


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

    def header(self, name: bytes) -> str | None:
        """A request header's value; None when it is not there."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def abort(self) -> None:
        """Drop the connection with all that waits in it; closing it politely would wait for the reader."""
        abort = self.scope.get("extensions", {}).get("perdure.abort")
        if abort is not None:
            abort()

    def wants_stream(self) -> bool:
        """Whether the Accept header asks for an event stream by name (a wildcard does not)."""
        accept = self.headers.get(b"accept")
        return accept is not None and b"text/event-stream" in accept.lower()

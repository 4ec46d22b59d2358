"""What a route is: everything that serving it, checking it, documenting it and testing it need, as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from perdure.api.answer import Answer, Responder
from perdure.auth.roles import Role
from perdure.errors import (
    HeadTooLarge,
    HostRefused,
    InvalidIdentifier,
    InvalidRequest,
    MalformedDocument,
    MalformedRequest,
    OriginRefused,
    PayloadTooLarge,
    PerdureError,
    PermissionDenied,
    RequestTimeout,
    StoreFull,
    StoreUnavailable,
    TooManyConnections,
    Unauthenticated,
    UnsupportedMediaType,
    WorkspaceNotFound,
)

API = "/api/v1"
JSON = "application/json"
YAML = "application/yaml"
EVENT_STREAM = "text/event-stream"

Handler = Callable[[Any], Awaitable[Answer | Responder]]
"""Takes a `Call` of the route's query and body types."""


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route that takes no query parameters."""


class Document(msgspec.Struct, frozen=True):
    """A body that its handler reads by itself (a flow in YAML or JSON): the bytes and their media type."""

    data: bytes
    media_type: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a call succeeds. `type` None has no body (or bytes of any kind)."""

    status: int = 200
    type: Any = None
    media_type: str = JSON
    description: str = "OK"
    headers: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the route table.

    `path` is whole, with `{parameter}` segments that `perdure.api.path` knows. `role` None is public.
    `errors` are those that the handler itself may raise; those of the machinery are added by
    `all_errors`. `streams` marks routes that may answer with an event stream; `upgrades` those that
    become a WebSocket, whose caller may also say who he is in its first message.
    """

    method: str
    path: str
    summary: str
    tag: str
    handler: Handler
    role: Role | None
    outcomes: tuple[Outcome, ...]
    description: str = ""
    query: type[msgspec.Struct] = NoQuery
    body: Any = None
    body_required: bool = True
    media_types: tuple[str, ...] = (JSON,)
    request_headers: tuple[str, ...] = ()
    errors: tuple[type[PerdureError], ...] = ()
    streams: bool = False
    upgrades: bool = False

    @property
    def name(self) -> str:
        """Stable, unique, fit for an operation id: the handler's name."""
        return getattr(self.handler, "__name__", self.path)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def changes_state(self) -> bool:
        return self.method not in {"GET", "HEAD", "OPTIONS"}

    def all_errors(self) -> tuple[type[PerdureError], ...]:
        """The handler's errors and those that the machinery raises for a route like this one."""
        errors: list[type[PerdureError]] = [MalformedRequest, HeadTooLarge, TooManyConnections, HostRefused]
        if self.role is not None:
            errors += [Unauthenticated, PermissionDenied, WorkspaceNotFound, StoreUnavailable]
        if self.parameters:
            errors.append(InvalidIdentifier)
        errors.append(InvalidRequest)
        if self.changes_state:
            # A body is read, if only to see that there is none.
            errors += [MalformedDocument, UnsupportedMediaType, PayloadTooLarge, RequestTimeout]
        if self.changes_state and self.role is not None:
            errors.append(StoreFull)
        if self.changes_state or self.streams:
            errors.append(OriginRefused)
        return tuple(dict.fromkeys([*errors, *self.errors]))

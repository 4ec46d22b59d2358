"""Messages of the WebSocket `/api/v1/ws`, each one JSON object in a text message."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from perdure.base.texts import END
from perdure.wire.events import Event
from perdure.wire.problem import ProblemDocument
from perdure.wire.scalars import EventType, FlowAddress, Namespace

SubscriptionId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:/-]+" + END)]
"""Chosen by the client; it names one subscription of one connection."""
Cursor = Annotated[str, Meta(max_length=4096)]


class Authenticate(Struct, kw_only=True, tag_field="type", tag="auth", forbid_unknown_fields=True):
    """The first message of a client that cannot send an `Authorization` header, as a browser cannot."""

    token: Annotated[str, Meta(max_length=512)]
    workspace: Annotated[str, Meta(max_length=63)] | None = None


class Subscribe(Struct, kw_only=True, tag_field="type", tag="subscribe", forbid_unknown_fields=True):
    """Events from now on, narrowed by everything that is given.

    With `execution` (its id or number) those of one execution from its first on, and no more behind its last.
    `after` is an event's `cursor` from an earlier subscription of the same sort, or `start` for all that is kept.
    Log lines come with `logs`, or where `types` names them.
    """

    id: SubscriptionId
    execution: Annotated[str, Meta(max_length=64)] | None = None
    flow: FlowAddress | None = None
    namespace: Namespace | None = None
    types: list[EventType] = []
    kind: Literal["flow", "unit", "any"] | None = None
    logs: bool = False
    after: Cursor | None = None


class Unsubscribe(Struct, kw_only=True, tag_field="type", tag="unsubscribe", forbid_unknown_fields=True):
    """Ends a subscription; no event of it follows the answer."""

    id: SubscriptionId


ClientMessage = Authenticate | Subscribe | Unsubscribe


class Ready(Struct, kw_only=True, tag_field="type", tag="ready"):
    """The first message: the caller is known, and reads this workspace."""

    workspace: str


class Subscribed(Struct, kw_only=True, tag_field="type", tag="subscribed"):
    """The subscription has begun; `cursor` is where, null at the beginning of all that is kept."""

    id: str
    cursor: str | None


class Unsubscribed(Struct, kw_only=True, tag_field="type", tag="unsubscribed"):
    id: str


class Happened(Struct, kw_only=True, tag_field="type", tag="event"):
    """An event of a subscription; its `cursor` is where to go on behind it."""

    id: str
    event: Event


AHEAD = "the cursor is ahead of what this store holds: it was restored from a backup, or is another one"
FOREIGN = "the cursor is none of this feed"
BEGINS_NOW = frozenset({AHEAD, FOREIGN})
"""Reasons of a reset behind which nothing of before follows."""


class Reset(Struct, kw_only=True, tag_field="type", tag="reset"):
    """Events behind the cursor are missing for good: read anew what is kept up to date by them."""

    id: str
    reason: str


class Reached(Struct, kw_only=True, tag_field="type", tag="cursor"):
    """Sent in silence: the subscription has read as far as this, though nothing fitted."""

    id: str
    cursor: str


class Ended(Struct, kw_only=True, tag_field="type", tag="end"):
    """The execution is over, all its events were sent, and the subscription has ended."""

    id: str


class Refused(Struct, kw_only=True, tag_field="type", tag="error"):
    """A message was refused, or a subscription broke. Where `id` names one, that one has ended or did not begin,
    unless the `code` is `subscription_exists`; the connection goes on, unless a close follows."""

    id: str | None
    problem: ProblemDocument


ServerMessage = Ready | Subscribed | Unsubscribed | Happened | Reset | Reached | Ended | Refused

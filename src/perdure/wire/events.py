"""Events and log lines."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from perdure.wire.scalars import EventType, Id, Time


class Event(Struct, kw_only=True):
    """A committed fact. `seq` counts 1, 2, 3 … within the execution; `cursor` is where to go on behind it, in
    the stream that it came from (`after`, `Last-Event-ID`)."""

    seq: int
    cursor: str
    execution: Id
    flow: str
    type: EventType
    at: Time
    node: str | None
    ordinal: int | None
    attempt: int | None
    data: dict[str, Any] | None


class FeedReset(Struct, kw_only=True):
    """Behind the cursor that was given, events are no longer kept: those that follow come after a gap."""

    reason: str


class EventList(Struct, kw_only=True):
    """`ended`: the execution is over and this page holds its last event."""

    data: list[Event]
    next: str | None
    ended: bool


class LogLine(Struct, kw_only=True):
    """`level` is debug, info, warning or error; `stream` is stdout or stderr for captured output."""

    seq: int
    at: Time
    node: str | None
    ordinal: int | None
    attempt: int | None
    level: str
    message: str
    stream: str | None


class LogList(Struct, kw_only=True):
    data: list[LogLine]
    next: str | None

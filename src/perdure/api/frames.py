"""Events and log lines as frames of an event stream; each is encoded once for all who read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from perdure.api.shapes import time_text
from perdure.base.ids import id_text
from perdure.engine.streams import NumberedEvent
from perdure.wire.events import Event, FeedReset, LogLine

REMEMBERED = 4_096
"""Frames kept for the next reader of the same execution."""

_encode = msgspec.json.Encoder().encode


def event(item: NumberedEvent, cursor: str) -> Event:
    """The wire shape of a committed event."""
    fact = item.event
    return Event(
        seq=item.seq,
        cursor=cursor,
        execution=id_text(item.execution_id),
        flow=item.flow,
        type=fact.type,
        at=time_text(fact.at),
        node=fact.node,
        ordinal=fact.ordinal,
        attempt=fact.attempt,
        data=fact.data,
    )


def log_line(item: NumberedEvent) -> LogLine:
    """The wire shape of a `log` or `log.truncated` event."""
    fact = item.event
    data: dict[str, Any] = fact.data or {}
    return LogLine(
        seq=item.seq,
        at=time_text(fact.at),
        node=fact.node,
        ordinal=fact.ordinal,
        attempt=fact.attempt,
        level=str(data.get("level", "warning")),
        message=str(data.get("message", "the log was cut here: the execution reached its limit")),
        stream=data.get("stream"),
    )


def event_frame(item: NumberedEvent, cursor: str) -> bytes:
    """`id`, `event` and `data` of one event; JSON has no line breaks, so the data is one line."""
    body = _encode(event(item, cursor))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor.encode(), item.event.type.encode(), body)


def log_frame(item: NumberedEvent) -> bytes:
    return b"id: %d\nevent: log\ndata: %b\n\n" % (item.seq, _encode(log_line(item)))


def reset_frame(reason: str, cursor: str | None = None) -> bytes:
    """Events are missing before what follows; with `cursor` the reader goes on from there."""
    place = b"" if cursor is None else b"id: %b\n" % cursor.encode()
    return b"%bevent: reset\ndata: %b\n\n" % (place, _encode(FeedReset(reason=reason)))


def bodies_of(frames: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, data) of each frame that the functions above made, for those who wrap the data otherwise."""
    for frame in frames.split(b"\n\n")[:-1]:
        head, _, body = frame.partition(b"\ndata: ")
        yield head.rpartition(b"event: ")[2], body


class Frames:
    """Encoded frames by execution and seq, so that many readers of one execution cost one encoding."""

    def __init__(self) -> None:
        self._events: dict[tuple[bytes, int], bytes] = {}

    def of_execution(self, item: NumberedEvent) -> bytes:
        """The event's frame in its execution's own stream, whose ids are the seqs."""
        key = (item.execution_id, item.seq)
        frame = self._events.get(key)
        if frame is None:
            if len(self._events) >= REMEMBERED:
                self._events.clear()
            frame = self._events[key] = event_frame(item, str(item.seq))
        return frame


Chosen = Callable[[NumberedEvent], bool]
"""A reader's filter."""

"""Events and log lines: pages as JSON, and live as event streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.feed import Reader
from perdure.api.frames import Chosen, event, log_frame, log_line
from perdure.api.resources.lookup import execution_parameter, find_execution
from perdure.api.resources.selection import chosen_by, of_types
from perdure.api.route import API, EVENT_STREAM, Outcome, Route
from perdure.api.streaming import Stream
from perdure.auth.roles import Role
from perdure.base.clock import from_rfc3339
from perdure.base.durations import parse_duration
from perdure.base.texts import NO_NUL
from perdure.engine.streams import NumberedEvent, execution_events, numbered
from perdure.errors import (
    ExecutionNotFound,
    InvalidCursor,
    InvalidIdentifier,
    NotAcceptable,
    Problem,
    TooManyStreams,
    invalid_request,
)
from perdure.model.event import EventType
from perdure.model.states import TERMINAL
from perdure.store.records import ExecutionRecord
from perdure.store.search.grams import folded
from perdure.wire.events import EventList, LogList
from perdure.wire.scalars import Namespace

SCANNED_PAGES = 20
"""Pages of the store that one filtered page looks through at most; then it is short, or empty, and has a `next`."""
_LEVELS = ("debug", "info", "warning", "error")
_SEQ_LIMIT = 2**53
_LOGS = frozenset({EventType.LOG, EventType.LOG_TRUNCATED})

After = Annotated[int, Meta(ge=0, le=_SEQ_LIMIT)]


class EventsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    after: After = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    types: list[EventType] = []


class LogsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    follow: bool = False
    after: After = 0
    since: Annotated[str, Meta(max_length=64, description="a time (RFC 3339), or how long ago (10m)")] | None = None
    level: Literal["debug", "info", "warning", "error"] = "debug"
    node: Annotated[str, Meta(max_length=63)] | None = None
    q: (
        Annotated[
            str,
            Meta(min_length=1, max_length=1_000, pattern=NO_NUL, description="Lines with this text, whatever its case"),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class FeedQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    after: Annotated[str, Meta(max_length=4096, description="`start`, or a cursor (an event's `cursor`)")] | None = None
    execution: Annotated[str, Meta(max_length=64, description="one execution's id")] | None = None
    flow: Annotated[str, Meta(max_length=127)] | None = None
    namespace: Namespace | None = None
    types: list[EventType] = []
    kind: Annotated[Literal["flow", "unit", "any"], Meta(description="of the executions that they are of")] = "flow"


async def get_events(call: Call[EventsQuery, None]) -> Answer | Stream:
    """A page as JSON; as an event stream what was and what comes, up to the terminal event."""
    record = await find_execution(call)
    query = call.query
    chosen = of_types(query.types)
    if call.wants_stream():
        after = _last_event_id(call, record, query.after)
        encode = call.services.frames.of_execution
        return _stream(call, _followed(call, record, after, chosen, encode))
    after = _known(record, query.after)
    items, further = await _scan(call, record, after=after, limit=query.limit, chosen=chosen, logs_only=False)
    last = items[-1].seq if items else query.after
    ended = record.status in TERMINAL and further is None and last <= record.last_seq
    data = [event(item, str(item.seq)) for item in items]
    return Answer(body=EventList(data=data, next=further, ended=ended))


async def get_logs(call: Call[LogsQuery, None]) -> Answer | Stream:
    """A page of log lines as JSON; with `follow`, or as an event stream, live up to the end."""
    record = await find_execution(call)
    query = call.query
    chosen = _log_filter(call, query)
    if query.follow or call.wants_stream():
        after = _last_event_id(call, record, query.after)
        return _stream(call, _followed(call, record, after, chosen, log_frame))
    after = _known(record, query.after)
    items, further = await _scan(call, record, after=after, limit=query.limit, chosen=chosen, logs_only=True)
    return Answer(body=LogList(data=[log_line(item) for item in items], next=further))


async def get_feed(call: Call[FeedQuery, None]) -> Stream:
    """The events of all executions of the workspace as they are committed; from now on, or from a cursor."""
    accept = call.header(b"accept")
    if accept is not None and not call.wants_stream() and "*/*" not in accept and "text/*" not in accept:
        raise NotAcceptable(f"this is an event stream; send `Accept: {EVENT_STREAM}`")
    query = call.query
    chosen = chosen_by(
        flow=query.flow, namespace=query.namespace, types=query.types, kind=query.kind,
        execution=None if query.execution is None else execution_parameter(query.execution),
    )  # fmt: skip
    feed = call.services.feed
    beginning = await feed.begin(call.header(b"last-event-id") or query.after, call.workspace)
    reader = Reader(workspace=call.workspace, beginning=beginning, chosen=chosen)
    return _stream(call, feed.follow(reader), ping=reader.ping)


async def _followed(
    call: Call[Any, Any], record: ExecutionRecord, after: int, chosen: Chosen, encode: Callable[[NumberedEvent], bytes]
) -> AsyncGenerator[bytes]:
    engine = call.services.engine
    events = execution_events(
        engine.store, engine.hub, workspace=call.workspace, execution_id=record.id, after_seq=after
    )
    async with aclosing(events) as batches:
        async for batch in batches:
            frames = b"".join([encode(item) for item in batch if chosen(item)])
            if frames:
                yield frames


def _stream(call: Call[Any, Any], source: AsyncGenerator[bytes], *, ping: Callable[[], bytes] | None = None) -> Stream:
    call.services.streams.check_room()
    return Stream(call.services.streams, source, scope=call.scope, token_id=call.principal.token_id, ping=ping)


async def _scan(
    call: Call[Any, Any], record: ExecutionRecord, *, after: int, limit: int, chosen: Chosen, logs_only: bool
) -> tuple[list[NumberedEvent], str | None]:
    """Up to `limit` chosen events behind `after`, and the `after` of the next page.

    That is where looking stopped, which may be far behind the last event found; None when nothing is left.
    """
    found: list[NumberedEvent] = []
    events = call.services.engine.store.events
    for _ in range(SCANNED_PAGES):
        chunks = await events.page(call.workspace, record.id, after, limit + 1, logs_only=logs_only)
        items = [item for chunk in chunks for item in numbered(chunk, after)]
        if not items:
            return found, None
        for item in items:
            if chosen(item):
                if len(found) == limit:
                    return found, str(after)
                found.append(item)
            after = item.seq
    return found, str(after)


def _log_filter(call: Call[LogsQuery, None], query: LogsQuery) -> Chosen:
    levels = frozenset(_LEVELS[_LEVELS.index(query.level) :])
    since = None if query.since is None else _since(query.since, call.services.clock.now())
    node, needle = query.node, None if query.q is None else folded(query.q)

    def chosen(item: NumberedEvent) -> bool:
        fact = item.event
        return (
            fact.type in _LOGS
            and (node is None or fact.node == node)
            and (since is None or fact.at >= since)
            and (fact.data is None or fact.data.get("level", "warning") in levels)
            and (needle is None or needle in folded(log_line(item).message))
        )

    return chosen


def _since(text: str, now: int) -> int:
    """A time, or a duration before now, as microseconds."""
    with suppress(ValueError):
        return from_rfc3339(text)
    try:
        return now - parse_duration(text)
    except ValueError:
        detail = f"{text!r} is neither a time with an offset (2026-11-22T13:45:00Z) nor a duration (10m)"
        raise invalid_request([Problem("invalid_value", detail, parameter="since")], part="query") from None


def _last_event_id(call: Call[Any, Any], record: ExecutionRecord, after: int) -> int:
    """Where a stream begins: behind `Last-Event-ID` (which a browser sends when it comes back), else behind `after`."""
    text = call.header(b"last-event-id")
    if text is not None and text != "":
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise InvalidCursor(f"Last-Event-ID {text[:60]!r} is no id of an event of this execution")
        after = int(text)
    return _known(record, after)


def _known(record: ExecutionRecord, after: int) -> int:
    """The number of an event that there is, or 0."""
    if after > record.last_seq:
        raise InvalidCursor(f"the execution has {record.last_seq} events; it has none with the id {after}")
    return after


_ONE = f"{API}/executions/{{execution}}"
_STREAM = Outcome(
    media_type=EVENT_STREAM, description="With `Accept: text/event-stream`: live, resumable by Last-Event-ID"
)

ROUTES = (
    Route(
        method="GET",
        path=f"{_ONE}/events",
        summary="Events of an execution",
        description=(
            "A page behind `after` as JSON; or live as server-sent events, whose ids are the seqs, ended by `event: end` "
            "behind the terminal event."
        ),
        tag="events",
        handler=get_events,
        role=Role.VIEWER,
        query=EventsQuery,
        request_headers=("Last-Event-ID",),
        outcomes=(Outcome(type=EventList), _STREAM),
        errors=(ExecutionNotFound, InvalidCursor, TooManyStreams),
        streams=True,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/logs",
        summary="Log lines of an execution",
        description="A page as JSON; with `follow=true` or as an event stream live, up to the execution's end.",
        tag="events",
        handler=get_logs,
        role=Role.VIEWER,
        query=LogsQuery,
        request_headers=("Last-Event-ID",),
        outcomes=(Outcome(type=LogList), _STREAM),
        errors=(ExecutionNotFound, InvalidCursor, TooManyStreams),
        streams=True,
    ),
    Route(
        method="GET",
        path=f"{API}/events",
        summary="Events of all executions, live",
        description=(
            "Server-sent events of the whole workspace. Ids are opaque cursors: coming back with one as Last-Event-ID "
            "(or `after`) goes on without gap or double; `event: reset` says that events behind it are no longer kept, or "
            "that the store was put back to an earlier state."
        ),
        tag="events",
        handler=get_feed,
        role=Role.VIEWER,
        query=FeedQuery,
        request_headers=("Last-Event-ID",),
        outcomes=(Outcome(media_type=EVENT_STREAM, description="Live, until the reader goes"),),
        errors=(InvalidCursor, InvalidIdentifier, NotAcceptable, TooManyStreams),
        streams=True,
    ),
)

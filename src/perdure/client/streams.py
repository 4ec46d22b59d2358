"""Server-sent events, taken up again where they broke."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import httpx2

from perdure.base.clock import SECOND
from perdure.base.codec import VALUE_LIMIT
from perdure.client.errors import ClientError, ServerBusy, ServerTrouble, ServerUnreachable
from perdure.client.transport import Params, Transport, decoded
from perdure.wire.events import Event, FeedReset

T = TypeVar("T")
OnReconnect = Callable[[ClientError | None], None]
"""Called before each try to take a stream up again, with what broke it (None: the server closed it)."""

OnReset = Callable[[FeedReset], None]
"""Called when the server no longer keeps what came behind the cursor; the stream goes on with what it has."""

END = "end"
"""Name of the message by which the server says that a stream is over and need not be taken up again."""
RESET = "reset"
"""Name of the message by which the server says that events were missed."""


MESSAGE_BYTES = 2 * VALUE_LIMIT
"""Of one message, at most: an event's data may hold a value, with more around it."""


async def event_messages(
    transport: Transport,
    path: str,
    answer: type[T],
    *,
    params: Params,
    cursor: str | None,
    on_reconnect: OnReconnect | None,
    on_reset: OnReset | None = None,
) -> AsyncIterator[tuple[str, T]]:
    """(cursor, value) of each message of an SSE stream, across reconnects, until the server says that it ends.

    Each reconnect names the last cursor that was seen (`Last-Event-ID`), so nothing is lost or doubled.
    Raises ProblemError at once for what the caller did wrong, else ServerUnreachable or ServerBusy when the
    stream could not be taken up again within the policy's `reconnect_s`.
    """
    policy = transport.policy
    failures = 0
    alive_at = policy.clock.monotonic()
    retry_s = 0.0
    while True:
        broke: ClientError | None = None
        is_connected = False
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor is not None else {})}
        try:
            async with transport.stream("GET", path, params=params, headers=headers) as response:
                async for message in httpx2.EventSource(response, max_event_size=MESSAGE_BYTES):
                    is_connected = True
                    retry_s = message.retry / 1000 if message.retry is not None else retry_s
                    # A ping has no data, but may say from where to go on.
                    cursor = message.id or cursor
                    if message.event == END:
                        return
                    if message.event == RESET:
                        if on_reset is not None:
                            on_reset(decoded(message.data, FeedReset, status=response.status_code))
                    elif message.data:
                        yield cursor or "", decoded(message.data, answer, status=response.status_code)
        except (ServerUnreachable, ServerTrouble) as error:
            broke = error
        if is_connected:
            # Pings are no messages: however long it was silent, it is tried anew from here.
            failures = 0
            alive_at = policy.clock.monotonic()
        failures += 1
        delay = policy.delay(failures, broke.retry_after_s if isinstance(broke, ServerBusy) else None)
        silent_s = (policy.clock.monotonic() - alive_at) / SECOND
        if delay is None or silent_s + delay > policy.reconnect_s:
            raise broke or ServerUnreachable("the server keeps closing the stream", url=transport.base_url)
        if on_reconnect is not None:
            on_reconnect(broke)
        await policy.sleep(max(delay, retry_s))


async def execution_events(
    transport: Transport,
    execution_id: str,
    *,
    after: int,
    types: tuple[str, ...],
    on_reconnect: OnReconnect | None,
) -> AsyncIterator[Event]:
    """Events of one execution behind number `after`, each once, in order, until its end."""
    position = after
    messages = event_messages(
        transport,
        f"/executions/{execution_id}/events",
        Event,
        params={"types": ",".join(types) or None},
        cursor=str(after),
        on_reconnect=on_reconnect,
    )
    async for _, event in messages:
        if event.seq > position:
            position = event.seq
            yield event

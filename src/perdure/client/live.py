"""Subscriptions over one WebSocket, taken up again where they broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from httpx2.websockets import HTTPXWSException

from perdure.base.clock import SECOND
from perdure.client.errors import ClientError, ServerBusy, ServerTrouble, ServerUnreachable, UnexpectedResponse
from perdure.client.streams import OnReconnect
from perdure.client.transport import Transport, problem_of
from perdure.wire.events import Event
from perdure.wire.live import Ended, Happened, Reached, Refused, Reset, ServerMessage, Subscribe, Subscribed

OnLiveReset = Callable[[Reset], None]
"""Called with the subscription that lost its place: events behind its cursor are missing for good. A `ClientError` that it
raises ends all of them."""

WAITING = 64
"""Events that were received and not asked for; beyond, nothing more is read from the server."""

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ServerMessage)


async def live_events(
    transport: Transport,
    subscriptions: Sequence[Subscribe],
    *,
    on_reconnect: OnReconnect | None,
    on_reset: OnLiveReset | None,
) -> AsyncIterator[tuple[str, Event]]:
    """(subscription's id, event) of each, across reconnects, until every one has ended.

    Each reconnect names the last cursor of each subscription, so nothing is lost or doubled.
    Raises ProblemError at once for what the caller did wrong, ServerUnreachable when no first connection came about in
    the policy's `connect_attempts`, else that or ServerBusy when it could not be taken up again within `reconnect_s`.
    """
    follower = _Follower(transport, subscriptions, on_reconnect=on_reconnect, on_reset=on_reset)
    # A task of its own: whoever iterates may do so from one task after the other, which a connection does not survive.
    task = asyncio.create_task(follower.run(), name="live events")
    try:
        while (item := await follower.items.get()) is not None:
            yield item
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ClientError):
            await task


class _Follower:
    def __init__(
        self,
        transport: Transport,
        subscriptions: Sequence[Subscribe],
        *,
        on_reconnect: OnReconnect | None,
        on_reset: OnLiveReset | None,
    ) -> None:
        self._transport = transport
        self._open = {one.id: one for one in subscriptions}
        self._on_reconnect = on_reconnect
        self._on_reset = on_reset
        self._failures = 0
        self._alive_at = 0
        self._is_connected = self._was_connected = False
        self.items: asyncio.Queue[tuple[str, Event] | None] = asyncio.Queue(WAITING)
        """None behind the last one."""

    async def run(self) -> None:
        """Until every subscription has ended, or it cannot go on."""
        has_reader = True
        try:
            await self._run()
        except asyncio.CancelledError:
            # Whoever cancels it takes no more: there may never be room again.
            has_reader = False
            raise
        finally:
            if has_reader:
                await self.items.put(None)

    async def _run(self) -> None:
        policy = self._transport.policy
        self._alive_at = policy.clock.monotonic()
        while self._open:
            broke: ClientError
            try:
                await self._follow()
                continue
            except (ServerUnreachable, ServerTrouble) as error:
                broke = error
            if self._is_connected:
                # However long it was silent: what counts is for how long it could not be taken up again.
                self._is_connected = False
                self._failures = 0
                self._alive_at = policy.clock.monotonic()
            self._failures += 1
            is_first = isinstance(broke, ServerUnreachable) and not self._was_connected
            if is_first and self._failures >= policy.connect_attempts:
                raise broke
            delay = policy.delay(self._failures, broke.retry_after_s if isinstance(broke, ServerBusy) else None)
            silent_s = (policy.clock.monotonic() - self._alive_at) / SECOND
            if delay is None or silent_s + delay > policy.reconnect_s:
                raise broke
            if self._on_reconnect is not None:
                self._on_reconnect(broke)
            await policy.sleep(delay)

    async def _follow(self) -> None:
        """One connection, until all has ended. Raises ServerUnreachable, ProblemError."""
        try:
            async with self._transport.websocket("/ws") as socket:
                for subscription in self._open.values():
                    await socket.send_text(msgspec.json.encode(subscription).decode())
                while self._open:
                    await self._take(_decoded(await socket.receive_text()))
        except* HTTPXWSException as broken:
            raise self._unreachable(broken.exceptions[0]) from None
        except* ClientError as refused:
            raise refused.exceptions[0] from None

    def _unreachable(self, cause: BaseException) -> ServerUnreachable:
        reason = getattr(cause, "reason", "") or type(cause).__name__
        url = self._transport.base_url
        return ServerUnreachable(f"the connection to {url} broke: {reason}", url=url)

    async def _take(self, message: Any) -> None:
        if isinstance(message, Refused):
            raise problem_of(message.problem)
        subscription = self._open.get(getattr(message, "id", ""))
        if subscription is None:
            return
        self._is_connected = self._was_connected = True
        if isinstance(message, Ended):
            del self._open[message.id]
        elif isinstance(message, Happened):
            await self.items.put((message.id, message.event))
            subscription.after = message.event.cursor
        elif isinstance(message, Reset):
            if self._on_reset is not None:
                self._on_reset(message)
        elif isinstance(message, Reached | Subscribed) and message.cursor is not None:
            subscription.after = message.cursor


def _decoded(text: str) -> Any:
    """One of the server's messages. Raises UnexpectedResponse."""
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise UnexpectedResponse(f"the server's message is not as promised: {error}", status=101) from error

"""The WebSocket: several subscriptions to events on one connection, each resumed by its own cursor.

Every subscription is pumped by a task of its own, from the same sources as the event streams; what a slow
reader has not taken is read from the store when he takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
import structlog

from perdure.api.answer import Header, Receive, Send
from perdure.api.bodies import decode_json
from perdure.api.call import Call
from perdure.api.feed import Beginning, Reader
from perdure.api.frames import bodies_of, reset_frame
from perdure.api.path import PARAMETERS
from perdure.api.problems import internal_error, problem_answer
from perdure.api.resources.lookup import id_or_number
from perdure.api.resources.selection import LOGS, NO_LOGS, chosen_by
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.streaming import Ending, StreamLimits
from perdure.api.websocket import GOING_AWAY, INTERNAL, POLICY, ConnectionGone, WebSocket, handshake
from perdure.auth.authority import UNKNOWN, Principal, workspace_of
from perdure.auth.roles import Role
from perdure.engine.streams import execution_events
from perdure.errors import (
    InvalidCursor,
    InvalidIdentifier,
    InvalidRequest,
    PerdureError,
    Problem,
    SubscriptionExists,
    SubscriptionNotFound,
    TooManyStreams,
    TooManySubscriptions,
    Unauthenticated,
    UpgradeRequired,
)
from perdure.model.event import EventType
from perdure.store.records import ExecutionRecord
from perdure.wire.live import (
    FOREIGN,
    Authenticate,
    ClientMessage,
    Ended,
    Reached,
    Ready,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)

SUBSCRIPTIONS = 64
"""Of one connection."""
AUTH_S = 10.0
"""Seconds in which a caller without an `Authorization` header has to say who he is."""
FROM_START = "start"
_CLOSINGS = {
    Ending.REVOKED: POLICY,
    Ending.SHUTDOWN: GOING_AWAY,
}
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger(__name__)


async def get_socket(call: Call[NoQuery, None]) -> Session:
    """The connection becomes a WebSocket."""
    accepted = handshake(call.scope["method"], call.headers)
    call.services.streams.check_room()
    return Session(call, call.scope["extensions"]["perdure.upgrade"](), accepted)


class Session:
    """One connection, as an answer that takes it over."""

    def __init__(self, call: Call[NoQuery, None], socket: WebSocket, accepted: Header) -> None:
        self._call = call
        self._socket = socket
        self._accepted = accepted
        self._streams = call.services.streams
        self._workspace = call.workspace
        self._subscriptions: dict[str, _Subscription] = {}
        self._task: asyncio.Task[object] | None = None
        self._ending: Ending | None = None
        self._pinged_at = self._alive_at = self._streams.clock.monotonic()
        self._life = (0, 0, False)
        self.token_id = call.principal.token_id

    async def respond(self, *, headers: list[Header], head_only: bool, receive: Receive, send: Send) -> int:
        self._task = asyncio.current_task()
        self._socket.accept([*headers, self._accepted])
        with self._streams.opened(self):
            try:
                await self._serve()
            except ConnectionGone:
                await self._socket.close(GOING_AWAY, "")
            except asyncio.CancelledError:
                if self._ending is None:
                    await self._socket.drop()
                    raise
                assert self._task is not None
                self._task.uncancel()
                await self._close()
            except Exception:
                _log.exception("a WebSocket failed", request_id=self._call.request_id)
                await self._socket.close(INTERNAL, "the server failed; its log says more under the request id")
            finally:
                await self._unsubscribe_all()
        return 101

    def end(self, ending: Ending) -> None:
        if self._ending is None and self._task is not None and not self._task.done():
            self._ending = ending
            self._task.cancel()

    def tick(self, now: int, limits: StreamLimits) -> bool:
        socket = self._socket
        life = (socket.heard, socket.moves, socket.is_stuck)
        if life != self._life:
            self._life, self._alive_at = life, now
        if now - self._alive_at > (limits.stall if socket.is_stuck else limits.ping + limits.stall):
            self.end(Ending.STALLED)
        return self._ending is None and not socket.is_stuck and now - self._pinged_at >= limits.ping

    async def ping(self) -> None:
        self._pinged_at = self._streams.clock.monotonic()
        try:
            await self._socket.ping()
            for subscription in list(self._subscriptions.values()):
                cursor = subscription.news()
                if cursor is not None:
                    await self._send(Reached(id=subscription.id, cursor=cursor))
        except ConnectionGone:
            return

    async def _close(self) -> None:
        assert self._ending is not None
        if self._ending is Ending.STALLED:
            self._streams.metrics.streams_cut += 1
            await self._socket.drop()
        else:
            await self._socket.close(_CLOSINGS.get(self._ending, GOING_AWAY), self._ending.value)

    async def _serve(self) -> None:
        if self._call.principal is UNKNOWN:
            try:
                async with asyncio.timeout(AUTH_S):
                    await self._authenticate()
            except TimeoutError:
                await self._refuse(Unauthenticated(f"nobody said who he is within {AUTH_S:g} seconds"))
                await self._socket.close(POLICY, "unauthenticated")
                return
            except PerdureError as error:
                await self._refuse(error)
                await self._socket.close(POLICY, error.code)
                return
        await self._send(Ready(workspace=self._workspace))
        while True:
            text = await self._socket.receive()
            try:
                await self._handle(decode_json(text.encode(), ClientMessage))
            except PerdureError as error:
                await self._refuse(error, _id_in(text))

    async def _authenticate(self) -> None:
        message = decode_json((await self._socket.receive()).encode(), ClientMessage)
        if not isinstance(message, Authenticate):
            raise Unauthenticated('say who you are first: {"type": "auth", "token": "perdure_…"}')
        principal: Principal = await self._call.services.authority.identify(f"Bearer {message.token}")
        principal.check_role(ROUTE.role or Role.VIEWER)
        self._workspace = workspace_of(principal, message.workspace or self._call.header(b"perdure-workspace"))
        self.token_id = principal.token_id

    async def _handle(self, message: Authenticate | Subscribe | Unsubscribe) -> None:
        if isinstance(message, Authenticate):
            raise InvalidRequest("it is known already who you are; this can only be the first message")
        if isinstance(message, Unsubscribe):
            subscription = self._subscriptions.pop(message.id, None)
            if subscription is None:
                raise SubscriptionNotFound(f"there is no subscription {message.id!r}")
            await subscription.stop()
            await self._send(Unsubscribed(id=message.id))
            return
        if message.id in self._subscriptions:
            raise SubscriptionExists(f"there is a subscription {message.id!r}; unsubscribe it, or take another id")
        if len(self._subscriptions) >= SUBSCRIPTIONS:
            raise TooManySubscriptions(f"one connection has at most {SUBSCRIPTIONS} subscriptions")
        subscription = await self._subscription(message)
        self._subscriptions[message.id] = subscription
        await self._send(Subscribed(id=message.id, cursor=subscription.cursor))
        subscription.task = asyncio.create_task(self._pump(subscription), name=f"subscription {message.id}")

    async def _subscription(self, message: Subscribe) -> _Subscription:
        """Raises InvalidRequest, InvalidIdentifier, ExecutionNotFound."""
        types = _types(message)
        services = self._call.services
        if message.execution is not None:
            record = await self._find(message.execution)
            return await self._of_execution(message, record, types)
        chosen = chosen_by(flow=message.flow, namespace=message.namespace, types=types, kind=message.kind or "flow")
        try:
            beginning = await services.feed.begin(message.after, self._workspace)
        except InvalidCursor:
            beginning = Beginning((await services.feed.begin(None, self._workspace)).place, FOREIGN)
        reader = Reader(workspace=self._workspace, beginning=beginning, chosen=chosen)
        cursor = None if beginning.is_start else reader.cursor()
        return _Subscription(message.id, services.feed.follow(reader), cursor=cursor, reader=reader)

    async def _find(self, named: str) -> ExecutionRecord:
        key = PARAMETERS["execution"].parse(named)
        if key is None:
            detail = f"{named!r} is no execution; write {PARAMETERS['execution'].rule}"
            raise InvalidIdentifier(detail, problems=(Problem("invalid_identifier", detail, pointer="/execution"),))
        return await id_or_number(self._call.services, self._workspace, key)

    async def _of_execution(self, message: Subscribe, record: ExecutionRecord, types: list[EventType]) -> _Subscription:
        after, reset = 0, None
        if message.after is not None and message.after != FROM_START:
            if message.after.isascii() and message.after.isdigit() and int(message.after[:16]) <= record.last_seq:
                after = int(message.after[:16])
            else:
                after, reset = record.last_seq, FOREIGN
        chosen = chosen_by(flow=message.flow, namespace=message.namespace, types=types, kind=message.kind or "any")
        engine, frames = self._call.services.engine, self._call.services.frames

        async def followed() -> AsyncGenerator[bytes]:
            if reset is not None:
                yield reset_frame(reset)
            events = execution_events(
                engine.store, engine.hub, workspace=self._workspace, execution_id=record.id, after_seq=after
            )
            async with aclosing(events) as batches:
                async for batch in batches:
                    yield b"".join([frames.of_execution(item) for item in batch if chosen(item)])

        return _Subscription(message.id, followed(), cursor=str(after))

    async def _pump(self, subscription: _Subscription) -> None:
        """Send what the subscription's source gives, up to its end."""
        id = _encode(subscription.id)
        try:
            async with aclosing(subscription.source) as source:
                async for frames in source:
                    subscription.is_settled = False
                    for name, body in bodies_of(frames):
                        await self._socket.send(
                            b'{"type":"reset","id":%b,%b' % (id, body[1:])
                            if name == b"reset"
                            else b'{"type":"event","id":%b,"event":%b}' % (id, body)
                        )
                    subscription.is_settled = True
            self._subscriptions.pop(subscription.id, None)
            await self._send(Ended(id=subscription.id))
        except ConnectionGone:
            return
        except PerdureError as error:
            await self._break(subscription, error)
        except Exception:
            _log.exception("a subscription failed", request_id=self._call.request_id)
            await self._break(subscription, None)

    async def _break(self, subscription: _Subscription, error: PerdureError | None) -> None:
        self._subscriptions.pop(subscription.id, None)
        try:
            await self._refuse(error, subscription.id)
        except ConnectionGone:
            return

    async def _refuse(self, error: PerdureError | None, id: str | None = None) -> None:
        """`error` None is one that nobody foresaw."""
        place, request_id = self._call.raw_path, self._call.request_id
        answer = (
            internal_error(instance=place, request_id=request_id)
            if error is None
            else problem_answer(error, instance=place, request_id=request_id)
        )
        await self._send(Refused(id=id, problem=answer.body))

    async def _send(self, message: Any) -> None:
        await self._socket.send(_encode(message))

    async def _unsubscribe_all(self) -> None:
        subscriptions = list(self._subscriptions.values())
        self._subscriptions.clear()
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))


class _Subscription:
    """`reader` is that of the feed of all executions, None for one execution."""

    def __init__(
        self, id: str, source: AsyncGenerator[bytes], *, cursor: str | None, reader: Reader | None = None
    ) -> None:
        self.id = id
        self.source = source
        self.cursor = cursor
        self.task: asyncio.Task[None] | None = None
        self.is_settled = True
        """Whether all that was read was sent."""
        self._reader = reader
        self._told = cursor

    def news(self) -> str | None:
        """How far it has read, where that is news and no event tells of it."""
        if self._reader is None or not self.is_settled or self._reader.cursor() == self._told:
            return None
        self._told = self._reader.cursor()
        return self._told

    async def stop(self) -> None:
        if self.task is None:
            await self.source.aclose()
            return
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def _types(message: Subscribe) -> list[EventType]:
    """Raises InvalidRequest for one that there is not."""
    known = {str(kind): kind for kind in EventType}
    problems = tuple(
        Problem("invalid_value", f"there is no event type {one[:60]!r}", pointer=f"/types/{at}")
        for at, one in enumerate(message.types)
        if one not in known
    )
    if problems:
        raise InvalidRequest("the message is not valid", problems=problems)
    types = [known[one] for one in message.types]
    if not types:
        return [] if message.logs else list(NO_LOGS)
    return [*types, *LOGS] if message.logs else types


def _id_in(text: str) -> str | None:
    """The subscription that a refused message was about, as far as can be told."""
    try:
        id = msgspec.json.decode(text, type=dict[str, Any]).get("id")
    except (msgspec.DecodeError, RecursionError):
        return None
    return id if isinstance(id, str) and len(id) <= 64 else None


ROUTE = Route(
    method="GET",
    path=f"{API}/ws",
    summary="Events as a WebSocket",
    description=(
        "Subscriptions by execution, flow, namespace and type on one connection, each resumed by its cursor. The "
        "[messages](websocket.md) are JSON. Without an `Authorization` header the first one says who asks."
    ),
    tag="events",
    handler=get_socket,
    role=Role.VIEWER,
    outcomes=(Outcome(status=101, description="The connection is a WebSocket"),),
    errors=(UpgradeRequired, TooManyStreams),
    streams=True,
    upgrades=True,
)
ROUTES = (ROUTE,)

"""Event streams (server-sent events): open ones, their pings, their bounds and their ends.

A stream is pumped by its own request's task. What concerns all of them (pings, readers that stopped,
revoked tokens, shutdown) is looked after by one ticker, so that a thousand streams cost no timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from enum import Enum
from typing import Protocol

import msgspec
import structlog

from perdure.api.answer import Header, Receive, Scope, Send, disconnected
from perdure.api.metrics import Metrics
from perdure.auth.authority import Authority
from perdure.base.clock import SECOND, Clock
from perdure.errors import StoreError, TooManyStreams

RETRY = b"retry: 2000\n\n"
PING = b": ping\n\n"
END = b"event: end\ndata: {}\n\n"
PIECE = 64 * 1024
"""Bytes handed to the connection at once; behind each the reader is waited for."""
TICK_S = 1.0

_log = structlog.get_logger(__name__)


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`streams` may be open at once; one is pinged after `ping` of silence and cut when a send takes
    longer than `stall` (both microseconds)."""

    streams: int = 5_000
    ping: int = 15 * SECOND
    stall: int = 30 * SECOND


class Ending(Enum):
    """Why a stream ends before its source does; the value is what its reader is told, where it can be."""

    GONE = "the reader has gone"
    STALLED = "the reader has stopped"
    REVOKED = "the token is no longer good"
    SHUTDOWN = "the server is shutting down"


class Watched(Protocol):
    """What `Streams` looks after: an event stream or a WebSocket."""

    token_id: bytes | None

    def end(self, ending: Ending) -> None:
        """Stop for this reason; the first one counts."""
        ...

    def tick(self, now: int, limits: StreamLimits) -> bool:
        """Whether it wants a ping; a reader that stopped is cut."""
        ...

    async def ping(self) -> None: ...


class Stream:
    """One open event stream, as an answer that writes itself."""

    def __init__(
        self,
        streams: Streams,
        source: AsyncGenerator[bytes],
        *,
        scope: Scope,
        token_id: bytes | None,
        ping: Callable[[], bytes] | None = None,
    ) -> None:
        self._streams = streams
        self._source = source
        self._abort: Callable[[], None] | None = scope.get("extensions", {}).get("perdure.abort")
        self._ping = ping or _plain_ping
        self._send: Send = _unsent
        self._task: asyncio.Task[object] | None = None
        self._ending: Ending | None = None
        self._written_at = 0
        self._writing_since: int | None = None
        self.token_id = token_id

    async def respond(self, *, headers: list[Header], head_only: bool, receive: Receive, send: Send) -> int:
        headers += [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        if head_only:
            await self._source.aclose()
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return 200
        self._send = send
        self._task = asyncio.current_task()
        with self._streams.opened(self):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            watcher = asyncio.ensure_future(self._watch(receive))
            try:
                await self._pump()
            finally:
                watcher.cancel()
        return 200

    async def _pump(self) -> None:
        """Write what the source gives, up to its end or to a reason to stop before it."""
        try:
            async with aclosing(self._source) as source:
                await self._write(RETRY)
                async for frames in source:
                    await self._write(frames)
                await self._write(END)
        except StoreError as error:
            # The reader comes again by itself, from where it was.
            _log.warning("event stream broke off", code=error.code, detail=error.message)
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            assert self._task is not None
            self._task.uncancel()
        await self._finish()

    async def _finish(self) -> None:
        ending = self._ending
        if ending is Ending.GONE:
            return
        try:
            if ending is Ending.STALLED:
                raise TimeoutError
            async with asyncio.timeout(TICK_S):
                if ending is not None:
                    await self._send(
                        {"type": "http.response.body", "body": b": %b\n\n" % ending.value.encode(), "more_body": True}
                    )
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            await self._cut()

    async def _cut(self) -> None:
        """Drop the connection with all that is waiting in it: closing it politely would wait for the reader."""
        self._streams.metrics.streams_cut += 1
        if self._abort is not None:
            self._abort()
            # The connection's own end is told on the loop's next round; until then it still counts as open.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def _write(self, frames: bytes) -> None:
        for start in range(0, len(frames), PIECE):
            piece = frames if len(frames) <= PIECE else frames[start : start + PIECE]
            self._writing_since = self._streams.clock.monotonic()
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            self._written_at = self._streams.clock.monotonic()
            self._writing_since = None

    async def _watch(self, receive: Receive) -> None:
        await disconnected(receive)
        self.end(Ending.GONE)

    def end(self, ending: Ending) -> None:
        if self._ending is None and self._task is not None and not self._task.done():
            self._ending = ending
            self._task.cancel()

    def tick(self, now: int, limits: StreamLimits) -> bool:
        if self._writing_since is not None:
            if now - self._writing_since > limits.stall:
                self.end(Ending.STALLED)
            return False
        return self._ending is None and now - self._written_at >= limits.ping

    async def ping(self) -> None:
        # Since it was asked for, something may have been begun, and may be waiting in the middle of a frame.
        if self._writing_since is None:
            with suppress(RuntimeError):  # it ended while the ping was on its way
                await self._write(self._ping())


async def _unsent(_message: object) -> None:
    raise RuntimeError("the stream was not begun")


def _plain_ping() -> bytes:
    return PING


class Streams:
    """All open event streams and WebSockets of the server; used on the loop only."""

    def __init__(self, *, authority: Authority, clock: Clock, metrics: Metrics, limits: StreamLimits) -> None:
        self._authority = authority
        self._limits = limits
        self._open: set[Watched] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._ticker: asyncio.Task[None] | None = None
        self._pings: set[asyncio.Task[None]] = set()
        self._closing = False
        self.clock = clock
        self.metrics = metrics
        authority.watch(self._token_gone)

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self) -> None:
        """Raises TooManyStreams."""
        if self._closing or len(self._open) >= self._limits.streams:
            raise TooManyStreams(f"{len(self._open)} event streams are open; the server allows {self._limits.streams}")

    @contextmanager
    def opened(self, stream: Watched) -> Iterator[None]:
        """Within it the stream counts as open and is looked after."""
        self._open.add(stream)
        self._empty.clear()
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._tick(), name="streams ticker")
        try:
            yield
        finally:
            self._open.discard(stream)
            if not self._open:
                self._empty.set()

    async def close(self) -> None:
        """End every stream with a comment that says why."""
        self._closing = True
        for stream in list(self._open):
            stream.end(Ending.SHUTDOWN)
        tasks = [*self._pings, *([self._ticker] if self._ticker is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.wait_empty()

    async def wait_empty(self) -> None:
        """Until no stream is open."""
        await self._empty.wait()

    def _token_gone(self, token_id: bytes | None) -> None:
        for stream in list(self._open):
            if stream.token_id == token_id:
                stream.end(Ending.REVOKED)

    async def _tick(self) -> None:
        while self._open:
            await asyncio.sleep(TICK_S)
            try:
                await self._look_after()
            except Exception:
                _log.exception("looking after event streams failed")

    async def _look_after(self) -> None:
        now = self.clock.monotonic()
        for stream in list(self._open):
            if stream.tick(now, self._limits):
                task = asyncio.create_task(stream.ping())
                self._pings.add(task)
                task.add_done_callback(self._pings.discard)
        for token_id in await self._authority.revoked_among({stream.token_id for stream in self._open}):
            self._token_gone(token_id)

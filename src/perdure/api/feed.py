"""The feed of all executions for event streams: one reader of the store for all who follow it.

A position is {writer: n}: everything up to commit n of each writer was read. The tail follows the
feed's end and keeps the newest commits, encoded; who is near the end reads from it, who is behind
reads the store by himself until he is near. A cursor can stand inside a commit: it then
also says how many of the commit's events were read. Writers that have ended are forgotten after
a while; so a cursor says of what time it is, and one that may be older than that gets a reset.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

import structlog

from perdure.api.cursors import decode_cursor, encode_cursor
from perdure.api.frames import Chosen, event_frame, reset_frame
from perdure.base.clock import DAY, Clock
from perdure.engine.hub import Hub
from perdure.engine.streams import NumberedEvent, numbered
from perdure.errors import StoreError
from perdure.model.event import EventChunk
from perdure.store.interface import WRITERS_KEPT, Store
from perdure.wire.live import AHEAD

CURSOR_KIND = "feed"
FROM_START = "start"
"""Instead of a cursor: everything that the feed still has."""
PAGE_COMMITS = 16
STEP_BYTES = 256 * 1024
"""Of frames that are handed on at once: what a reader that stopped holds in memory."""
KEPT_COMMITS = 1_024
KEPT_BYTES = 8 * 1024 * 1024
RETRY_S = 1.0
LOOK_S = 600.0
"""So often the tail looks what the store has: then the cursors of a quiet feed get a new time, and those of a long-lived
one lose the writers that are forgotten."""
GOOD = WRITERS_KEPT - DAY
"""For so long a cursor surely knows every writer of which it has not read all; the day is for clocks and slow readers."""
DROPPED = "events behind this cursor are no longer kept"
EXPIRED = f"the cursor is older than {GOOD // DAY} days: events behind it may be no longer kept"

Position = dict[int, int]
StoredCommit = tuple[int, int, list[EventChunk]]
"""(writer, n, chunks), as the store gives it."""
_log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """`position`, and of commit `n` of `writer` the first `read` events (0 for none). `at` (microseconds): all that was
    committed before and is not read was still kept then, or the reader was told.
    """

    position: Position
    at: int
    writer: int = 0
    n: int = 0
    read: int = 0


def place_of(cursor: str, workspace: str) -> Place:
    """Raises InvalidCursor."""
    pairs, *rest = decode_cursor(cursor, CURSOR_KIND, workspace, tuple[list[tuple[int, int]], int, int, int, int])
    return Place(dict(pairs), *rest)


def cursor_of(place: Place, workspace: str) -> str:
    pairs = sorted(place.position.items())
    return encode_cursor(CURSOR_KIND, workspace, [pairs, *place[1:]])


class Beginning(NamedTuple):
    """`reset` says why it is not the place that was asked for, or what may be missing behind it. `is_start`: at the oldest
    commit that is kept, whatever was before.
    """

    place: Place
    reset: str | None = None
    is_start: bool = False


class _Commit(NamedTuple):
    writer: int
    n: int
    events: list[tuple[NumberedEvent, bytes]]
    size: int


class Feed:
    """What follows the end of the feed for all streams of this process; used on the loop only."""

    def __init__(self, store: Store, hub: Hub, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._tails: dict[str, _Tail] = {}

    async def begin(self, cursor: str | None, workspace: str) -> Beginning:
        """Where a reader begins: behind a cursor, at `start`, or now without either. Raises InvalidCursor.

        A cursor ahead of the feed would wait in silence until the feed has passed it: it begins now, and is told so. One
        that is so old that writers may be forgotten which it does not know of is told so too.
        """
        now = self._clock.now()
        if cursor == FROM_START:
            return Beginning(Place({}, now), is_start=True)
        place = None if cursor is None else place_of(cursor, workspace)
        end = await self._store.events.feed_end()
        if place is None:
            return Beginning(Place(end, now))
        reached = {**place.position, **({place.writer: place.n} if place.read else {})}
        if any(n > end.get(writer, n) for writer, n in reached.items()):
            return Beginning(Place(end, now), AHEAD)
        known = {writer: n for writer, n in place.position.items() if writer in end}
        # The one writer of a file is never forgotten.
        if self._store.sharing is not None and place.at < now - GOOD:
            return Beginning(place._replace(position=known, at=now), EXPIRED)
        return Beginning(place._replace(position=known))

    async def follow(self, reader: Reader) -> AsyncGenerator[bytes]:
        """Frames for one reader from its place on, without gap or double, as they are committed; never ends."""
        tail = self._tails.get(reader.workspace)
        if tail is None:
            tail = self._tails[reader.workspace] = _Tail(self._store, self._hub, self._clock, reader.workspace)
        if reader.reset is not None:
            yield reset_frame(reader.reset, reader.cursor())
        async with tail:
            while True:
                async for frames in self._catch_up(reader, tail):
                    yield frames
                async for frames in tail.read(reader):
                    yield frames

    async def _catch_up(self, reader: Reader, tail: _Tail) -> AsyncGenerator[bytes]:
        """What the store has behind the reader's place, until the tail has all that follows."""
        while not tail.goes_on_from(reader):
            at, floor = self._clock.now(), tail.floor
            commits = await self._store.events.feed(reader.workspace, reader.position, PAGE_COMMITS)
            if not commits:
                reader.read_all(at, floor)
                continue
            frames = b""
            for commit in commits:
                if reader.has_gap_before(commit):
                    frames += reset_frame(DROPPED)
                frames += reader.take(_encoded(reader.workspace, reader.position, commit, reader.at))
            # The first page has something of each writer.
            reader.is_at_start = False
            if frames:
                yield frames


class Reader:
    """One follower's place and filter."""

    def __init__(self, *, workspace: str, beginning: Beginning, chosen: Chosen) -> None:
        place = beginning.place
        self.is_at_start = beginning.is_start
        """What is not kept any more is none of it."""
        self.reset = beginning.reset
        self.workspace = workspace
        self.position: Position = dict(place.position)
        self.at = place.at
        """As of a `Place`."""
        self._partial = place
        self._chosen = chosen

    def ping(self) -> bytes:
        """A comment, and the place so far as an id: a reader whose filter matches nothing resumes near the end too."""
        return b": ping\nid: %b\n\n" % self.cursor().encode()

    def cursor(self) -> str:
        """Behind everything that was read, inside a commit too."""
        _, _, writer, n, read = self._partial
        is_inside = n > self.position.get(writer, 0)
        return cursor_of(Place(self.position, self.at, *((writer, n, read) if is_inside else ())), self.workspace)

    def read_all(self, at: int, position: Mapping[int, int] = MappingProxyType({})) -> None:
        """Nothing that was committed before `at` is unread; and with it nothing up to `position`."""
        self.at = max(self.at, at)
        self.is_at_start = False
        for writer, n in position.items():
            self.position[writer] = max(n, self.position.get(writer, 0))

    def forget(self, writers: Iterable[int]) -> None:
        for writer in writers:
            self.position.pop(writer, None)

    def has_gap_before(self, commit: StoredCommit) -> bool:
        """Whether commits that the reader has not seen were dropped from the store."""
        writer, n, _ = commit
        read = self.position.get(writer)
        if read is None:
            return not self.is_at_start and n > 1
        return n > read + 1

    def take(self, commit: _Commit) -> bytes:
        """The commit's chosen frames, unless it was read before; the place moves behind it."""
        if commit.n <= self.position.get(commit.writer, 0):
            return b""
        read = self._partial.read if (commit.writer, commit.n) == (self._partial.writer, self._partial.n) else 0
        self.position[commit.writer] = commit.n
        return b"".join([frame for item, frame in commit.events[read:] if self._chosen(item)])


def _encoded(workspace: str, before: Position, stored: StoredCommit, at: int) -> _Commit:
    """A commit's frames; the cursor of its last event stands behind the whole commit."""
    writer, n, chunks = stored
    items = [item for chunk in chunks for item in numbered(chunk, 0)]
    events = []
    for read, item in enumerate(items, 1):
        place = Place({**before, writer: n}, at) if read == len(items) else Place(before, at, writer, n, read)
        events.append((item, event_frame(item, cursor_of(place, workspace))))
    return _Commit(writer, n, events, sum(len(frame) for _, frame in events))


class _Tail:
    """The newest commits of one workspace, read from the store once for all; runs while it has readers."""

    def __init__(self, store: Store, hub: Hub, clock: Clock, workspace: str) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._workspace = workspace
        self._readers = 0
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._advanced = asyncio.Event()
        self._commits: deque[_Commit] = deque()
        self._bytes = 0
        self._first = 0
        """Running number of the oldest commit kept; it never goes back."""
        self._position: Position = {}
        self._at = 0
        """Everything that was committed before is read."""
        self._forgotten: set[int] = set()
        self.floor: Position = {}
        """Where the oldest commit kept begins: whoever has read this far can go on from here. Never changed in place."""

    async def __aenter__(self) -> None:
        self._readers += 1
        if self._task is None:
            self._ready = asyncio.Event()
            self._task = asyncio.create_task(self._run(self._ready), name=f"feed of {self._workspace}")
        try:
            await self._ready.wait()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._readers -= 1
        if self._readers == 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    def goes_on_from(self, reader: Reader) -> bool:
        """Whether all that the reader has not read is here, or will be."""
        reader.forget(self._forgotten)
        return all(n <= reader.position.get(writer, 0) for writer, n in self.floor.items())

    async def read(self, reader: Reader) -> AsyncGenerator[bytes]:
        """Frames for a reader that is at the floor or beyond; ends when he has fallen behind it."""
        number = self._first
        while number >= self._first:
            advanced = self._advanced
            if number == self._first + len(self._commits):
                reader.read_all(self._at)
                await advanced.wait()
                continue
            frames = b""
            while number < self._first + len(self._commits) and len(frames) < STEP_BYTES:
                frames += reader.take(self._commits[number - self._first])
                number += 1
            if frames:
                yield frames

    async def _run(self, ready: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        looks_at = loop.time() + LOOK_S
        with self._hub.subscribe() as subscription:
            while True:
                try:
                    if not ready.is_set():
                        await self._begin()
                        ready.set()
                    subscription.caught_up()
                    await self._go_on()
                    if loop.time() >= looks_at:
                        await self._look()
                        looks_at = loop.time() + LOOK_S
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(looks_at):
                            await subscription.wait()
                except StoreError as error:
                    _log.warning("the feed cannot be read", code=error.code, detail=error.message)
                    await asyncio.sleep(RETRY_S)

    async def _begin(self) -> None:
        """At the feed's end; who reads from the tail already has to read the store first."""
        at, position = self._clock.now(), await self._store.events.feed_end()
        self._first += len(self._commits) + 1
        self._commits.clear()
        self._bytes = 0
        self._position, self._at = dict(position), at
        self.floor = dict(position)
        self._tell()

    async def _go_on(self) -> None:
        while True:
            at = self._clock.now()
            commits = await self._store.events.feed(self._workspace, self._position, PAGE_COMMITS)
            if not commits:
                self._at = at
                return
            if not self._follow_on(commits):
                # Some were dropped before they were read here: each reader finds out from the store.
                await self._begin()
                return
            self._keep(commits)

    def _follow_on(self, commits: list[StoredCommit]) -> bool:
        """Whether none is missing before or between them."""
        position = dict(self._position)
        for writer, n, _ in commits:
            if n != position.get(writer, 0) + 1:
                return False
            position[writer] = n
        return True

    async def _look(self) -> None:
        """Everything is read: go on without the writers that are forgotten, and let quiet readers have the time."""
        known = set(self._position)
        if forgotten := known - (await self._store.events.feed_end()).keys():
            self._forgotten |= forgotten
            await self._begin()
        else:
            self._tell()

    def _keep(self, commits: list[StoredCommit]) -> None:
        for stored in commits:
            commit = _encoded(self._workspace, self._position, stored, self._at)
            self._position[commit.writer] = commit.n
            self._commits.append(commit)
            self._bytes += commit.size
        while len(self._commits) > KEPT_COMMITS or self._bytes > KEPT_BYTES:
            oldest = self._commits.popleft()
            self._first += 1
            self._bytes -= oldest.size
            self.floor = {**self.floor, oldest.writer: oldest.n}
        self._tell()

    def _tell(self) -> None:
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()

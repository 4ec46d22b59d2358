"""The feed of all executions for event streams: one reader of the store for all who follow it.

A position is {writer: n}: everything up to commit n of each writer was read. The tail follows the
feed's end and keeps the newest commits, encoded; who is near the end reads from it, who is behind
reads the store by himself until he is near. A cursor can stand inside a commit: it then
also says how many of the commit's events were read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import NamedTuple

import structlog

from perdure.api.cursors import decode_cursor, encode_cursor
from perdure.api.frames import Chosen, event_frame, reset_frame
from perdure.engine.hub import Hub
from perdure.engine.streams import NumberedEvent, numbered
from perdure.errors import StoreError
from perdure.model.event import EventChunk
from perdure.store.interface import Store

CURSOR_KIND = "feed"
FROM_START = "start"
"""Instead of a cursor: everything that the feed still has."""
PAGE_COMMITS = 16
STEP_BYTES = 256 * 1024
"""Of frames that are handed on at once: what a reader that stopped holds in memory."""
KEPT_COMMITS = 1_024
KEPT_BYTES = 8 * 1024 * 1024
RETRY_S = 1.0
DROPPED = "events behind this cursor are no longer kept"
AHEAD = "the cursor is ahead of what this store holds: it was restored from a backup, or is another one"
FOREIGN = "the cursor is none of this feed"

Position = dict[int, int]
StoredCommit = tuple[int, int, list[EventChunk]]
"""(writer, n, chunks), as the store gives it."""
_log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """`position`, and of commit `n` of `writer` the first `read` events (0 for none)."""

    position: Position
    writer: int = 0
    n: int = 0
    read: int = 0


def place_of(cursor: str, workspace: str) -> Place:
    """Raises InvalidCursor."""
    pairs, writer, n, read = decode_cursor(cursor, CURSOR_KIND, workspace, tuple[list[tuple[int, int]], int, int, int])
    return Place(dict(pairs), writer, n, read)


def cursor_of(place: Place, workspace: str) -> str:
    pairs = sorted(place.position.items())
    return encode_cursor(CURSOR_KIND, workspace, [pairs, place.writer, place.n, place.read])


class Beginning(NamedTuple):
    """`place` None is the oldest commit that is kept; `reset` says why it is not the place that was asked for."""

    place: Place | None
    reset: str | None = None


class _Commit(NamedTuple):
    writer: int
    n: int
    events: list[tuple[NumberedEvent, bytes]]
    size: int


class Feed:
    """What follows the end of the feed for all streams of this process; used on the loop only."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._tails: dict[str, _Tail] = {}

    async def begin(self, cursor: str | None, workspace: str) -> Beginning:
        """Where a reader begins: behind a cursor, at `start`, or now without either. Raises InvalidCursor.

        A cursor ahead of the feed would wait in silence until the feed has passed it: it begins now, and is told so.
        """
        if cursor == FROM_START:
            return Beginning(None)
        end = await self._store.events.feed_end()
        if cursor is None:
            return Beginning(Place(end))
        place = place_of(cursor, workspace)
        reached = {**place.position, **({place.writer: place.n} if place.read else {})}
        if any(n > end.get(writer, n) for writer, n in reached.items()):
            return Beginning(Place(end), AHEAD)
        return Beginning(place)

    async def follow(self, reader: Reader) -> AsyncGenerator[bytes]:
        """Frames for one reader from its place on, without gap or double, as they are committed; never ends."""
        tail = self._tails.get(reader.workspace)
        if tail is None:
            tail = self._tails[reader.workspace] = _Tail(self._store, self._hub, reader.workspace)
        if reader.reset is not None:
            yield reset_frame(reader.reset, reader.cursor())
        async with tail:
            while True:
                floor = tail.floor
                async for frames in self._catch_up(reader):
                    yield frames
                # The store was read to its end after the floor was taken: nothing up to the floor is unread.
                reader.advance(floor)
                async for frames in tail.read(reader):
                    yield frames

    async def _catch_up(self, reader: Reader) -> AsyncGenerator[bytes]:
        """What the store has behind the reader's place, until nothing is left."""
        while True:
            commits = await self._store.events.feed(reader.workspace, reader.position, PAGE_COMMITS)
            if not commits:
                return
            frames = b""
            for commit in commits:
                if reader.has_gap_before(commit):
                    frames += reset_frame(DROPPED)
                frames += reader.take(_encoded(reader.workspace, reader.position, commit))
            if frames:
                yield frames


class Reader:
    """One follower's place and filter."""

    def __init__(self, *, workspace: str, beginning: Beginning, chosen: Chosen) -> None:
        self._from_start = beginning.place is None
        place = beginning.place or Place({})
        self.reset = beginning.reset
        self.workspace = workspace
        self.position: Position = dict(place.position)
        self._partial = place
        self._chosen = chosen

    def ping(self) -> bytes:
        """A comment, and the place so far as an id: a reader whose filter matches nothing resumes near the end too."""
        return b": ping\nid: %b\n\n" % self.cursor().encode()

    def cursor(self) -> str:
        """Behind everything that was read."""
        return cursor_of(Place(self.position), self.workspace)

    def advance(self, position: Position) -> None:
        for writer, n in position.items():
            self.position[writer] = max(n, self.position.get(writer, 0))

    def has_gap_before(self, commit: StoredCommit) -> bool:
        """Whether commits that the reader has not seen were dropped from the store."""
        writer, n, _ = commit
        read = self.position.get(writer)
        if read is None:
            return not self._from_start and n > 1
        return n > read + 1

    def take(self, commit: _Commit) -> bytes:
        """The commit's chosen frames, unless it was read before; the place moves behind it."""
        if commit.n <= self.position.get(commit.writer, 0):
            return b""
        read = self._partial.read if (commit.writer, commit.n) == (self._partial.writer, self._partial.n) else 0
        self.position[commit.writer] = commit.n
        return b"".join([frame for item, frame in commit.events[read:] if self._chosen(item)])


def _encoded(workspace: str, before: Position, stored: StoredCommit) -> _Commit:
    """A commit's frames; the cursor of its last event stands behind the whole commit."""
    writer, n, chunks = stored
    items = [item for chunk in chunks for item in numbered(chunk, 0)]
    events = []
    for read, item in enumerate(items, 1):
        place = Place({**before, writer: n}) if read == len(items) else Place(before, writer, n, read)
        events.append((item, event_frame(item, cursor_of(place, workspace))))
    return _Commit(writer, n, events, sum(len(frame) for _, frame in events))


class _Tail:
    """The newest commits of one workspace, read from the store once for all; runs while it has readers."""

    def __init__(self, store: Store, hub: Hub, workspace: str) -> None:
        self._store = store
        self._hub = hub
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

    async def read(self, reader: Reader) -> AsyncGenerator[bytes]:
        """Frames for a reader that is at the floor or beyond; ends when he has fallen behind it."""
        number = self._first
        while number >= self._first:
            advanced = self._advanced
            if number == self._first + len(self._commits):
                await advanced.wait()
                continue
            frames = b""
            while number < self._first + len(self._commits) and len(frames) < STEP_BYTES:
                frames += reader.take(self._commits[number - self._first])
                number += 1
            if frames:
                yield frames

    async def _run(self, ready: asyncio.Event) -> None:
        with self._hub.subscribe() as subscription:
            while True:
                try:
                    if not ready.is_set():
                        self._begin(await self._store.events.feed_end())
                        ready.set()
                    subscription.caught_up()
                    while commits := await self._store.events.feed(self._workspace, self._position, PAGE_COMMITS):
                        self._keep(commits)
                    await subscription.wait()
                except StoreError as error:
                    _log.warning("the feed cannot be read", code=error.code, detail=error.message)
                    await asyncio.sleep(RETRY_S)

    def _begin(self, position: Position) -> None:
        self._first += len(self._commits)
        self._commits.clear()
        self._bytes = 0
        self._position = dict(position)
        self.floor = dict(position)

    def _keep(self, commits: list[StoredCommit]) -> None:
        for stored in commits:
            commit = _encoded(self._workspace, self._position, stored)
            self._position[commit.writer] = commit.n
            self._commits.append(commit)
            self._bytes += commit.size
        while len(self._commits) > KEPT_COMMITS or self._bytes > KEPT_BYTES:
            oldest = self._commits.popleft()
            self._first += 1
            self._bytes -= oldest.size
            self.floor = {**self.floor, oldest.writer: oldest.n}
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()

"""Brings what other processes commit to those who listen here: the feed of their commits, read as it grows.

It reads only while somebody listens, and of the events only those that somebody listens to. Commits are read writer
by writer, each writer's without a gap. Between two writers there is no order: a listener who is shown a later chunk
of an execution first finds a gap in its numbers and reads the store (`perdure.engine.streams`).
"""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import SECOND, Clock
from perdure.engine.ends import Ends
from perdure.engine.hub import Hub
from perdure.engine.pace import Pace
from perdure.model.event import EventChunk
from perdure.store.interface import FeedEntry, Store

_PAGE_COMMITS = 64
_LINGER = 30 * SECOND
"""For how long it goes on reading after the last listener went: the next one comes soon."""
_SCAN_S = 5.0
_POLL_S = 0.5
_IDLE_S = 60.0


class Follower:
    """The work of a loop; used on the event loop only."""

    def __init__(
        self, *, store: Store, hub: Hub, ends: Ends, clock: Clock, has_hints: Callable[[], bool], pace: Pace
    ) -> None:
        self._store = store
        self._hub = hub
        self._ends = ends
        self._clock = clock
        self._has_hints = has_hints
        self._pace = pace
        self._position: dict[int, int] | None = None
        """Everything up to commit n of each writer was brought; None while it does not follow."""
        self._news: dict[int, int] = {}
        self._look_everywhere = False
        self._wanted_at = 0
        self.own_writer: int | None = None
        """Whose commits are told here without the store."""

    def note(self, news: dict[int, int]) -> bool:
        """Others have committed that far. Whether `work` has something to do."""
        for writer, n in news.items():
            if writer != self.own_writer:
                self._news[writer] = max(n, self._news.get(writer, 0))
        return bool(self._news) and bool(self._hub or self._ends or self._position is not None)

    def look_everywhere(self) -> None:
        """Hints may have been missed."""
        self._look_everywhere = True

    async def work(self) -> float:
        news, self._news = self._news, {}
        if self._has_single_listeners():
            self._wanted_at = self._clock.monotonic()
        elif self._position is None or self._clock.monotonic() - self._wanted_at > _LINGER:
            self._position = None
            # Whoever follows all executions reads the feed himself, with cursors (`perdure.api.feed`).
            self._hub.stir()
            return self._pause_s() if self._hub else _IDLE_S
        if self._position is None:
            await self._begin()
        elif self._look_everywhere or not news:
            self._look_everywhere = False
            news = await self._store.events.feed_end()
        await self._bring(news)
        return self._pause_s()

    def _has_single_listeners(self) -> bool:
        return bool(self._ends) or self._hub.follows_single

    def _pause_s(self) -> float:
        return self._pace.scan(_SCAN_S) if self._has_hints() else self._pace.pause(_POLL_S)

    async def _begin(self) -> None:
        """From the feed's end on; whoever began to listen before has to read the store once more."""
        self._position = await self._store.events.feed_end()
        self._hub.lag()
        await self._ends.look()

    async def _bring(self, news: dict[int, int]) -> None:
        position = self._position
        assert position is not None
        behind = {writer: position.get(writer, 0) for writer, n in news.items() if n > position.get(writer, 0)}
        behind.pop(self.own_writer or 0, None)
        if behind:
            self._hub.stir()
        while behind:
            commits = await self._store.events.commits(behind, _PAGE_COMMITS)
            wanted = [entry for _, _, entries in commits for entry in entries if self._is_wanted(entry)]
            # In order of the executions: one that went from writer to writer is shown whole where it can be.
            wanted.sort(key=lambda entry: (entry.execution_id, entry.first_seq))
            self._publish(await self._store.events.chunks(wanted) if wanted else [])
            read: dict[int, int] = {}
            for writer, n, _ in commits:
                position[writer] = n
                read[writer] = read.get(writer, 0) + 1
            behind = {writer: position[writer] for writer, count in read.items() if count == _PAGE_COMMITS}

    def _is_wanted(self, entry: FeedEntry) -> bool:
        return entry.execution_id in self._ends or self._hub.follows(entry.execution_id)

    def _publish(self, chunks: list[EventChunk]) -> None:
        self._hub.bring(chunks)
        self._ends.publish(chunks)

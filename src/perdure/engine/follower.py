"""Brings what other processes commit to those who listen here: the feed of their commits, read as it grows.

It reads only while somebody listens, and of the events only those that somebody listens to. Commits are read writer
by writer, each writer's without a gap. Between two writers there is no order: a listener who is shown a later chunk
of an execution first finds a gap in its numbers and reads the store (`perdure.engine.streams`).
"""

from __future__ import annotations

from collections.abc import Callable

from perdure.base.clock import SECOND, Clock
from perdure.engine.demand import ASKED_AGAIN, Attention
from perdure.engine.ends import Ends
from perdure.engine.hub import Hub
from perdure.engine.pace import Pace
from perdure.model.event import EventChunk
from perdure.store.interface import FeedEntry, Store

_PAGE_COMMITS = 64
_LINGER = 30 * SECOND
"""For how long it goes on reading after the last listener went: the next one comes soon."""
_POLL_S = 0.5
_IDLE_S = 60.0


class Follower:
    """The work of a loop; used on the event loop only.

    Others tell of their commits while somebody asks them to. Where they would tell of very many, it looks for them.
    """

    def __init__(
        self,
        *,
        store: Store,
        hub: Hub,
        ends: Ends,
        clock: Clock,
        has_hints: Callable[[], bool],
        ask: Callable[[bool], object],
        pace: Pace,
    ) -> None:
        """`ask` lets the others know whether they are to tell of their commits."""
        self._store = store
        self._hub = hub
        self._ends = ends
        self._clock = clock
        self._has_hints = has_hints
        self._ask = ask
        self._pace = pace
        self._attention = Attention(clock)
        self._position: dict[int, int] | None = None
        """Everything up to commit n of each writer was brought; None while it does not follow."""
        self._seen: dict[int, int] = {}
        """Likewise, for those who are only to know that there is more."""
        self._news: dict[int, int] = {}
        self._look_everywhere = False
        self._wanted_at = 0
        self._asked_at: int | None = None
        self.own_writer: int | None = None
        """Whose commits are told here without the store."""

    def note(self, news: dict[int, int]) -> bool:
        """Others have committed that far. Whether `work` has something to do now."""
        for writer, n in news.items():
            if writer != self.own_writer:
                self._news[writer] = max(n, self._news.get(writer, 0))
        if not self._news or not self._follows() or self._attention.looks:
            return False
        if self._attention.told():
            self._asked_at = None
            self._ask(False)
        return True

    def asked(self, follows: bool) -> None:
        """Another process has just said the same: that it follows, or that it has heard enough."""
        self._asked_at = self._clock.monotonic() if follows else None
        if not follows:
            self._attention.looks = True

    def look_everywhere(self) -> None:
        """Hints may have been missed, in both directions."""
        self._look_everywhere = True
        self._asked_at = None

    async def work(self) -> float:
        news, self._news = self._news, {}
        if self._has_single_listeners():
            self._wanted_at = self._clock.monotonic()
        elif self._clock.monotonic() - self._wanted_at > _LINGER:
            self._position = None
        if not self._follows():
            return _IDLE_S
        self._ask_again()
        try:
            if self._position is None and self._has_single_listeners():
                await self._begin()
            elif news and not self._attention.looks and not self._look_everywhere:
                await self._bring(news)
            else:
                await self._look()
        except BaseException:
            # The news is lost.
            self._look_everywhere = True
            raise
        return self._pause_s()

    def _follows(self) -> bool:
        return bool(self._hub or self._ends or self._position is not None)

    def _has_single_listeners(self) -> bool:
        return bool(self._ends) or self._hub.follows_single

    def _ask_again(self) -> None:
        if not self._has_hints() or self._attention.looks:
            return
        now = self._clock.monotonic()
        if self._asked_at is None or now - self._asked_at >= ASKED_AGAIN:
            self._asked_at = now
            self._ask(True)

    def _pause_s(self) -> float:
        if self._attention.looks:
            return self._pace.look()
        return self._pace.pause(ASKED_AGAIN / SECOND if self._has_hints() else _POLL_S)

    async def _look(self) -> None:
        self._look_everywhere = False
        found = await self._bring(await self._store.events.feed_end())
        self._attention.looked(found=found, unhinted=not self._has_hints())

    async def _begin(self) -> None:
        """From the feed's end on; whoever began to listen before has to read the store once more."""
        self._position = await self._store.events.feed_end()
        self._hub.lag()
        # Of what was committed up to there nobody will be told again.
        self._hub.stir()
        await self._ends.look()

    async def _bring(self, ends: dict[int, int]) -> bool:
        """What others committed up to these numbers, by writer; whether there was anything new."""
        known = self._seen if self._position is None else self._position
        behind = {writer: known.get(writer, 0) for writer, n in ends.items() if n > known.get(writer, 0)}
        behind.pop(self.own_writer or 0, None)
        if not behind:
            return False
        # Whoever follows all executions reads the feed himself, with cursors (`perdure.api.feed`).
        self._hub.stir()
        if self._position is None:
            self._seen |= ends
        else:
            await self._read(self._position, behind)
        return True

    async def _read(self, position: dict[int, int], behind: dict[int, int]) -> None:
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

"""Keeps the index of texts: follows the commits, and puts what they brought into segments, far from the recorder.

Of all processes that share a store, the one that holds the index's lease does so. What is lost of the index (or all of
it) is made again: the history is walked from its newest execution on, beside the new commits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

import structlog
from msgspec import structs

from perdure.base.clock import MINUTE, SECOND, Clock
from perdure.base.ids import LAST_ID
from perdure.engine.pace import Pace
from perdure.engine.segments import WORTH_EXTENDING, Segments
from perdure.engine.text_heads import TextHeads
from perdure.engine.unfollowed import unfollowed
from perdure.store.interface import FeedEntry, Store
from perdure.store.search.records import IndexState
from perdure.store.search.segment import SEGMENT

LEASE = MINUTE
COMMITS_AT_ONCE = 200
"""Of each writer."""
ENTRIES_BYTES = 256 * 1024
"""Of these commits' entries: one commit may start a thousand executions, and what waits for the index has no bound."""
OLDER_AT_ONCE = SEGMENT
FOLLOW_S = 2.0
"""From one look for commits to the next; a search looks through what came since."""
IDLE_S, BEHIND_S = 0.001, 0.02
"""From one portion to the next, of segments and of commits: those that write these go first."""
FORGET_AT_ONCE = 100
STOP = 3 * SECOND
"""For what is left at the end."""

_log = structlog.get_logger(__name__)


class Indexer:
    """The work of a `Loop`."""

    def __init__(self, *, store: Store, batches: Callable[[], int], clock: Clock, heads: TextHeads, pace: Pace) -> None:
        """`batches`: how many this process has committed."""
        self._store = store
        self._count_batches = batches
        self._clock = clock
        self._segments = Segments(texts=store.texts, heads=heads, clock=clock, batches=batches, lease=LEASE)
        self._pace = pace
        self._followed = -1
        """As many were committed when they were followed last."""
        self._held_until = 0
        self._has_more = True
        self.state: IndexState | None = None
        """As this process left it; None while it does not hold the index."""

    async def work(self) -> float:
        now = self._clock.monotonic()
        if self._held_until - now < LEASE // 2 or self.state is None:
            if not await self._store.texts.hold(LEASE):
                self._held_until, self.state = 0, None
                return self._pace.chore(LEASE / SECOND / 2)
            self._held_until = now + LEASE
            await self._look_again()
        state = self.state or await self._store.texts.state() or await self._begun()
        if state is None:
            return FOLLOW_S
        if self.state is None:
            # Whoever had it before may have left more to do than what is committed from now on.
            self.state, self._has_more, self._followed = state, True, -1
        batches = self._count_batches()
        is_quiet = batches == self._followed and self._store.sharing is None
        if is_quiet and not self._has_more:
            # Whoever found the index damaged has emptied it. Where it is shared, a look with each lease has to do.
            await self._look_again()
            return FOLLOW_S if self.state is not None else IDLE_S
        # Segments come before what follows, and that before what is older: so the tail, which each search reads, stays short.
        if self._has_more and await self._cut(SEGMENT):
            return IDLE_S
        is_behind, may_have_more = False, self._has_more
        if not is_quiet:
            self._followed = batches
            is_behind = await self._follow(state)
            may_have_more |= self.state is None or self.state.position != state.position
        self._has_more = is_behind or (may_have_more and await self._went_on())
        if is_behind:
            return BEHIND_S
        return IDLE_S if self._has_more else FOLLOW_S

    async def _went_on(self) -> bool:
        """With what does not hurry; whether there may be more of it."""
        if self.state is None:
            return True
        if self.state.built:
            await self._walk_back(self.state)
            return True
        if await self._cut(WORTH_EXTENDING):
            return True
        oldest = await self._store.heads.oldest()
        return oldest is not None and await self._store.texts.forget(oldest, FORGET_AT_ONCE, LEASE) == FORGET_AT_ONCE

    async def _look_again(self) -> None:
        """Forget what is known of an index that is not the one any more."""
        if self.state is not None:
            found = await self._store.texts.state()
            if found is None or found.generation != self.state.generation:
                self.state = None

    async def stop(self) -> None:
        """Follow what is left, so that the next start finds it, and let others hold the index."""
        until = self._clock.monotonic() + STOP
        while self.state is not None and await self._follow(self.state) and self._clock.monotonic() < until:
            pass
        if self._held_until:
            await self._store.texts.release()

    async def _begun(self) -> IndexState | None:
        """Of an empty index: what is committed from now on is followed, what is there is walked through."""
        at = self._clock.now()
        position = await self._store.events.feed_end()
        state = IndexState(position=position, built=LAST_ID.hex(), followed_at=at, generation=uuid4().hex)
        return state if await self._store.texts.begin(state, LEASE) else None

    async def _follow(self, state: IndexState) -> bool:
        """Note what the next commits brought; whether there are more."""
        at = self._clock.now()
        found = await unfollowed(self._store, state, COMMITS_AT_ONCE, max_bytes=ENTRIES_BYTES)
        if found is None:
            _log.warning("commits were forgotten before they were indexed; the index of texts is made anew")
            self.state = await self._begun()
            return True
        position = found.position
        entries: list[FeedEntry] = []
        for writer, n, told in found.commits:
            position[writer] = n
            entries += told
        is_behind = found.has_more
        tail = await self._changed(entries)
        following = structs.replace(state, position=position, followed_at=state.followed_at if is_behind else at)
        if found.commits and not await self._store.texts.follow(following, tail, LEASE):
            self.state = None
            return False
        self.state = following
        return is_behind

    async def _changed(self, entries: Sequence[FeedEntry]) -> list[tuple[str, bytes]]:
        """Executions that began or ended in these commits: only then their texts change."""
        begun = {(entry.workspace, entry.execution_id) for entry in entries if entry.first_seq == 1}
        others = {entry.execution_id: entry.workspace for entry in entries} if entries else {}
        rest = [id for id, workspace in others.items() if (workspace, id) not in begun]
        ended = await self._store.heads.ended(rest) if rest else set()
        return sorted(begun | {(others[id], id) for id in ended})

    async def _walk_back(self, state: IndexState) -> None:
        older = await self._store.heads.older(bytes.fromhex(state.built), OLDER_AT_ONCE)
        built = older[-1][1].hex() if len(older) == OLDER_AT_ONCE else ""
        walked = structs.replace(state, built=built)
        is_ours = await self._store.texts.follow(walked, sorted(older), LEASE)
        self.state = walked if is_ours else None

    async def _cut(self, least: int) -> bool:
        """Make a segment, or extend one, where so many wait; whether there may be more of them."""
        for workspace, size in (await self._store.texts.tails()).items():
            if size >= least:
                make = self._segments.cut if size >= SEGMENT else self._segments.extend
                if not await make(workspace):
                    self.state = None
                return True
        return False

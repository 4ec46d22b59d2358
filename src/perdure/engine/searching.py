"""Finding executions by what stands in their texts: candidates from the index, each looked into.

What the index does not hold yet is looked into as well: the tail, the commits that it has not followed, and, while it
is being made anew, the older history under a deadline.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from perdure.base.clock import SECOND, Clock
from perdure.base.ids import FIRST_ID, LAST_ID
from perdure.engine.text_heads import TextHeads, Texts
from perdure.engine.unfollowed import unfollowed
from perdure.model.states import ExecutionKind
from perdure.store.interface import ExecutionFilter, Page, Store
from perdure.store.matching import matches
from perdure.store.records import ExecutionRecord
from perdure.store.search.grams import SHORTEST, spellings
from perdure.store.search.records import IndexSnapshot

PATIENCE = 2 * SECOND
FEW = 2_000
"""So many executions are rather looked into one by one than looked for in the index."""
FRESH_COMMITS = 2_000
"""So many commits that the index has not followed are looked through."""
FRESH_BYTES = 4 * 1024 * 1024
"""Of the entries of these commits, as stored."""
LOOKED_AT_ONCE = 256
SEGMENTS_AT_FIRST, SEGMENTS_AT_ONCE = 8, 512
"""A search looks into so many of the index, then into four times as many, and so on."""


class TextFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Substrings without regard to case, of at least `SHORTEST` characters: anywhere, in the input, in the output."""

    anywhere: str | None = None
    input: str | None = None
    output: str | None = None

    @property
    def needles(self) -> list[str]:
        return [needle for needle in (self.anywhere, self.input, self.output) if needle is not None]

    def check(self) -> Callable[[Texts], bool]:
        """Tells whether texts hold what is looked for; made once for all that are looked into."""
        anywhere, in_input, in_output = (
            None if needle is None else spellings(needle) for needle in (self.anywhere, self.input, self.output)
        )

        def fits(texts: Texts) -> bool:
            return (
                (anywhere is None or any(_holds(text, anywhere) for text in texts))
                and (in_input is None or _holds(texts.input, in_input))
                and (in_output is None or _holds(texts.output, in_output))
            )

        return fits


class Found(NamedTuple):
    """`rest_after` as in `Listing`; what was written up to `searched_until` (microseconds) was looked through."""

    records: list[ExecutionRecord]
    rest_after: bytes | None
    searched_until: int


class Searcher:
    """Of one engine."""

    def __init__(self, *, store: Store, heads: TextHeads, clock: Clock) -> None:
        self._store = store
        self._heads = heads
        self._clock = clock

    async def page(self, workspace: str, filter: ExecutionFilter, texts: TextFilter, page: Page) -> Found:
        """One page of at most `page.limit`, short when the time is over. `page.offset` must be 0."""
        deadline = self._clock.monotonic() + PATIENCE
        until = self._clock.now()
        if await self._are_few(workspace, filter):
            source = self._scanned(workspace, filter, texts, page)
        else:
            snapshot = await self._store.texts.snapshot(workspace)
            if await self._tells_less(workspace, filter, texts, snapshot):
                source = self._scanned(workspace, filter, texts, page)
            else:
                fresh, until = await self._fresh(workspace, snapshot, until)
                source = self._candidates(workspace, filter, texts, page, snapshot=snapshot, fresh=fresh)
        found: list[ExecutionRecord] = []
        async for looked_at, records in source:
            found += records
            if len(found) > page.limit:
                return Found(found[: page.limit], found[page.limit - 1].id, until)
            if looked_at is not None and self._clock.monotonic() > deadline:
                return Found(found, looked_at, until)
        return Found(found, None, until)

    async def describe(self) -> dict[str, Any]:
        """`{status, lag_s, waiting}`: `current`, `building` or `none`; how long ago the oldest commit is that the index has
        not followed; how many executions are in no segment yet."""
        texts = self._store.texts
        state = await texts.state()
        if state is None:
            return {"status": "none", "lag_s": 0.0, "waiting": 0}
        ends = await self._store.events.feed_end()
        is_whole = all(state.position.get(writer, 0) >= n for writer, n in ends.items())
        lag = 0 if is_whole else max(self._clock.now() - state.followed_at, 0)
        waiting = sum((await texts.tails()).values())
        return {"status": "building" if state.built else "current", "lag_s": lag / SECOND, "waiting": waiting}

    async def _are_few(self, workspace: str, filter: ExecutionFilter) -> bool:
        if filter == ExecutionFilter(now=filter.now):
            return False
        if filter.kind is not ExecutionKind.FLOW or filter.parent or filter.root or filter.replay_of or filter.worker:
            return True
        return await self._store.executions.count(workspace, _counted(filter), FEW + 1) <= FEW

    async def _tells_less(
        self, workspace: str, filter: ExecutionFilter, texts: TextFilter, snapshot: IndexSnapshot
    ) -> bool:
        """Whether the index leads to more executions than the filter lets pass, as its newest segments have it."""
        counted = _counted(filter)
        if snapshot.state is None or not snapshot.segments or counted == ExecutionFilter():
            return False
        newest = sorted(snapshot.segments, key=lambda one: one.last_id)[-SEGMENTS_AT_FIRST:]
        met = len(await self._store.texts.candidates(texts.needles, newest, snapshot.state.generation))
        led_to = met * len(snapshot.segments) // len(newest)
        return led_to > FEW and await self._store.executions.count(workspace, counted, led_to) < led_to

    async def _fresh(self, workspace: str, snapshot: IndexSnapshot, now: int) -> tuple[set[bytes], int]:
        """Executions that are in no segment yet, and up to when these are all."""
        if snapshot.state is None:
            return set(), now
        fresh = set(snapshot.tail)
        found = await unfollowed(self._store, snapshot.state, FRESH_COMMITS, max_bytes=FRESH_BYTES)
        for _, _, entries in () if found is None else found.commits:
            fresh |= {entry.execution_id for entry in entries if entry.workspace == workspace}
        is_whole = found is not None and not found.has_more
        return fresh, now if is_whole else snapshot.state.followed_at

    async def _fitting(self, ids: Sequence[bytes], texts: TextFilter) -> list[bytes]:
        """Those that hold what is looked for, in their order."""
        heads, fits = await self._heads.of(ids), texts.check()
        return [id for id in ids if id in heads and fits(heads[id])]

    async def _scanned(
        self, workspace: str, filter: ExecutionFilter, texts: TextFilter, page: Page
    ) -> AsyncIterator[tuple[bytes | None, list[ExecutionRecord]]]:
        """Of all that the filter lets pass, in their order; and how far that is."""
        while True:
            part = msgspec.structs.replace(page, limit=LOOKED_AT_ONCE)
            records, rest_after = await self._store.executions.page(workspace, filter, part)
            fitting = set(await self._fitting([record.id for record in records], texts))
            yield rest_after, [record for record in records if record.id in fitting]
            if rest_after is None:
                return
            page = msgspec.structs.replace(page, after=rest_after)

    async def _candidates(
        self, workspace: str, filter: ExecutionFilter, texts: TextFilter, page: Page, *, snapshot: IndexSnapshot,
        fresh: set[bytes],
    ) -> AsyncIterator[tuple[bytes | None, list[ExecutionRecord]]]:  # fmt: skip
        """Through the index, and through what of the history it does not hold yet, in the order of the ids."""
        built = FIRST_ID if snapshot.state is not None and not snapshot.state.built else LAST_ID
        if snapshot.state is not None and snapshot.state.built:
            built = bytes.fromhex(snapshot.state.built)
        indexed = self._indexed(workspace, filter, texts, page, snapshot=snapshot, fresh=fresh, least=built)
        if page.newest_first:
            async for part in indexed:
                yield part
            if built > FIRST_ID:
                after = built if page.after is None else min(page.after, built)
                async for part in self._scanned(workspace, filter, texts, msgspec.structs.replace(page, after=after)):
                    yield part
            return
        if built > FIRST_ID and (page.after is None or page.after < built):
            before = msgspec.structs.replace(page, until=built)
            async for looked_at, records in self._scanned(workspace, filter, texts, before):
                yield built if looked_at is None else looked_at, [one for one in records if one.id < built]
        async for part in indexed:
            yield part

    async def _indexed(
        self, workspace: str, filter: ExecutionFilter, texts: TextFilter, page: Page, *, snapshot: IndexSnapshot,
        fresh: set[bytes], least: bytes,
    ) -> AsyncIterator[tuple[bytes | None, list[ExecutionRecord]]]:  # fmt: skip
        """Candidates from `least` on. Segments overlap: an id is settled when no segment to come can hold one before it."""
        newest = page.newest_first
        first, last = await self._store.heads.bounds(filter)
        first = max(first, least)
        if page.after is not None and newest:
            last = min(last, _beside(page.after, -1))
        elif page.after is not None:
            first = max(first, _beside(page.after, 1))
        generation = "" if snapshot.state is None else snapshot.state.generation
        ordered = sorted(
            (one for one in snapshot.segments if one.first_id <= last and one.last_id >= first),
            key=lambda one: one.last_id if newest else one.first_id,
            reverse=newest,
        )
        waiting = [id for id in fresh if first <= id <= last]
        at, count = 0, SEGMENTS_AT_FIRST
        while at < len(ordered) or waiting:
            part, at, count = ordered[at : at + count], at + count, min(4 * count, SEGMENTS_AT_ONCE)
            if part:
                found = await self._store.texts.candidates(texts.needles, part, generation)
                waiting += [id for id in found if first <= id <= last]
            horizon = None if at >= len(ordered) else (ordered[at].last_id if newest else ordered[at].first_id)
            settled, waiting = _settled(waiting, horizon, newest=newest)
            for begin in range(0, len(settled), LOOKED_AT_ONCE):
                ids = settled[begin : begin + LOOKED_AT_ONCE]
                hits = await self._fitting(ids, texts)
                records = await self._store.executions.several(workspace, hits)
                yield ids[-1], [one for one in records if matches(one, filter)]
            if horizon is not None:
                yield _beside(horizon, 1 if newest else -1), []


def _settled(ids: Iterable[bytes], horizon: bytes | None, *, newest: bool) -> tuple[list[bytes], list[bytes]]:
    """In their order those that come before `horizon`, each once, and the others. A segment's are given nearly in order,
    which makes sorting them fast."""
    ordered = list(dict.fromkeys(sorted(ids)))
    if newest:
        cut = 0 if horizon is None else bisect_right(ordered, horizon)
        return ordered[cut:][::-1], ordered[:cut]
    cut = len(ordered) if horizon is None else bisect_left(ordered, horizon)
    return ordered[:cut], ordered[cut:]


def _counted(filter: ExecutionFilter) -> ExecutionFilter:
    """What of it the counters know."""
    return ExecutionFilter(
        statuses=filter.statuses, flow=filter.flow, namespace=filter.namespace, trigger_kind=filter.trigger_kind,
        created_after=filter.created_after, created_before=filter.created_before,
    )  # fmt: skip


def _beside(id: bytes, distance: int) -> bytes:
    """An id that lies so far from another, or the outermost."""
    return min(max(int.from_bytes(id) + distance, 0), int.from_bytes(LAST_ID)).to_bytes(16)


def _holds(text: str, spelt: Sequence[str]) -> bool:
    return any(spelling in text for spelling in spelt)


def too_short(needle: str) -> bool:
    """Whether no index could help to find it."""
    return len(needle) < SHORTEST

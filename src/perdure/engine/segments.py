"""Making segments of the text index from what waits for one, far from the recorder: a slice at a time, with rests between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import zip_longest

from perdure.base.clock import SECOND, Clock
from perdure.engine.text_heads import TextHeads, Texts
from perdure.store.interface import TextIndex
from perdure.store.search.records import OpenSegment
from perdure.store.search.segment import GROUP, LAST_PART, SEGMENT, VOLUME, SegmentBuilder, merged

WORTH_EXTENDING = 16 * GROUP
"""So many are put into a segment that has room, when nothing else is to be done: a search looks into each that waits."""
BUSY_REST, QUIET_REST = 16.0, 0.2
"""Times as long as it computed it rests, while others commit, and while nobody does. What it reads and writes costs nearly as
much again, so that others keep nine tenths."""
BUSY = SECOND // 10
"""So long after the last commit it is taken that others commit."""
SHORTEST_REST_S = 0.001
"""What timers can tell apart; shorter rests are put together."""
SLICE = 16 * 1024
"""Characters that are taken in at once: a millisecond of computing, then it is the turn of others."""
READ_AT_ONCE = 8 * GROUP
PARTS_AT_ONCE = 32
MERGED_AT_ONCE = 8


class Segments:
    """For the one that holds the index. `batches`: how many this process has committed; `lease` in microseconds."""

    def __init__(
        self, *, texts: TextIndex, heads: TextHeads, clock: Clock, batches: Callable[[], int], lease: int
    ) -> None:
        self._texts = texts
        self._heads = heads
        self._clock = clock
        self._count_batches = batches
        self._lease = lease
        self._committed = -1
        self._busy_until = 0
        self._rest_due_s = 0.0

    async def cut(self, workspace: str) -> bool:
        """A full one, of the oldest that wait. False where this process does not hold this index any more, as in `extend`."""
        ids = await self._texts.tail(workspace, SEGMENT)
        return await self._put(workspace, ids, SegmentBuilder(), None)

    async def extend(self, workspace: str) -> bool:
        """The one that has room, or begin one, with whole groups of those that wait."""
        found = await self._texts.open_segment(workspace)
        room = SEGMENT - (0 if found is None else len(found.members))
        ids = await self._texts.tail(workspace, room)
        ids = ids[: len(ids) // GROUP * GROUP]
        builder = SegmentBuilder() if found is None else SegmentBuilder(found.rows, len(found.members) // GROUP)
        return await self._put(workspace, ids, builder, found)

    async def _put(
        self, workspace: str, ids: Sequence[bytes], builder: SegmentBuilder, extended: OpenSegment | None
    ) -> bool:
        """And make a volume, when there are enough for one."""
        if not ids:
            return False
        parts = await self._parts(ids, builder)
        if not await self._texts.put_segment(workspace, ids, parts, self._lease, extended=extended):
            return False
        return await self._merge(workspace)

    async def _parts(self, ids: Sequence[bytes], builder: SegmentBuilder) -> list[tuple[int, bytes]]:
        async with aclosing(self._read(ids)) as portions:
            async for portion in portions:
                for first in range(0, len(portion), GROUP):
                    for some in _sliced(portion[first : first + GROUP]):
                        began = self._clock.monotonic()
                        builder.add(some)
                        await self._make_way(began)
                    began = self._clock.monotonic()
                    builder.end_group()
                    await self._make_way(began)
        parts: list[tuple[int, bytes]] = []
        began = self._clock.monotonic()
        for part in builder.parts():
            parts.append(part)
            if len(parts) % PARTS_AT_ONCE == 0:
                await self._make_way(began)
                began = self._clock.monotonic()
        return parts

    async def _read(self, ids: Sequence[bytes]) -> AsyncGenerator[list[Texts | None], None]:
        """In this order, a portion after the other; while one is worked on, the next one is read."""
        portions = [ids[first : first + READ_AT_ONCE] for first in range(0, len(ids), READ_AT_ONCE)]
        reading = asyncio.ensure_future(self._heads.of(portions[0]))
        try:
            for portion, following in zip_longest(portions, portions[1:]):
                found = await reading
                if following is not None:
                    reading = asyncio.ensure_future(self._heads.of(following))
                yield [found.get(id) for id in portion]
        finally:
            reading.cancel()

    async def _merge(self, workspace: str) -> bool:
        """Full segments into a volume. What is left of an attempt that was cut short is written over by the next."""
        segments = await self._texts.full_segments(workspace, VOLUME)
        if len(segments) < VOLUME:
            return True
        volume = -segments[0]
        places = {segment: place for place, segment in enumerate(segments)}
        for first in range(0, LAST_PART + 1, MERGED_AT_ONCE):
            rows: dict[int, dict[int, bytes]] = {}
            for segment, part, row in await self._texts.parts(segments, first, first + MERGED_AT_ONCE - 1):
                rows.setdefault(part, {})[places[segment]] = row
            parts: list[tuple[int, bytes]] = []
            for part, found in rows.items():
                began = self._clock.monotonic()
                parts.append((part, merged(found)))
                await self._make_way(began)
            if not await self._texts.put_volume_parts(volume, parts, self._lease):
                return False
        return await self._texts.put_volume(volume, segments, self._lease)

    async def _make_way(self, began: int) -> None:
        """Let others have their turn, the longer the more they have to do."""
        now, batches = self._clock.monotonic(), self._count_batches()
        if batches != self._committed:
            self._committed, self._busy_until = batches, now + BUSY
        self._rest_due_s += (now - began) / SECOND * (BUSY_REST if now < self._busy_until else QUIET_REST)
        rest_s = self._rest_due_s if self._rest_due_s >= SHORTEST_REST_S else 0
        self._rest_due_s -= rest_s
        await asyncio.sleep(rest_s)


def _sliced(portion: Sequence[Texts | None]) -> Iterator[list[str]]:
    """The texts of these executions, in slices that do not take long."""
    some: list[str] = []
    size = 0
    for text in [text for texts in portion if texts is not None for text in texts if text]:
        if size + len(text) > SLICE and some:
            yield some
            some, size = [], 0
        some.append(text)
        size += len(text)
    if some:
        yield some

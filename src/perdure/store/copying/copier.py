"""The course of a copy: contents, rows, what goes on counting, the comparison; only then it counts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TypeVar

from perdure.base.clock import Clock
from perdure.errors import CopyDiffers, StoreDamaged, StoreIncompatible
from perdure.store.copying import sql
from perdure.store.copying.comparing import compare
from perdure.store.copying.interface import Content, Copied, Copy, Row, Source, Target, Watcher
from perdure.store.copying.missing import contents_missing
from perdure.store.copying.tables import TABLES, Table

T = TypeVar("T")
REWOUND_WRITERS = 1_000_000
"""More writers than can have come after any state that somebody goes back to: new ones get numbers that none had."""


async def copy_store(
    source: Source,
    target: Target,
    *,
    clock: Clock,
    watcher: Watcher,
    without_missing: bool = False,
    rewound: bool = False,
) -> Copy:
    """Copy everything, compare both, and keep the copy if they are the same. The source is only read.

    Whoever owned an execution at the source is stopped in the copy, so that its executions are taken up at once.

    Args:
        without_missing: copy although contents are missing at the source, without those.
        rewound: the source is a former state of the store: readers may know of later commits than it has.

    Raises:
        ContentsMissing: the source lacks contents that its rows refer to.
        CopyDiffers: the copy is not the same; nothing of it is kept.
        StoreIncompatible: the two have different tables.
        StoreError: what the databases and the disks have to say.
    """
    copier = _Copier(source, target, clock, watcher)
    await copier.check_contents(without_missing=without_missing)
    await target.prepare(oldest=await source.oldest())
    await copier.put_contents()
    await copier.put_rows()
    await copier.put_counters()
    await copier.compare_contents()
    tables = await copier.compare_rows()
    last_writer = await source.last_writer() + (REWOUND_WRITERS if rewound else 0)
    await target.set_feed_ends(await source.feed_ends(), last_writer=last_writer, at=clock.now())
    answer = Copy(
        source=source.place,
        target=target.place,
        executions=int((await source.all(sql.EXECUTIONS))[0][0]),
        tables=tables,
        contents=copier.contents,
        content_bytes=copier.content_bytes,
        contents_missing=len(copier.missing),
        unfinished=await source.unfinished(),
    )
    await target.keep()
    return answer


class _Copier:
    def __init__(self, source: Source, target: Target, clock: Clock, watcher: Watcher) -> None:
        self._source = source
        self._target = target
        self._watcher = watcher
        self._at = clock.now()
        self._rows = 0
        self.contents = 0
        self.content_bytes = 0
        self.missing: set[bytes] = set()

    async def check_contents(self, *, without_missing: bool) -> None:
        """All are looked for before anything is written: it is quick, and tells a wrong folder."""
        async for block in self._source.contents():
            for content in block:
                if await self._source.has_content(content.sha256):
                    self.contents += 1
                    self.content_bytes += content.size_bytes
                else:
                    self.missing.add(content.sha256)
        if self.missing and not without_missing:
            count = len(self.missing)
            raise contents_missing(
                self._source.place, sorted(self.missing), count=count, total=count + self.contents, verb="copy"
            )

    async def put_contents(self) -> None:
        self._watcher.begin("contents", self.content_bytes)
        async for content in self._wanted():
            await self._target.put_content(content, self._true(content, self._source.content(content.sha256)))

    async def compare_contents(self) -> None:
        self._watcher.begin("comparing contents", self.content_bytes)
        async for content in self._wanted():
            digest = hashlib.sha256()
            async for piece in self._target.content(content.sha256):
                digest.update(piece)
                self._watcher.advance(len(piece), "contents")
            if digest.digest() != content.sha256:
                raise CopyDiffers(
                    f"the copy differs: the content with sha-256 {content.sha256.hex()} is another one there",
                    table="contents", key=content.sha256.hex(),
                )  # fmt: skip

    async def put_rows(self) -> None:
        self._rows = sum([await self._source.count(table) for table in TABLES])
        self._watcher.begin("rows", self._rows)
        for table in TABLES:
            columns = await self._columns(table)
            async with aclosing(_ahead(self._from_source(table, columns))) as blocks:
                await self._target.put(table, columns, self._watched(table, blocks))

    async def put_counters(self) -> None:
        for table in TABLES:
            if table.counter is not None:
                await self._target.go_on_after(table, await self._source.last_number(table))

    async def compare_rows(self) -> dict[str, Copied]:
        self._watcher.begin("comparing rows", self._rows)
        found = {}
        for table in TABLES:
            columns = await self._columns(table)

            def seen(count: int, name: str = table.name) -> None:
                self._watcher.advance(count, name)

            async with (
                aclosing(_ahead(self._from_source(table, columns))) as before,
                aclosing(_ahead(self._target.rows(table, columns))) as after,
            ):
                found[table.name] = await compare(table, columns, before, after, seen)
        return found

    async def _columns(self, table: Table) -> tuple[str, ...]:
        """In the order of their names, which is the same everywhere."""
        ours, theirs = await self._source.columns(table), await self._target.columns(table)
        if ours != theirs:
            raise StoreIncompatible(f"{table.name} has other columns at the target: {', '.join(sorted(ours ^ theirs))}")
        return tuple(sorted(ours))

    async def _from_source(self, table: Table, columns: Sequence[str]) -> AsyncGenerator[list[Row]]:
        """The rows as they are to be in the copy. Nobody lives on there: see `copy_store`."""
        stopped_at = columns.index("stopped_at") if table.name == "workers" else None
        async for block in self._source.rows(table, columns):
            if stopped_at is not None:
                block = [_with(row, stopped_at, self._at) if row[stopped_at] is None else row for row in block]
            yield block

    async def _watched(self, table: Table, blocks: AsyncIterator[list[Row]]) -> AsyncIterator[list[Row]]:
        async for block in blocks:
            yield block
            self._watcher.advance(len(block), table.name)

    async def _wanted(self) -> AsyncIterator[Content]:
        async for block in self._source.contents():
            for content in block:
                if content.sha256 not in self.missing:
                    yield content

    async def _true(self, content: Content, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        async for piece in pieces:
            digest.update(piece)
            self._watcher.advance(len(piece), "contents")
            yield piece
        if digest.digest() != content.sha256:
            raise StoreDamaged(
                f"the content with sha-256 {content.sha256.hex()} at {self._source.place} is damaged: restore it from a backup"
            )


async def _ahead(blocks: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The same blocks; while one is used the next one is read."""
    following = asyncio.ensure_future(anext(blocks, None))
    try:
        while (block := await following) is not None:
            following = asyncio.ensure_future(anext(blocks, None))
            yield block
    finally:
        following.cancel()
        await asyncio.wait({following})
        await blocks.aclose()


def _with(row: Row, place: int, value: object) -> Row:
    return (*row[:place], value, *row[place + 1 :])

"""A SQLite store as the source of a copy: one snapshot of the file, which is ours alone meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw

from perdure.base.ids import id_time
from perdure.errors import StoreIncompatible, StoreUnavailable
from perdure.store.copying.folders import is_in
from perdure.store.copying.interface import Content, ContentFolder, FeedEnd, Row
from perdure.store.copying.sql import CONTENTS, FIRST_ID, UNFINISHED, count_sql, select_sql
from perdure.store.copying.tables import WIDE, Table
from perdure.store.faults import reach
from perdure.store.sqlite.connection import (
    APPLICATION_ID,
    open_backup,
    open_reader,
    refuse_foreign_file,
    refuse_unsafe_library,
)
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.lock import OwnerLock
from perdure.store.sqlite.migrate import migrations, schema_version
from perdure.store.sqlite.writer import WRITER

T = TypeVar("T")
PAGES_AT_ONCE = 1_024
_INTERRUPT_S = 0.05
LAST_WRITER = "feed_last_writer"
"""The measure that keeps, in a store that came from PostgreSQL, the highest number that a writer had there."""

_COLUMNS = "SELECT name FROM pragma_table_info(?)"
_LAST_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_LAST_WRITER = "SELECT max(coalesce((SELECT max(writer) FROM feed), 0), coalesce((SELECT value FROM measures WHERE name = ?), 0), ?)"
_FEED_ENDS = "SELECT f.writer, max(f.n), max(f.at) FROM feed AS f GROUP BY f.writer ORDER BY f.writer"


class Thread:
    """One thread for one connection: a disk that is slow does not hold up the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store-copy")
        self.interrupt: Callable[[], object] = lambda: None
        """Has a statement that runs come to its end."""

    async def run(self, work: Any, *args: Any) -> Any:
        """What `work` answers; when cancelled, it is over too. Raises the errors of our tree for those of SQLite."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # Whoever goes on closes what the work uses. An interrupt ends only what has begun already.
            while not running.done():
                self.interrupt()
                await asyncio.wait([running], timeout=_INTERRUPT_S)
            if not running.cancelled():
                running.exception()
            raise
        except apsw.Error as error:
            raise translated(error, self._path) or error from error

    def close(self) -> None:
        self._pool.shutdown()


class Tables:
    """What both ends of a copy read from a SQLite file."""

    def __init__(self, connection: apsw.Connection, thread: Thread, folder: ContentFolder) -> None:
        self._connection = connection
        self._thread = thread
        self._folder = folder

    async def all(self, sql: str, *params: Any) -> list[Row]:
        rows: list[Row] = await self._thread.run(lambda: list(self._connection.execute(sql, params)))
        return rows

    async def value(self, sql: str, *params: Any) -> Any:
        """The first column of the first row; None without one."""
        rows = await self.all(sql, *params)
        return rows[0][0] if rows else None

    async def columns(self, table: Table) -> frozenset[str]:
        return frozenset(name for (name,) in await self.all(_COLUMNS, table.name))

    async def rows(self, table: Table, columns: Sequence[str]) -> AsyncGenerator[list[Row]]:
        async for block in self.walk(select_sql(table, columns), table.block):
            yield block

    async def walk(self, sql: str, block: int) -> AsyncGenerator[list[Row]]:
        def begin() -> Iterator[Row]:
            return iter(self._connection.execute(sql))

        def following() -> list[Row]:
            return list(islice(cursor, block))

        cursor: Iterator[Row] = await self._thread.run(begin)
        while rows := await self._thread.run(following):
            yield rows

    async def content(self, sha256: bytes) -> AsyncIterator[bytes]:
        async for piece in self._folder.open(sha256):
            yield piece


class SqliteSource:
    """`perdure.store.copying.interface.Source`."""

    def __init__(self, path: Path, folder: ContentFolder, *, at_rest: bool) -> None:
        """See `open`."""
        if not path.exists():
            raise StoreUnavailable(f"there is no store at {path}", path=str(path))
        refuse_unsafe_library()
        refuse_foreign_file(path)
        self.place = str(path)
        self._folder = folder
        self._lock = OwnerLock(path) if at_rest else None
        self._thread = Thread(path)
        self._connection: apsw.Connection | None = None

    @classmethod
    async def open(cls, path: Path, folder: ContentFolder, *, at_rest: bool = True) -> Self:
        """`folder` is where its contents lie. Not `at_rest`, its owner goes on meanwhile: what it commits is not seen.

        Raises `StoreLocked` while a process owns it and it is to be at rest, `StoreIncompatible` for another schema, `StoreDamaged`,
        `StoreUnavailable`.
        """
        source = cls(path, folder, at_rest=at_rest)
        try:
            await source._begin(path)
        except BaseException:
            await source.close()
            raise
        return source

    async def _begin(self, path: Path) -> None:
        def begin() -> tuple[apsw.Connection, int, int]:
            connection = open_reader(path)
            # Its first read, behind it, is the moment that it shows.
            connection.execute("BEGIN")
            return connection, int(connection.pragma("application_id") or 0), schema_version(connection)

        self._connection, application, schema = await self._thread.run(begin)
        self._thread.interrupt = self._connection.interrupt
        if application != APPLICATION_ID:
            raise StoreIncompatible(f"{path} is no store of perdure", path=str(path))
        newest = migrations()[-1].number
        if schema != newest:
            how = "run `perdure store migrate` on it first" if schema < newest else "a newer perdure must copy it"
            raise StoreIncompatible(f"{path} has schema {schema}, this perdure knows {newest}; {how}", schema=schema)
        self._tables = tables = Tables(self._connection, self._thread, self._folder)
        self.all = tables.all
        self.columns = tables.columns
        self.rows = tables.rows
        self.content = tables.content

    async def pages(self, target: Path, seen: Callable[[int, int], None]) -> None:
        """Copy the file as it is at this snapshot, page by page; `seen` hears of (bytes done, bytes in all)."""
        source = self._connection
        assert source is not None
        connection = await self._thread.run(open_backup, target)
        try:
            with connection.backup("main", source, "main") as copy:
                while not copy.done:
                    await self._thread.run(copy.step, PAGES_AT_ONCE)
                    reach("copying")
                    page = int(source.pragma("page_size") or 0)
                    seen((copy.page_count - copy.remaining) * page, copy.page_count * page)
        finally:
            await self._thread.run(connection.close)

    async def count(self, table: Table) -> int:
        return int(await self._tables.value(count_sql(table)))

    async def last_number(self, table: Table) -> int:
        return int(await self._tables.value(_LAST_NUMBER, table.name) or 0)

    async def last_writer(self) -> int:
        return int(await self._tables.value(_LAST_WRITER, LAST_WRITER, WRITER))

    async def feed_ends(self) -> list[FeedEnd]:
        return [FeedEnd(*row) for row in await self._tables.all(_FEED_ENDS)]

    async def oldest(self) -> int | None:
        first = await self._tables.value(FIRST_ID)
        return None if first is None else id_time(first)

    async def unfinished(self) -> int:
        return int(await self._tables.value(UNFINISHED))

    async def contents(self) -> AsyncIterator[list[Content]]:
        async for block in self._tables.walk(CONTENTS, WIDE):
            yield [Content(*row) for row in block]

    async def has_content(self, sha256: bytes) -> bool:
        return await is_in(self._folder, sha256)

    async def close(self) -> None:
        if self._connection is not None:
            await self._thread.run(self._connection.close)
        self._thread.close()
        if self._lock is not None:
            self._lock.release()

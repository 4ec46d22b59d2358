"""A SQLite store as the target of a copy: a file beside its place, which takes the place once it is whole."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Self

import apsw

from perdure.errors import StoreNotEmpty
from perdure.store.copying.folders import put_pieces
from perdure.store.copying.interface import Content, ContentFolder, FeedEnd, Row
from perdure.store.copying.sqlite_source import LAST_WRITER, Tables, Thread
from perdure.store.copying.tables import Table
from perdure.store.faults import reach
from perdure.store.sqlite.connection import open_writer, refuse_unsafe_library
from perdure.store.sqlite.lock import OwnerLock
from perdure.store.sqlite.migrate import migrate, migrations
from perdure.store.sqlite.moved import refuse_moved
from perdure.store.sqlite.store import keep_private, make_folder
from perdure.store.sqlite.text_index import SUFFIX as INDEX_SUFFIX
from perdure.store.sqlite.writer import WRITER

_GO_ON_DROP = "DELETE FROM sqlite_sequence WHERE name = ?"
_GO_ON = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"
_MARK = "INSERT INTO feed (writer, n, at, entries) VALUES (?, ?, ?, '[]')"
_MEASURE = "INSERT OR REPLACE INTO measures (name, value) VALUES (?, ?)"


class SqliteTarget:
    """`perdure.store.copying.interface.Target`."""

    def __init__(self, path: Path, folder: ContentFolder) -> None:
        """`folder` is where its contents will lie. Raises `StoreNotEmpty`, `StoreMoved`, `StoreLocked`, `StoreUnavailable`."""
        refuse_unsafe_library()
        make_folder(path)
        self.place = str(path)
        self._path = path
        self._lock = OwnerLock(path)
        try:
            _refuse_what_is_there(path)
        except BaseException:
            self._lock.release()
            raise
        self._draft = path.with_name(path.name + ".copying")
        self._folder = folder
        self._thread = Thread(self._draft)
        self._connection: apsw.Connection | None = None

    @classmethod
    async def open(cls, path: Path, folder: ContentFolder) -> Self:
        """Raises also `StoreFull`."""
        target = cls(path, folder)
        try:
            await target._begin()
        except BaseException:
            await target.close()
            raise
        return target

    async def _begin(self) -> None:
        self._connection = await self._thread.run(self._made)
        tables = Tables(self._connection, self._thread, self._folder)
        self.columns = tables.columns
        self.rows = tables.rows
        self.content = tables.content

    async def prepare(self, *, oldest: int | None) -> None:
        """Nothing: a file has room for all times."""

    async def put(self, table: Table, columns: Sequence[str], blocks: AsyncIterator[list[Row]]) -> None:
        names, values = ", ".join(columns), ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table.name} ({names}) VALUES ({values})"  # noqa: S608
        async for block in blocks:
            await self._thread.run(self._insert, sql, block)
            reach("copying")

    async def put_content(self, content: Content, pieces: AsyncIterator[bytes]) -> None:
        await put_pieces(self._folder, content, pieces, beside=self._path)

    async def go_on_after(self, table: Table, number: int) -> None:
        await self._run(_GO_ON_DROP, table.name)
        await self._run(_GO_ON, table.name, number)

    async def set_feed_ends(self, ends: Sequence[FeedEnd], *, last_writer: int, at: int) -> None:
        """The one writer of a file takes the number of a former one, of which readers may know any commit.

        Unless it goes on from the one writer of another file, its first commit gets a number that no former one can
        have had: whoever comes with an old position is told of the gap.
        """
        if last_writer > WRITER or all(end.writer != WRITER for end in ends):
            await self._run(_MARK, WRITER, at, at)
            await self._run(_MEASURE, LAST_WRITER, last_writer)

    async def keep(self) -> None:
        reach("copied")
        await self._thread.run(self._settle)

    async def close(self) -> None:
        await self._thread.run(self._drop)
        self._thread.close()
        self._lock.release()

    async def _run(self, sql: str, *params: object) -> None:
        assert self._connection is not None
        connection = self._connection
        await self._thread.run(lambda: connection.execute(sql, params))

    def _made(self) -> apsw.Connection:
        self._drop()
        keep_private(self._draft)
        connection = open_writer(self._draft)
        migrate(connection, self._draft, migrations())
        # What a new store is given of its own is the source's in a copy.
        connection.execute("DELETE FROM measures")
        # Until it is whole nobody needs it: one flush at the end is enough.
        connection.pragma("synchronous", "off")
        return connection

    def _insert(self, sql: str, block: list[Row]) -> None:
        assert self._connection is not None
        with self._connection:
            self._connection.executemany(sql, block)

    def _settle(self) -> None:
        assert self._connection is not None
        self._connection.pragma("synchronous", "full")
        self._connection.pragma("wal_checkpoint", "truncate")
        self._connection.close()
        self._connection = None
        flush(self._draft)
        # An index of texts that a former store of that name left is not this one's; it is made anew.
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{INDEX_SUFFIX}{suffix}").unlink(missing_ok=True)
        os.replace(self._draft, self._path)
        flush(self._path.parent)

    def _drop(self) -> None:
        """The draft of this copy, or what one that was killed left."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for suffix in ("", "-wal", "-shm", "-journal"):
            self._draft.with_name(self._draft.name + suffix).unlink(missing_ok=True)


def _refuse_what_is_there(path: Path) -> None:
    """Raises `StoreNotEmpty`, `StoreMoved`."""
    refuse_moved(path)
    if path.exists():
        raise StoreNotEmpty(f"{path} is there already; name a file that is not", path=str(path))
    for suffix in ("-wal", "-journal"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            raise StoreNotEmpty(
                f"{log} is there: the log of a store that was at {path}, which would change the new one. Move it to where "
                "that file is now, or remove it",
                path=str(log),
            )


def flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

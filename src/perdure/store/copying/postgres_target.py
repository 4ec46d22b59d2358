"""A PostgreSQL store as the target of a copy: one transaction, so that a copy that was cut off leaves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Self

from perdure.base.clock import DAY
from perdure.errors import CommitUnknown, RowRefused, StoreError, StoreNotEmpty, StoreUnavailable
from perdure.store.copying.comparing import key_text
from perdure.store.copying.folders import put_pieces
from perdure.store.copying.interface import Content, ContentFolder, FeedEnd, Row
from perdure.store.copying.postgres_session import Session
from perdure.store.copying.sql import filled_sql
from perdure.store.copying.tables import TABLES, Table
from perdure.store.faults import reach
from perdure.store.postgres.migrate import bring_up, migrations, refuse_older
from perdure.store.postgres.partitions import Partitions
from perdure.store.postgres.runner import Statements
from perdure.store.postgres.url import Address
from perdure.store.statements import library

OLDEST_PARTITION_US = 183 * DAY
"""Executions that are older share one partition; retention takes them first."""

_ALL = ", ".join([*(table.name for table in TABLES), "writers", "blob_contents", "blob_chunks"])
_GO_ON = "SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3)"
_WRITER = "INSERT INTO writers (number, session, commits, n, at) VALUES ($1, 0, 0, $2, $3)"
_CONTENT = "INSERT INTO blob_contents (sha256, size_bytes, chunks, put_at) VALUES ($1, $2, $3, $4)"
_NOW = "SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint"


class PostgresTarget:
    """`perdure.store.copying.interface.Target`."""

    def __init__(self, session: Session, *, chunk_bytes: int, folder: ContentFolder | None) -> None:
        """See `open`."""
        self._session = session
        self._folder = folder
        self._chunk_bytes = chunk_bytes
        self.place = session.address.place
        self.columns = session.columns
        self.rows = session.rows

    @classmethod
    async def open(cls, address: Address, *, chunk_bytes: int, folder: ContentFolder | None = None) -> Self:
        """An empty database gets its tables. Contents go into the folder, or are cut into chunks where there is none.

        Raises `StoreNotEmpty`, `StoreInUse`, `StoreIncompatible`, `StoreBusy`, `StoreUnavailable`.
        """
        session = await Session.open(address)
        try:
            schema = await session.schema()
            if not schema.number:
                await bring_up(address, migrations())
            else:
                refuse_older(schema, address)
                await session.begin()
                await _refuse_what_is_there(session)
                await session.run("ROLLBACK")
        except BaseException:
            session.close()
            raise
        return cls(session, chunk_bytes=chunk_bytes, folder=folder)

    async def prepare(self, *, oldest: int | None) -> None:
        """Afterwards nobody else can use the tables until it is kept, or closed."""
        session = self._session
        if oldest is not None:
            now = await session.value(_NOW)
            partitions = Partitions(session.address, Statements(library("postgres")))
            await partitions.make(since=min(max(oldest, now - OLDEST_PARTITION_US), now))
        await session.begin()
        # It waits for whoever writes just now; afterwards, what was empty before may not be any more.
        await session.run(f"LOCK TABLE {_ALL} IN ACCESS EXCLUSIVE MODE")
        await _refuse_what_is_there(session)
        await session.run(f"TRUNCATE {_ALL}")

    async def put(self, table: Table, columns: Sequence[str], blocks: AsyncIterator[list[Row]]) -> None:
        await self._session.copy(table.name, columns, _fitting(table, columns, blocks))

    async def put_content(self, content: Content, pieces: AsyncIterator[bytes]) -> None:
        if self._folder is not None:
            await put_pieces(self._folder, content, pieces, beside=None)
            return
        chunks = _Chunks(content.sha256, pieces, self._chunk_bytes)
        await self._session.copy("blob_chunks", ("sha256", "n", "data"), chunks.rows())
        now = await self._session.value(_NOW)
        await self._session.run(_CONTENT, content.sha256, chunks.size_bytes, chunks.count, now)

    async def content(self, sha256: bytes) -> AsyncIterator[bytes]:
        async for piece in (self._session.content if self._folder is None else self._folder.open)(sha256):
            yield piece

    async def go_on_after(self, table: Table, number: int) -> None:
        if number:
            await self._session.run(_GO_ON, table.name, table.counter, number)

    async def set_feed_ends(self, ends: Sequence[FeedEnd], *, last_writer: int, at: int) -> None:
        """Old writers keep their numbers and places, new ones get higher numbers: positions go on as if nothing was."""
        for end in ends:
            await self._session.run(_WRITER, end.writer, end.n, end.at)
        if last_writer:
            await self._session.run(_GO_ON, "writers", "number", last_writer)

    async def keep(self) -> None:
        reach("copied")
        try:
            await self._session.run("COMMIT")
        except StoreUnavailable as error:
            raise CommitUnknown(
                f"the connection to {self.place} was lost while the copy was committed. Whether it is there is not known: "
                "copy again; if it is there, that is refused because the target is not empty",
                place=self.place,
            ) from error
        # Until the server does it by itself, its plans would be those for empty tables.
        with suppress(StoreError):
            for table in TABLES:
                await self._session.run(f'ANALYZE "{self._session.address.schema}".{table.name}')

    async def close(self) -> None:
        self._session.close()


class _Chunks:
    """A content in rows of `blob_chunks`; `count` and `size_bytes` are known at the end."""

    def __init__(self, sha256: bytes, pieces: AsyncIterator[bytes], chunk_bytes: int) -> None:
        self.count = 0
        self.size_bytes = 0
        self._sha256 = sha256
        self._pieces = pieces
        self._chunk_bytes = chunk_bytes

    async def rows(self) -> AsyncIterator[Row]:
        rest = b""
        async for piece in self._pieces:
            rest += piece
            while len(rest) >= self._chunk_bytes:
                yield self._next(rest[: self._chunk_bytes])
                rest = rest[self._chunk_bytes :]
        if rest:
            yield self._next(rest)

    def _next(self, data: bytes) -> Row:
        row: tuple[Any, ...] = (self._sha256, self.count, data)
        self.count += 1
        self.size_bytes += len(data)
        return row


async def _fitting(table: Table, columns: Sequence[str], blocks: AsyncIterator[list[Row]]) -> AsyncIterator[Row]:
    """The rows one by one; one that PostgreSQL cannot hold is named, which the server does not do."""
    async for block in blocks:
        for row in block:
            for value in row:
                if type(value) is str and "\0" in value:
                    name = columns[row.index(value)]
                    raise RowRefused(
                        f"{name} in the row of {table.name} with {key_text(table, columns, row)} holds U+0000, "
                        "which PostgreSQL cannot keep in a text. Delete that at the source (perdure execution delete, "
                        "perdure flow delete), and copy again"
                    )
            yield row
        reach("copying")


async def _refuse_what_is_there(session: Session) -> None:
    await session.refuse_workers()
    rows = await session.all(filled_sql())
    if rows:
        place, schema = session.address.place, session.address.schema
        names = ", ".join(name for (name,) in rows[:5])
        raise StoreNotEmpty(
            f"the store at {place} (schema {schema}) is not empty: it has rows in {names}. Name another database, another "
            f'schema with ?schema=NAME, or give this one up: DROP SCHEMA "{schema}" CASCADE',
            place=place,
        )

"""A PostgreSQL store as the source of a copy: one snapshot of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from perdure.base.ids import id_time
from perdure.store.copying.folders import is_in
from perdure.store.copying.interface import Content, ContentFolder, FeedEnd
from perdure.store.copying.postgres_session import Session
from perdure.store.copying.sql import CONTENTS, FIRST_ID, UNFINISHED, count_sql
from perdure.store.copying.tables import WIDE, Table
from perdure.store.postgres.migrate import refuse_older
from perdure.store.postgres.url import Address

_LAST_NUMBER = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass), 0)"
_FEED_ENDS = "SELECT w.number, w.n, w.at FROM writers AS w ORDER BY w.number"
_HAS_CONTENT = "SELECT EXISTS (SELECT 1 FROM blob_contents AS c WHERE c.sha256 = $1)"


class PostgresSource:
    """`perdure.store.copying.interface.Source`."""

    def __init__(self, session: Session, folder: ContentFolder | None) -> None:
        """See `open`."""
        self._session = session
        self._folder = folder
        self.place = session.address.place
        self.all = session.all
        self.columns = session.columns
        self.rows = session.rows

    @classmethod
    async def open(cls, address: Address, *, folder: ContentFolder | None = None, at_rest: bool = True) -> Self:
        """`folder` is where its contents lie, if not in its tables. Nobody can write to the store until it is closed; not `at_rest`, all go on, and what they commit is not seen.

        Raises `StoreInUse` while workers are alive and it is to be at rest, `StoreIncompatible` for another schema, `StoreBusy`,
        `StoreUnavailable`.
        """
        session = await Session.open(address)
        try:
            refuse_older(await session.schema(), address)
            await session.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if at_rest:
                # Every commit marks itself there: servers without a worker, of which nothing tells, write nothing meanwhile.
                await session.run("LOCK TABLE writers IN SHARE MODE")
                await session.refuse_workers()
        except BaseException:
            session.close()
            raise
        return cls(session, folder)

    async def count(self, table: Table) -> int:
        return int(await self._session.value(count_sql(table)))

    async def last_number(self, table: Table) -> int:
        return int(await self._session.value(_LAST_NUMBER, table.name, table.counter))

    async def last_writer(self) -> int:
        return int(await self._session.value(_LAST_NUMBER, "writers", "number"))

    async def feed_ends(self) -> list[FeedEnd]:
        return [FeedEnd(*row) for row in await self._session.all(_FEED_ENDS)]

    async def oldest(self) -> int | None:
        first = await self._session.value(FIRST_ID)
        return None if first is None else id_time(first)

    async def unfinished(self) -> int:
        return int(await self._session.value(UNFINISHED))

    async def contents(self) -> AsyncIterator[list[Content]]:
        async for block in self._session.walk(CONTENTS, WIDE):
            yield [Content(*row) for row in block]

    async def has_content(self, sha256: bytes) -> bool:
        if self._folder is not None:
            return await is_in(self._folder, sha256)
        return bool(await self._session.value(_HAS_CONTENT, sha256))

    async def content(self, sha256: bytes) -> AsyncIterator[bytes]:
        async for piece in (self._session.content if self._folder is None else self._folder.open)(sha256):
            yield piece

    async def close(self) -> None:
        self._session.close()

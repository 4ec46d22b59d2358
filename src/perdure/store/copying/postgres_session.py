"""One connection to a PostgreSQL store, on which everything of a copy happens at this end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Protocol, Self, cast

from perdure.errors import StoreError, StoreInUse
from perdure.store.copying.interface import Row
from perdure.store.copying.sql import WORKERS_ALIVE, select_sql
from perdure.store.copying.tables import Table
from perdure.store.postgres.connection import MIGRATING, Connection, connect, local_settings
from perdure.store.postgres.failures import translated
from perdure.store.postgres.migrate import Schema, read_schema
from perdure.store.postgres.url import Address

CHUNKS_AT_ONCE = 8
SILENT_US = 60_000_000
"""A worker that was silent for so long is no more."""

_SETTINGS = MIGRATING | {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "10000",
    "jit": "off",
    # Rows are walked in the order of their keys, from the first on: indexes have it, and nothing is sorted on disk.
    "enable_seqscan": "off",
    "enable_sort": "off",
    "enable_bitmapscan": "off",
}
_COLUMNS = """
SELECT a.attname FROM pg_attribute AS a
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
"""
_CHUNKS = "SELECT b.data FROM blob_chunks AS b WHERE b.sha256 = $1 AND b.n >= $2 AND b.n < $3 ORDER BY b.n"


class CopyingConnection(Connection, Protocol):
    """What we use of `asyncpg.Connection` besides."""

    async def copy_records_to_table(
        self, table_name: str, *, records: AsyncIterator[Row], columns: Sequence[str], schema_name: str
    ) -> str: ...


class Session:
    """All of its methods raise `StoreError` for the database's troubles; rows are read within a transaction."""

    def __init__(self, connection: Connection, address: Address) -> None:
        """See `open`."""
        self._connection = cast(CopyingConnection, connection)
        self._cursors = 0
        self.address = address

    @classmethod
    async def open(cls, address: Address) -> Self:
        return cls(await connect(address, _SETTINGS, name="perdure copy"), address)

    async def schema(self) -> Schema:
        try:
            return await read_schema(self._connection, self.address)
        except Exception as error:
            raise self._known(error) from error

    async def begin(self, how: str = "") -> None:
        await self.run(f"BEGIN {how}{local_settings(self.address, _SETTINGS)}")

    async def run(self, sql: str, *params: Any) -> list[Any]:
        """The rows that a statement answers; without parameters it may be several statements, and answers nothing."""
        try:
            if params:
                return await self._connection.fetch(sql, *params)
            await self._connection.execute(sql)
        except Exception as error:
            raise self._known(error) from error
        return []

    async def all(self, sql: str, *params: Any) -> list[Any]:
        try:
            return await self._connection.fetch(sql, *params)
        except Exception as error:
            raise self._known(error) from error

    async def value(self, sql: str, *params: Any) -> Any:
        """The first column of the first row; None without one."""
        rows = await self.all(sql, *params)
        return rows[0][0] if rows else None

    async def copy(self, table: str, columns: Sequence[str], rows: AsyncIterator[Row]) -> None:
        try:
            await self._connection.copy_records_to_table(
                table, records=rows, columns=columns, schema_name=self.address.schema
            )
        except StoreError:
            raise
        except Exception as error:
            known = self._known(error)
            if not isinstance(known, StoreError):
                raise
            raise type(known)(f"{table} could not be copied: {known.message}", **known.details) from error

    async def columns(self, table: Table) -> frozenset[str]:
        return frozenset(name for (name,) in await self.all(_COLUMNS, f"{self.address.schema}.{table.name}"))

    async def rows(self, table: Table, columns: Sequence[str]) -> AsyncGenerator[list[Row]]:
        async for block in self.walk(select_sql(table, columns), table.block):
            yield block

    async def walk(self, sql: str, block: int) -> AsyncGenerator[list[Row]]:
        """All rows of a query, so many at a time."""
        self._cursors += 1
        name = f"copy_{self._cursors}"
        await self.run(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}")
        while rows := await self.all(f"FETCH FORWARD {block} FROM {name}"):
            yield [tuple(row) for row in rows]
        await self.run(f"CLOSE {name}")

    async def content(self, sha256: bytes) -> AsyncIterator[bytes]:
        n = 0
        while rows := await self.all(_CHUNKS, sha256, n, n + CHUNKS_AT_ONCE):
            for (data,) in rows:
                yield data
            n += CHUNKS_AT_ONCE

    async def refuse_workers(self) -> None:
        """Raises `StoreInUse` that names those which are alive."""
        rows = await self.all(WORKERS_ALIVE, SILENT_US)
        if rows:
            names = ", ".join(sorted({f"{name} on {host}" for name, host in rows})[:5])
            raise StoreInUse(
                f"{len(rows)} workers run on the store at {self.address.place} ({names}); stop them, or wait until "
                "those that died count as dead (a minute after their last sign of life)",
                place=self.address.place,
                workers=len(rows),
            )

    def close(self) -> None:
        """Nothing is left of a transaction that is not committed."""
        self._connection.terminate()

    def _known(self, error: Exception) -> Exception:
        return translated(error, self.address.place) or error

"""The PostgreSQL store put together."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any, Self

from perdure.errors import StoreBusy
from perdure.store.interface import Batch, BatchOutcome
from perdure.store.postgres.connection import READING, connect
from perdure.store.postgres.migrate import bring_up, is_unused_database, migrations
from perdure.store.postgres.partitions import Partitions
from perdure.store.postgres.readers import Readers
from perdure.store.postgres.runner import Statements
from perdure.store.postgres.sharing import PostgresSharing
from perdure.store.postgres.text_index import IndexConnection
from perdure.store.postgres.url import Address, parse_url
from perdure.store.postgres.writer import Writer
from perdure.store.reads.aggregates import Aggregates
from perdure.store.statements import All, Library, Procedure, library
from perdure.store.text_index import TextIndex


class PostgresStore(Aggregates):
    """`perdure.store.interface.Store` on one schema of a database, which other processes may share."""

    def __init__(self, address: Address, known: Library) -> None:
        """Not connected yet: see `open`."""
        self.address = address
        statements = Statements(known)
        self._writer = Writer(address, statements)
        self._readers = Readers(address, statements)
        self._partitions = Partitions(address, statements)
        super().__init__(self._readers.read, known)
        self.sharing = PostgresSharing(address, self._partitions, self._readers.read)
        self._index = IndexConnection(address, statements)
        self.texts = TextIndex(self._readers.read, self._index.write, holder=secrets.token_hex(8))

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect, on this event loop; a database that nobody has used yet gets its tables.

        Raises:
            InvalidSettings: the URL says what cannot be.
            StoreUnavailable, StoreBusy, StoreFull: the server cannot be used now.
            StoreIncompatible: an older schema that is to be migrated first, a newer one, or an unfit server.
        """
        address = parse_url(url)
        probe = await connect(address, READING, name="perdure start")
        try:
            is_unused = await is_unused_database(probe, address)
        finally:
            probe.terminate()
        if is_unused:
            await bring_up(address, migrations())
        store = cls(address, library("postgres"))
        try:
            await store._writer.open()
            await store.sharing.hear_clock()
            # Before the first row of a week comes; where others are in the way now, a loop tries again.
            with suppress(StoreBusy):
                await store.make_partitions()
        except BaseException:
            await store.close()
            raise
        return store

    async def make_partitions(self, *, since: int | None = None) -> int:
        """Make the partitions of the weeks from `since` (microseconds; None: now) until three weeks from now.

        What has no partition goes into a default one, which is correct, but cannot be dropped week by week.

        Returns:
            how many weeks are new.

        Raises:
            StoreBusy: others did not let go of the tables for long enough; some may be made.
            StoreUnavailable, StoreFull
        """
        return await self._partitions.make(since=since)

    async def write(self, batch: Batch) -> BatchOutcome:
        return await self._writer.write(batch)

    async def info(self) -> dict[str, Any]:
        """`{kind, version, schema_version, size_bytes, place, schema}`; the size is the whole database's."""
        version, size = await self._read(_about())
        return {
            "kind": "postgresql",
            "version": version,
            "schema_version": migrations()[-1].number,
            "size_bytes": size,
            "place": self.address.place,
            "schema": self.address.schema,
        }

    async def close(self) -> None:
        """The recorder must be closed before."""
        try:
            await self._readers.close()
            await self._index.close()
        finally:
            await self._writer.close()


def _about() -> Procedure[tuple[str, int]]:
    ((version, size),) = yield All("about")
    return version, size

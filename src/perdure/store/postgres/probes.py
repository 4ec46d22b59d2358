"""What PostgreSQL does here without us, by the same driver and the same arrays of rows: see `perdure.store.probes`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from perdure.base.clock import DAY, SystemClock
from perdure.base.ids import new_id
from perdure.errors import InvalidSettings
from perdure.store.activity import Activity
from perdure.store.postgres.connection import MIGRATING, WRITING, Connection, connect, local_settings
from perdure.store.postgres.runner import Runner, Statements
from perdure.store.postgres.seed import seed_history
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import Address, parse_url, with_schema
from perdure.store.probe_rows import put_executions, put_steps
from perdure.store.seeding import Drawing, Told
from perdure.store.statements import All, Procedure, Query, library

PREFIX = "perdure_bench_"
"""Of the schemas that benches make, with the time in seconds behind it: each has its own, and drops it."""
LEFT_BEHIND = DAY
"""So old are those that no run is using any more."""
SETTLE_S = 1.5
"""Until a session tells with its next command what it did: at the end of one, and once a second at most. Without a
command it keeps it for ten seconds."""

_OURS = PREFIX.replace("_", r"\_") + "%"


class PostgresProbes:
    """`perdure.store.probes.Probes` in one database, by a connection of its own."""

    kind = "postgresql"

    def __init__(self, url: str, connection: Connection) -> None:
        """Not usable yet: see `open_postgres_probes`."""
        self.about = ""
        self._url = url
        self._place = parse_url(url).place
        self._connection = connection
        self._statements = Statements(library("postgres"))
        self._runner = Runner(connection, self._statements, self._place)
        self._counter: Query | None = None

    async def open(self) -> None:
        """Raises `InvalidSettings` where a store stands that is not a bench's."""
        stores = await self._run(All("stores_here", {"ours": _OURS}))
        if stores:
            raise InvalidSettings(
                f"{self._place} holds a perdure store (schema {stores[0][0]}): benches make much load and need a "
                "database in which there is none"
            )
        now_s = SystemClock().now() // 1_000_000
        for (schema,) in await self._run(All("schemas_like", {"ours": _OURS})):
            made_s = schema.removeprefix(PREFIX).partition("_")[0]
            if made_s.isdigit() and int(made_s) < now_s - LEFT_BEHIND // 1_000_000:
                await self._drop(schema)
        [(version, fsync, durable, whole_pages, buffers)] = await self._run(All("server_settings"))
        self.about = (
            f"PostgreSQL {version} (fsync {fsync}, synchronous_commit {durable}, full_page_writes {whole_pages}, "
            f"shared_buffers {buffers})"
        )
        self._counter = await self._statement_counter()

    @asynccontextmanager
    async def fresh(self, home: Path) -> AsyncIterator[str]:
        schema = f"{PREFIX}{SystemClock().now() // 1_000_000}_{secrets.token_hex(4)}"
        try:
            yield with_schema(self._url, schema)
        finally:
            await self._drop(schema)

    async def commit_latencies(self, *, seconds: float) -> list[float]:
        latencies: list[float] = []
        async with self._raw() as (_, connection):
            await connection.execute(
                "CREATE TABLE probe (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text)"
            )
            began = time.perf_counter()
            until = began + seconds
            while began < until:
                await connection.fetch("INSERT INTO probe (text) VALUES ('a row')")
                ended = time.perf_counter()
                latencies.append((ended - began) * 1e6)
                began = ended
        return latencies

    async def executions_per_second(self, *, batch: int, seconds: float) -> float:
        return batch * await self._per_second(lambda feed, at: put_executions(batch, at, feed=feed), seconds)

    async def steps_per_second(self, *, batch: int, seconds: float) -> float:
        ids = sorted(new_id() for _ in range(batch))
        return batch * await self._per_second(lambda feed, at: put_steps(ids, at, feed=feed), seconds)

    async def seed_history(self, url: str, drawing: Drawing, *, told: Told) -> None:
        await seed_history(url, drawing, told=told)

    async def newest_latencies(self, url: str, *, rows: int, rounds: int) -> list[float]:
        address = parse_url(url)
        connection = await connect(address, WRITING, name="perdure bench")
        runner = Runner(connection, self._statements, address.place)
        latencies = []
        for _ in range(rounds):
            began = time.perf_counter()
            await runner.run(_ask(All("newest_bare", {"limit": rows})))
            latencies.append((time.perf_counter() - began) * 1e6)
        await connection.close()
        return latencies

    async def activity(self, stir: Callable[[], Awaitable[object]]) -> Activity:
        await asyncio.sleep(SETTLE_S)
        await stir()
        [(transactions, inserted, updated, deleted, wal_bytes)] = await self._run(All("activity"))
        counted = None if self._counter is None else await self._run(self._counter)
        return Activity(
            transactions=transactions,
            rows_inserted=inserted,
            rows_updated=updated,
            rows_deleted=deleted,
            wal_bytes=wal_bytes,
            statements=None if counted is None else counted[0][0],
        )

    async def _statement_counter(self) -> Query | None:
        """How the server tells how many statements it carried out; None where it does not."""
        found = await self._run(All("statistics_schema"))
        if not found:
            return None
        statements = f'"{found[0][0]}".pg_stat_statements'
        database = "(SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())"
        counter = Query(f"SELECT sum(s.calls) FROM {statements} AS s WHERE s.dbid = {database}", {}, ())  # noqa: S608
        try:
            await self._run(counter)
        except Exception:
            # It is installed and not loaded, or not to be seen by everybody.
            return None
        return counter

    async def _run(self, request: All | Query) -> list[Any]:
        return await self._runner.run(_ask(request))

    async def _drop(self, schema: str) -> None:
        await self._connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    @asynccontextmanager
    async def _raw(self) -> AsyncIterator[tuple[Address, Connection]]:
        """A connection as our writer has one, in a store that holds nothing."""
        async with self.fresh(Path()) as url:
            store = await PostgresStore.open(url)
            await store.close()
            address = parse_url(url)
            connection = await connect(address, WRITING, name="perdure bench")
            try:
                yield address, connection
            finally:
                await connection.close()

    async def _per_second(self, write: Callable[[tuple[int, int], int], Procedure[None]], seconds: float) -> float:
        """Transactions of `write` (its feed row, the time) in a fresh store; the first does not count."""
        now = SystemClock().now
        numbers = count(1)
        async with self._raw() as (address, connection):
            runner = Runner(connection, self._statements, address.place)
            begin = "BEGIN" + local_settings(address, WRITING)

            async def commit() -> None:
                await connection.execute(begin)
                await runner.run(write((0, next(numbers)), now()))
                await connection.execute("COMMIT")

            await commit()
            done, elapsed, began = 0, 0.0, time.perf_counter()
            while elapsed < seconds:
                await commit()
                done += 1
                elapsed = time.perf_counter() - began
        return done / elapsed


@asynccontextmanager
async def open_postgres_probes(url: str) -> AsyncIterator[PostgresProbes]:
    """As `perdure.store.probes.open_probes`."""
    connection = await connect(parse_url(url), MIGRATING, name="perdure bench")
    try:
        probes = PostgresProbes(url, connection)
        await probes.open()
        yield probes
    finally:
        await connection.close()


def _ask(request: All | Query) -> Procedure[list[Any]]:
    return (yield request)

"""An engine with nothing to do leaves the disk alone."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from perdure.store.postgres.store import PostgresStore
from perdure.store.sqlite.store import SqliteStore
from tests.engine.idle import go_round, idle
from tests.store.databases import base_url, fresh_url

ROUNDS = 5
"""The server itself may write something in one of them."""


async def test_on_sqlite_it_writes_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "perdure.db")

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.glob("perdure.db*") if path.suffix != ".db-shm"}

    async with idle(store, tmp_path) as engine:
        await go_round(engine)
        before = files()
        batches = engine.recorder.stats.batches
        for _ in range(ROUNDS):
            await go_round(engine)
        assert engine.recorder.stats.batches > batches
        assert files() == before
    await store.close()


async def test_on_postgresql_it_writes_no_wal_but_for_heartbeats_and_signs(tmp_path: Path) -> None:
    """Signs of life between processes are NOTIFYs, which there are none of with `listen=false`."""
    store = await PostgresStore.open(fresh_url(listen="false"))
    watching = await asyncpg.connect(base_url())

    async def wal() -> str:
        """Where it ends."""
        return str(await watching.fetchval("SELECT pg_current_wal_insert_lsn()"))

    try:
        async with idle(store, tmp_path) as engine:
            await go_round(engine)
            rounds = []
            for _ in range(ROUNDS):
                before = await wal()
                await go_round(engine)
                rounds.append(await wal() == before)
            assert any(rounds), "each round wrote something"
    finally:
        await watching.close()
        await store.close()

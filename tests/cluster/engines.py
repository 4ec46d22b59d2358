"""Engines in this process that share a PostgreSQL, each as one of its workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.shared import SharedStorage
from perdure.base.clock import SECOND, SystemClock
from perdure.engine.engine import Engine
from perdure.engine.settings import EngineSettings
from perdure.store.interface import BatchOutcome
from perdure.store.postgres.blob_table import PostgresBlobTable
from perdure.store.postgres.store import PostgresStore
from perdure.store.recorder import Recorder
from tests.engine.opened import Bench


@asynccontextmanager
async def shared_engine(url: str, home: Path, **settings: Any) -> AsyncIterator[Bench]:
    """Its contents are in the database's tables; `settings` are those of `EngineSettings`."""
    store = await PostgresStore.open(url)

    def listen(outcome: BatchOutcome) -> None:
        engine.on_batch(outcome)

    try:
        with closing(PostgresBlobTable(store.address)) as table:
            engine = Engine(
                store=store,
                recorder=Recorder(store, listener=listen),
                clock=SystemClock(),
                settings=EngineSettings(**{"home": home, "pool_size": 1, "grace": SECOND, **settings}),
                artifacts=SharedStorage(LocalStorage(home / "artifacts"), table),
            )
            await engine.start()
            try:
                yield Bench(engine, engine.clock)
            finally:
                await engine.stop(drain=False)
    finally:
        await store.close()

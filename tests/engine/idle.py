"""An engine that has nothing to do, driven through all that it does nevertheless."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from perdure.base.clock import HOUR, SystemClock
from perdure.engine.engine import Engine
from perdure.engine.settings import EngineSettings
from perdure.store.interface import BatchOutcome, Store
from perdure.store.recorder import Recorder

PATIENCE_S = 30


async def go_round(engine: Engine) -> None:
    """Until each of its loops has done its work once."""
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*[loop.turn() for loop in engine.loops])


@asynccontextmanager
async def idle(store: Store, home: Path) -> AsyncIterator[Engine]:
    """A worker whose lease is so long that no heartbeat comes meanwhile; the caller closes the store."""

    def listen(outcome: BatchOutcome) -> None:
        engine.on_batch(outcome)

    engine = Engine(
        store=store,
        recorder=Recorder(store, listener=listen),
        clock=SystemClock(),
        settings=EngineSettings(home=home, lease=HOUR, pool_size=1),
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(drain=False)

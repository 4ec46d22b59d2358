"""A real engine over a real SQLite store, with a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from perdure.base.clock import Clock
from perdure.base.codec import decode
from perdure.base.manual_clock import ManualClock
from perdure.engine.engine import Engine
from perdure.engine.requests import StartRequest
from perdure.engine.settings import EngineSettings
from perdure.engine.streams import numbered
from perdure.model.states import TERMINAL
from perdure.store.interface import BatchOutcome
from perdure.store.recorder import Recorder
from perdure.store.records import ExecutionRecord, Payload
from perdure.store.sqlite.store import SqliteStore

WORKSPACE = "default"


class Bench:
    """One engine and what tests do with it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock

    async def put(self, text: str) -> None:
        await self.engine.catalog.put(WORKSPACE, text.encode(), media_type="application/yaml")

    async def start(self, flow: str, input: Any = None, **more: Any) -> bytes:
        request = StartRequest(workspace=WORKSPACE, flow=flow, input=input or {}, **more)
        (started,) = await self.engine.start_executions([request])
        if isinstance(started, Exception):
            raise started
        return started.id

    async def record(self, id: bytes) -> ExecutionRecord:
        record = await self.engine.store.executions.get(WORKSPACE, id)
        assert record is not None
        return record

    async def payload(self, id: bytes) -> Payload:
        payload = await self.engine.store.executions.payload(WORKSPACE, id)
        assert payload is not None
        return payload

    async def ended(self, id: bytes) -> ExecutionRecord:
        """Wait for the end; with a manual clock the time until then is skipped."""
        while not await self.engine.wait_ended(
            WORKSPACE, id, 100_000 if isinstance(self.clock, ManualClock) else 30_000_000
        ):
            assert isinstance(self.clock, ManualClock), f"did not end: {await self.events(id)}"
            self.skip()
        return await self.record(id)

    def skip(self) -> None:
        """To the next moment at which something is due; nothing is while the engine is still at work."""
        assert isinstance(self.clock, ManualClock)
        due = self.clock.next_alarm
        if due is not None:
            self.clock.advance_to(due)

    async def run(self, flow: str, input: Any = None, **more: Any) -> ExecutionRecord:
        return await self.ended(await self.start(flow, input, **more))

    async def output(self, id: bytes) -> Any:
        payload = await self.payload(id)
        assert payload.error is None, payload.error
        text = await self.engine.payload_text(payload.output)
        return None if text is None else decode(text)

    async def events(self, id: bytes) -> list[tuple[str, str | None]]:
        """(type, node) of each, after checking that the numbers have no gap."""
        chunks = await self.engine.store.events.page(WORKSPACE, id, 0, 100_000)
        items = [item for chunk in chunks for item in numbered(chunk, 0)]
        assert [item.seq for item in items] == list(range(1, len(items) + 1))
        return [(item.event.type, item.event.node) for item in items]

    async def until(self, id: bytes, wanted: Callable[[ExecutionRecord], bool]) -> ExecutionRecord:
        """Wait for a state other than the end, told by events."""
        with self.engine.hub.subscribe(id) as subscription:
            while not wanted(record := await self.record(id)):
                assert record.status not in TERMINAL, record.status
                async with asyncio.timeout(20):
                    await subscription.wait()
                subscription.take()
        return record


Opener = Callable[..., Awaitable[Bench]]


@asynccontextmanager
async def opened(
    home: Path, clock: Clock, *, secrets: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Bench]:
    """An engine that is stopped at the end, unless `bench.engine` was crashed."""
    store = SqliteStore(home / "perdure.db")

    def listen(outcome: BatchOutcome) -> None:
        engine.on_batch(outcome)

    recorder = Recorder(store, listener=listen)
    engine = Engine(
        store=store,
        recorder=recorder,
        clock=clock,
        settings=EngineSettings(home=home, **settings),
        secrets=secrets,
        random=Random(7),
    )
    await engine.start()
    try:
        yield Bench(engine, clock)
    finally:
        await engine.stop()
        await store.close()
